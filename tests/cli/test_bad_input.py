"""What cannot be is one message and exit code 2, or a skip that is told: never a traceback, never half a result."""

import json

import pytest

TASK = """\
task: films
about: Is a film good?
inputs: [text]
labels: [negative, positive]
verbalizers:
  default: {{negative: {bad}, positive: {good}}}
patterns: {{{patterns}}}
"""
ASKED = "it-was: '{text} It was {mask}.', just: 'Just {mask}! {sep} {text}'"
QUIZ = "{task: quiz, inputs: [text, options], candidates: options, patterns: {p: '{text} It was {mask}.'}}"
ONE, MASK_FIRST = "it-was: '{text} It was {mask}.'", "just: 'Just {mask}! {sep} {text}'"
QUICK = "steps=2,student_steps=2,repetitions=1"


@pytest.fixture
def written(tmp_path):
    """written(bad="''"): a task file with a word, or patterns, that the user may have written."""

    def write(bad="terrible", good="great", patterns=ASKED):
        path = tmp_path / "films.yaml"
        path.write_text(TASK.format(bad=bad, good=good, patterns=patterns), encoding="utf-8")
        return path

    return write


@pytest.fixture
def backbone(folder_of):
    return lambda causal=False: folder_of("gpt2" if causal else "bert")


@pytest.fixture
def compare(say, data, backbone, tmp_path):
    def run(task, method, *words, causal=False, shots="2", rows=data):
        given = ("--data", rows, "-m", method, "-b", backbone(causal), "-k", shots, "--seeds", 1, "-o", "out")
        return say("compare", task, *given, *words)

    return run


def refused(said, *texts, folder=None):
    assert said.code == 2, said.out
    assert "Traceback" not in said.err
    message = said.err.partition("error: ")[2]
    for text in texts:
        assert text in message, said.err
    if folder is not None:  # neither a run nor a half-written one
        assert list(folder.iterdir() if folder.exists() else []) == []


def few(data, train, unlabelled=None):
    """Leaves so many train rows, and writes a pile of unlabelled ones."""
    folder = data / "films"
    lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()[:train]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if unlabelled:
        rows = [json.dumps({"text": f"a film, number {i}"}) for i in range(unlabelled)]
        (folder / "unlabeled.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.mark.parametrize("causal", [False, True], ids=["masked", "causal"])
def test_demonstrations_that_do_not_fit_at_all(compare, written, data, tmp_path, causal):
    long = json.dumps({"text": "boring " * 300, "label": "negative"}), json.dumps({"text": "good " * 300, "label": 1})
    (data / "films" / "train.jsonl").write_text("\n".join(long * 2) + "\n", encoding="utf-8")
    said = compare(written(), "in-context:demonstrations=1", causal=causal)
    refused(said, "row 1: no demonstration fits", "shorter labelled rows", folder=tmp_path / "out")


@pytest.mark.parametrize("method", ["in-context", "prompt", "finetune", "pet", "probe", "majority"])
def test_no_shots_for_a_method_that_needs_labels(compare, written, tmp_path, method):
    said = compare(written(), method, shots="0")
    refused(said, f"{method} learns from labels, and k=0 gives none. Write -k 16", folder=tmp_path / "out")


@pytest.mark.parametrize("method", ["in-context", "prompt", "pet"])
def test_no_shots_for_a_single_model_either(say, written, data, backbone, tmp_path, method):
    rows = data / "films" / "train.jsonl"
    said = say("fit", written(), "--train", rows, "-k", 0, "--method", method, "-b", backbone(), "--out", "model")
    refused(said, "there are none. Give -k 1 or more", folder=tmp_path / "model")


@pytest.mark.parametrize("shots", ["2", "0"])
def test_ipet_with_one_member(compare, written, tmp_path, shots):
    said = compare(written(patterns=ONE), f"ipet:{QUICK}", shots=shots)
    refused(said, "ipet on films: a member of one pattern", "Write patterns=all", folder=tmp_path / "out")


def test_a_pool_that_runs_short_is_told_in_the_row(compare, written, data):
    few(data, 4, unlabelled=5)
    said = compare(written(), f"ipet:{QUICK},generations=1+lora", "--json")
    assert said.code == 0, said.err
    (row,) = said.lines
    assert any(note.startswith("generation 1: the pool ran short, at least") for note in row["notes"])
    assert row["facts"]["pool"] == 5


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (None, "no value for 'options'. Write a list of candidate answers."),
        ([], "'options' is an empty list. Write at least one candidate answer."),
        ("great", "a str as 'options'. Write a list of candidate answers."),
        (["great", "great"], "'options' has 'great' twice. Write each candidate once."),
        (["great", " "], "'options' has an empty candidate (2 of 2)."),
        (["good", "bad"], "'great' is not among the candidates ('options'): good, bad. Write one of these."),
    ],
)
@pytest.mark.parametrize("command", ["compare", "fit"])
def test_candidates_that_a_row_lacks(say, compare, tmp_path, backbone, command, options, text):
    (tmp_path / "quiz.yaml").write_text(QUIZ, encoding="utf-8")
    folder = tmp_path / "rows" / "quiz"
    folder.mkdir(parents=True)
    row = {"text": "a film", "options": ["great", "badly made"], "label": "great"}
    lines = [json.dumps(row), json.dumps({**row, "options": options})]
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if command == "compare":
        said = compare("quiz.yaml", "zero-shot", shots="total:1", rows=tmp_path / "rows")
    else:
        rows = folder / "train.jsonl"
        said = say("fit", "quiz.yaml", "--train", rows, "--method", "prompt", "-b", backbone(), "--out", "out")
    refused(said, "train.jsonl:2: ", text, folder=tmp_path / "out")


EMPTY = "verbalizer 'default' has an empty word for 'negative'. Write the word that stands for it."
UNKNOWN = "label 'negative': the word '☃' has characters that the vocabulary of"
ALIKE = "labels 'negative' and 'positive' have a word in common on"
WORDS = [
    ("''", "great", EMPTY),
    ("'  '", "great", EMPTY),
    ("[]", "great", "has an empty list of words for 'negative'. Write at least one."),
    ("☃", "great", UNKNOWN),
    ("good", "good", "gives 'positive' the same words as 'negative' (good), so no score can part them."),
    ("Good", "good", ALIKE),
]


@pytest.mark.parametrize(("bad", "good", "text"), WORDS)
@pytest.mark.parametrize("method", ["zero-shot", "in-context", "prompt+lora:steps=1", f"pet+lora:{QUICK}"])
def test_a_label_word_that_cannot_be_asked_for(compare, written, tmp_path, method, bad, good, text):
    refused(compare(written(bad, good), method), text, folder=tmp_path / "out")


@pytest.mark.parametrize(("bad", "good", "text"), WORDS)
def test_such_a_word_saves_no_model(say, written, data, backbone, tmp_path, bad, good, text):
    rows = data / "films" / "train.jsonl"
    given = ("--train", rows, "--method", "prompt", "-b", backbone(), "--out", "model")
    refused(say("fit", written(bad, good), *given), text, folder=tmp_path / "model")


@pytest.mark.parametrize(("bad", "good", "text"), WORDS[3::2])
def test_such_a_word_is_shown_as_a_skip(say, written, backbone, bad, good, text):
    said = say("show", written(bad, good), "--text", "a film", "-b", backbone())
    assert (said.code, said.err) == (0, "")
    assert said.out.count("skipped") == 2
    assert text in " ".join(said.out.split())


@pytest.mark.parametrize(
    "method",
    ["zero-shot:calibration=batch", "in-context:calibration=batch", "prompt+lora:calibration=batch,steps=1",
     f"pet+lora:calibration=batch,{QUICK}"],
)  # fmt: skip
def test_a_calibration_without_the_unlabelled_rows_it_needs(compare, written, data, tmp_path, method):
    few(data, 4)
    said = compare(written(), method)
    refused(said, "calibration=batch needs unlabelled rows, and there are none.", folder=tmp_path / "out")


def test_show_and_fit_say_so_too(say, written, data, backbone, tmp_path):
    few(data, 4)
    said = say("show", written(), "--text", "a film", "--calibration", "batch", "-b", backbone())
    refused(said, "calibration=batch needs unlabelled rows, and there are none. Write --data DIR or --unlabeled FILE.")
    given = ("--train", data / "films" / "train.jsonl", "--method", "zero-shot:calibration=batch", "-b", backbone())
    refused(say("fit", written(), *given, "--out", "model"), "calibration=batch needs", folder=tmp_path / "model")


@pytest.mark.parametrize("method", ["zero-shot", "in-context", "prompt+lora:steps=1", f"pet+lora:{QUICK}"])
def test_patterns_that_a_causal_backbone_cannot_read(compare, written, tmp_path, method):
    said = compare(written(patterns=MASK_FIRST), method, causal=True)
    refused(said, "so 'just' cannot be used. Write a pattern whose {mask} comes after", folder=tmp_path / "out")


@pytest.mark.parametrize("method", ["zero-shot:patterns=all", f"pet+lora:{QUICK}"])
def test_where_others_remain_the_skip_is_told_in_the_row(compare, written, method):
    said = compare(written(), method, "--json", causal=True)
    assert said.code == 0, said.err
    assert "skipped 'just': a field after the mask" in said.lines[0]["notes"]


@pytest.mark.parametrize("setting", ["steps=0", "batch=0", "pool=-1", "mlm=2"])
def test_numbers_that_cannot_be(compare, written, tmp_path, setting):
    said = compare(written(), f"prompt+lora:{setting}")
    refused(said, f"prompt: {setting.split('=')[0]}=", "cannot be. Write", folder=tmp_path / "out")


@pytest.mark.parametrize("setting", ["lr=-1", "alpha=0", "dropout=1", "weight_decay=-1", "r=0"])
def test_a_tunings_numbers_that_cannot_be(say, compare, written, data, backbone, tmp_path, setting):
    wanted = f"lora: {setting.split('=')[0]}=", "cannot be. Write a "
    refused(compare(written(), f"prompt+lora:{setting}"), *wanted, folder=tmp_path / "out")
    given = ("--data", data, "-m", f"prompt+lora:{setting}", "-b", backbone(), "-k", 2, "-o", tmp_path / "model")
    refused(say("fit", written(), *given), *wanted, folder=tmp_path / "model")
    refused(say("params", backbone(), "-t", f"lora:{setting}"), *wanted)


def test_a_preset_whose_loss_a_causal_backbone_does_not_have(compare, written, tmp_path):
    said = compare(written(), "pet+lora:preset=2020", causal=True)
    refused(said, "causal and fills in no masks. Write mlm=0.", folder=tmp_path / "out")

"""Commands on a task that asks for a text, over a tiny causal backbone."""

import json

import pytest

TASK = """\
task: dishes
about: Say it in words.
inputs: [source]
metric: [bleu]
patterns:
  words: "{source} : {target}"
  late: "{source} {target} !"
"""
SYSTEM = "finetune:steps=2,batch=2,max_tokens=4+lora"


@pytest.fixture
def dishes(tmp_path):
    (tmp_path / "dishes.yaml").write_text(TASK, encoding="utf-8")
    folder = tmp_path / "data" / "dishes"
    folder.mkdir(parents=True)
    words = ["good", "bad", "fine", "slow", "warm", "dull"]
    for split, texts in (("train", words[:4]), ("test", words[3:])):
        rows = [{"source": f"a {word} film", "targets": [f"the film is {word}", f"it is {word}"]} for word in texts]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return tmp_path / "dishes.yaml"


@pytest.fixture
def fit(say, dishes, folder_of, tmp_path):
    pytest.importorskip("sacrebleu")

    def run(*words, system=SYSTEM, backbone="llama"):
        return say("fit", dishes, "-m", system, "--data", tmp_path / "data", "-k", 3, "--out", tmp_path / "model",
                   "--backbone", folder_of(backbone), *words)  # fmt: skip

    return run


def test_fit_learns_and_predict_writes_a_text_a_line(fit, say, tmp_path):
    learnt = fit("--json")
    assert learnt.code == 0, learnt.err
    assert (learnt.json["labelled_rows"], learnt.json["test_rows"], list(learnt.json["metrics"])) == (3, 3, ["bleu"])
    said = say("predict", tmp_path / "model", "--field", "source=a good film", "--json")
    assert list(said.json) == ["text"]
    lines = tmp_path / "data" / "dishes" / "test.jsonl"
    assert len(say("predict", tmp_path / "model", lines).out.split("\n")) == 4


def test_fit_refuses_what_cannot_write_before_anything_is_loaded(fit, tmp_path):
    said = fit(system="pet")
    assert said.code == 2 and "pet cannot write one. Write finetune" in said.err
    assert not (tmp_path / "model").exists()


def test_fit_on_a_masked_backbone_says_what_to_write(fit, tmp_path):
    said = fit(backbone="bert")
    assert said.code == 2 and "--backbone smollm2" in said.err
    assert not (tmp_path / "model").exists()


def test_compare_writes_a_table_with_outputs_in_its_tail(say, dishes, folder_of, tmp_path):
    pytest.importorskip("sacrebleu")
    systems = f"zero-shot:max_tokens=3,{SYSTEM}"
    words = ("compare", dishes, "-m", systems, "--data", tmp_path / "data", "-k", 2, "--seeds", 1, "--backbone",
             folder_of("llama"), "-o", tmp_path / "runs")  # fmt: skip
    said = say(*words)
    assert said.code == 0, said.err
    assert "BLEU" in said.out and "dishes: what each system wrote (its first seed)" in said.out
    rows = say(*words, "--json").lines
    assert [row["texts"] for row in rows] == [3, 3]


def test_compare_refuses_label_methods_before_the_first_run(say, dishes, tmp_path):
    said = say("compare", dishes, "-m", "majority,zero-shot", "--data", tmp_path / "data", "--backbone", "none-such")
    assert said.code == 2 and "dishes asks for a text, and majority cannot write one" in said.err


def test_show_writes_after_each_pattern_before_any_training(say, dishes, folder_of):
    said = say("show", dishes, "--text", "a good film", "--backbone", folder_of("llama"), "--json")
    assert said.code == 0, said.err
    assert [row["pattern"] for row in said.json] == ["words", "late"]
    assert said.json[0]["tokens"] > 0 and isinstance(said.json[0]["written"], str)


def test_show_on_a_masked_backbone_says_why_nothing_was_written(say, dishes, folder_of):
    said = say("show", dishes, "--text", "a good film", "--backbone", folder_of("bert"), "--json")
    assert ["skipped" in row for row in said.json] == [True, True]


def test_show_has_no_calibration_of_texts(say, dishes):
    said = say("show", dishes, "--text", "a", "--calibration", "contextual")
    assert said.code == 2 and "has no label scores" in said.err


def test_check_tells_how_long_what_is_read_is(say, dishes, folder_of, tmp_path):
    said = say("check", dishes, "--backbone", folder_of("llama"), "--data", tmp_path / "data", "--json")
    assert said.code == 0, said.err
    assert all(row["tokens"] > 0 and row["problem"] is None for row in said.json)


def test_ls_knows_metrics_of_texts_and_recipes(say):
    assert {"bleu", "nist", "meteor"} <= {entry["name"] for entry in say("ls", "metrics", "--json").json}
    recipe = next(one for one in say("ls", "recipes", "--json").json if one["name"] == "gpt2-medium-e2e")
    assert (recipe["rows"], recipe["scales"]) == (11, ["full", "small"])


def test_reproduce_sets_the_papers_numbers_beside_ours(say, tmp_path, dishes, folder_of):
    pytest.importorskip("sacrebleu")
    recipe = {
        "recipe": "mine", "title": "dishes", "paper": "Somebody 2020", "numbers": "table 1", "task": str(dishes),
        "rows": [{"name": "LoRA", "system": SYSTEM, "published": {"bleu": "70.4"}}],
        "scales": {"small": {"backbone": str(folder_of("llama")), "shots": "2"}},
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    said = say("reproduce", tmp_path / "mine.yaml", "--scale", "small", "--data", tmp_path / "data")
    assert said.code == 0, said.err
    assert "BLEU paper" in said.out and "70.4" in said.out and "which is no reproduction" in said.out
    missing = say("reproduce", tmp_path / "mine.yaml")
    assert missing.code == 2 and "--scale full: 'mine' has small" in missing.err

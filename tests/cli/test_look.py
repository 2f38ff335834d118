import json
import re

import pytest

from promptlab.language.library import task_names
from promptlab.registry import METHODS, TUNINGS, TWO_ROWS


def test_ls_lists_tasks_methods_and_tunings(say):
    said = say("ls")
    names = [*task_names(), *(entry.name for entry in METHODS), *(entry.name for entry in TUNINGS)]
    first = {line.split()[0] for line in said.out.splitlines() if line.strip()}
    assert [name for name in names if name not in first] == []


def test_ls_lists_one_kind(say):
    said = say("ls", "tunings")
    assert said.out.splitlines()[0].split() == ["tuning", "about", "papers"]
    assert len(said.out.splitlines()) == 1 + len(list(TUNINGS))


def test_ls_says_what_each_calibration_takes_away_why_and_after_whom(say):
    from promptlab.methods.calibrate import KINDS

    listed = {entry["name"]: entry for entry in say("ls", "calibrations", "--json").json}
    assert tuple(listed) == KINDS == ("none", "contextual", "pmi", "batch")
    papers = {"contextual": "2102.09690", "pmi": "2104.08315", "batch": "2309.17249"}
    assert {name: [f"arXiv:{number}"] for name, number in papers.items()} == {
        name: entry["papers"] for name, entry in listed.items() if name != "none"
    }
    assert all(", for " in listed[name]["about"] for name in papers)


def test_ls_says_json(say):
    listed = say("ls", "--json").json
    kinds = {"task", "method", "tuning", "calibration", "metric", "backbone", "recipe"}
    assert {entry["kind"] for entry in listed} == kinds
    pet = next(entry for entry in listed if entry["name"] == "pet")
    assert pet["papers"] == ["arXiv:2001.07676", "arXiv:2009.07118"]


def test_ls_suggests_the_nearest_kind(say):
    said = say("ls", "task")
    assert said.code == 2
    known = "tasks, methods, tunings, calibrations, metrics, backbones, recipes, cells"
    assert said.err == f"error: no list 'task'. Did you mean 'tasks'? Known: {known}.\n"


def test_ls_cells_draws_the_grid_and_says_why_some_are_refused(say):
    lines = say("ls", "cells").out.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert rows["tuning"] == ["tuning", "prompt", "finetune", "pet", "ipet"]
    assert rows["words"] == ["words", "AutoPrompt", "2010.15980", "-", "-", "-"]
    assert rows["bitfit"] == ["bitfit", "yes", "BitFit", "2106.10199", "yes", "yes"]
    assert [entry.name for entry in TUNINGS if entry.name not in rows] == []
    told = dict(re.split(r"\s{2,}", line) for line in lines[lines.index("") + 1 :])
    assert told["pet+words"] == "words goes with prompt only, since what it learns is text"
    assert told["zero-shot+..."] == "zero-shot trains no weights, so it takes no tuning"
    assert told["prompt with a head"] == "prompt answers with label words, so it has no head"
    assert told["unipelt on seq2seq"] == TWO_ROWS


def test_ls_cells_says_every_cell_as_json(say):
    listed = say("ls", "cells", "--json").json
    cells = {(cell["system"], cell["head"], cell["backbone"]): cell for cell in listed}
    assert len(cells) == len(listed)
    assert cells["pet+full", "head", "masked"]["name"] == "PET"
    assert cells["pet+full", "head", "masked"]["papers"] == ["arXiv:2001.07676"]
    assert cells["pet:student=false+lora", "cloze", "causal"]["valid"]
    assert cells["pet+lora", "head", "seq2seq"]["valid"]
    refused = cells["pet+unipelt", "head", "seq2seq"]
    assert not refused["valid"] and "encoder-decoder" in refused["refused"]


def test_show_fills_every_pattern(say, task_file):
    said = say("show", task_file, "--text", "Wow.", "--backbone", "none")
    assert said.out.splitlines() == ["  it-was  Wow. It was ▁▁▁.", "  just    Just ▁▁▁! │ Wow."]
    assert said.err == ""


def test_show_says_json(say, task_file):
    shown = say("show", task_file, "--text", "Wow.", "--json", "-b", "none")
    assert shown.json == [
        {"pattern": "it-was", "text": "Wow. It was ▁▁▁."},
        {"pattern": "just", "text": "Just ▁▁▁! │ Wow."},
    ]
    assert shown.err == ""


def test_show_takes_a_field_for_each_input(say):
    said = say("show", "mnli", "--field", "premise=It rains.", "--field", "hypothesis=a=b", "--json", "-b", "none")
    assert all("rain" in row["text"].lower() and "a=b" in row["text"].lower() for row in said.json)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mnli", "--text", "x"], "reads premise, hypothesis, so one --text is too little. Write --field premise=..."),
        (["mnli", "--field", "premise=x"], "needs a text for hypothesis"),
        (["mr"], "needs a text for text. Write --text ..."),
        (["mr", "--field", "txt=x"], "--field txt: no input of 'mr'. Did you mean 'text'?"),
        (["mr", "--field", "x"], "--field x: cannot be read. Write --field name=value."),
    ],
)
def test_show_says_what_it_needs(say, words, message):
    said = say("show", *words)
    assert said.code == 2
    assert message in said.err


def test_show_asks_by_letter_where_it_is_told_to(say, task_file):
    said = say("show", task_file, "--text", "Wow.", "-b", "none", "--patterns", "just+letters", "--json")
    assert [row["pattern"] for row in said.json] == ["just", "letters"]
    assert said.json[1]["text"] == "Wow.\nQuestion: Is a film good?\nA: terrible\nB: great\nAnswer: ▁▁▁"


def test_show_with_a_backbone_says_why(say, task_file, tiny_bert_folder):
    said = say("show", task_file, "--text", "Wow.", "--backbone", tiny_bert_folder, "--device", "cpu")
    heads = [line.split()[0] for line in said.out.splitlines()]
    assert heads == ["it-was", "guesses", "tokens", "labels", "just", "guesses", "tokens", "labels"]
    assert re.search(r"tokens   negative=terrible -\d+\.\d  positive=great -\d+\.\d", said.out)
    assert said.err == ""


def test_show_says_all_of_it_as_one_array(say, task_file, tiny_bert_folder):
    said = say("show", task_file, "--text", "dull " * 200, "-b", tiny_bert_folder, "--calibration", "pmi", "--json")
    row = said.json[0]
    assert row.keys() == {
        *("pattern", "text", "read", "guesses", "words", "uncalibrated", "probabilities", "mass", "cut", "cuts")
    }
    assert [word["pieces"] for word in row["words"]] == [["terrible"], ["great"]]
    assert row["cut"] and row["cuts"][0]["field"] == "text" and row["cuts"][0]["of"] == 200
    assert row["probabilities"] != row["uncalibrated"]
    assert said.err == ""


def test_show_names_what_a_causal_backbone_cannot_read(say, task_file, tiny_gpt2_folder):
    said = say("show", task_file, "--text", "Wow.", "-b", tiny_gpt2_folder)
    assert "skipped  a field after the mask" in said.out


def test_show_takes_the_items_of_a_list_one_by_one(say, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        'task: own\ninputs: [text, choices]\ncandidates: choices\npatterns: {it: "{text} It is {mask}"}\n',
        encoding="utf-8",
    )
    words = ["--field", "text=It barks.", "--field", "choices=a dog", "--field", "choices=a cat"]
    (row,) = say("show", path, *words, "-b", "none", "--patterns", "letters", "--json").json
    assert "\nA: a dog\nB: a cat\n" in row["text"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--calibration", "batsch"], "calibration=batsch: no such kind. Did you mean 'batch'? Write none, contextual"),
        (["--calibration", "batch"], "calibration=batch needs unlabelled rows, and there are none. Write --data DIR"),
        (["--patterns", "leters"], "no pattern 'leters' in 'films'. Did you mean 'letters'?"),
    ],
)
def test_show_refuses_what_it_cannot_do(say, task_file, tiny_bert_folder, words, message):
    said = say("show", task_file, "--text", "Wow.", "-b", tiny_bert_folder, *words)
    assert said.code == 2
    assert message in said.err


def test_show_calibrates_on_the_rows_of_the_data(say, task_file, data, tiny_bert_folder):
    words = [
        "show",
        task_file,
        "--text",
        "Wow.",
        "-b",
        tiny_bert_folder,
        "--calibration",
        "batch",
        "--data",
        data,
        "--json",
    ]
    rows = say(*words).json
    assert all(sum(row["uncalibrated"].values()) == pytest.approx(1) for row in rows)
    own = data / "pool.csv"
    own.write_text("text\na dull film\n", encoding="utf-8")
    others = say(*words, "--unlabeled", own).json
    assert others[0]["uncalibrated"] == rows[0]["uncalibrated"]
    assert others[0]["probabilities"] != rows[0]["probabilities"]


def test_check_says_what_is_in_a_file(say, task_file):
    said = say("check", task_file, "mr")
    assert said.code == 0
    head, films, mr = said.out.splitlines()
    assert head.split() == ["file", "task", "labels", "patterns", "mask", "last"]
    assert films.split() == [str(task_file), "films", "2", "2", "1"]
    assert mr.split()[:2] == ["mr", "mr"]


def test_check_says_json(say, task_file):
    (found,) = say("check", task_file, "--json").json
    assert found == {"file": str(task_file), "task": "films", "labels": 2, "patterns": 2, "mask_last": 1}


def test_check_names_every_fault_of_every_file(say, task_file, tmp_path):
    other = tmp_path / "books.yaml"
    other.write_text(
        task_file.read_text(encoding="utf-8").replace("films", "books").replace("{text} It", "{txt} It"),
        encoding="utf-8",
    )
    task_file.write_text(task_file.read_text(encoding="utf-8").replace("{mask}!", "!"), encoding="utf-8")
    said = say("check", task_file, other)
    assert said.code == 2
    assert f"{task_file}:9:" in said.err
    assert f"{other}:8:" in said.err and "Did you mean 'text'?" in said.err


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\x00", b"task: !!python/object/apply:os.system [ls]", b"task: a\ntask: b"], ids=str
)
def test_check_refuses_a_file_that_is_none_without_a_traceback(say, tmp_path, content):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    said = say("check", path)
    assert said.code == 2
    assert said.err.startswith(f"error: {path}")
    assert "Traceback" not in said.err


def test_check_of_a_missing_file_is_an_error(say):
    assert say("check", "nowhere.yaml").code == 2


def test_check_with_a_backbone_shows_how_words_split(say, task_file, tiny_bert_folder):
    said = say("check", task_file, "--backbone", tiny_bert_folder, "--json")
    rows = said.json
    assert [row["pattern"] for row in rows] == ["it-was", "just"]
    assert [word["pieces"] for word in rows[0]["words"]] == [["terrible"], ["great"]]
    assert [row["problem"] for row in rows] == [None, None]
    assert rows[0]["tokens"] > 3


def test_check_with_data_counts_what_is_cut(say, task_file, data, tiny_bert_folder):
    long = {"text": "dull " * 600, "label": "negative"}
    (data / "films" / "test.jsonl").write_text(json.dumps(long) + "\n", encoding="utf-8")
    said = say("check", task_file, "--backbone", tiny_bert_folder, "--data", data, "--json")
    assert [row["cut"] for row in said.json] == [1.0, 1.0]


def test_check_shows_a_word_that_splits_in_its_pieces(say, task_file, tiny_bert_folder):
    task_file.write_text(task_file.read_text(encoding="utf-8").replace("great", "gorgeous"), encoding="utf-8")
    said = say("check", task_file, "--backbone", tiny_bert_folder)
    assert said.code == 0
    assert "positive=g+##o+##r+##g+##e+##o+##u+##s" in said.out
    (one, _) = say("check", task_file, "--backbone", tiny_bert_folder, "--json").json
    assert [word["single"] for word in one["words"]] == [True, False]
    assert one["problem"] is None


def test_check_names_words_that_begin_alike(say, task_file, tiny_bert_folder):
    text = task_file.read_text(encoding="utf-8").replace("terrible", "gruesome").replace("great", "gorgeous")
    task_file.write_text(text, encoding="utf-8")
    rows = say("check", task_file, "--backbone", tiny_bert_folder, "--json").json
    assert rows[0]["collisions"] == [{"piece": "g", "labels": ["negative", "positive"]}]
    assert "g: negative, positive" in say("check", task_file, "--backbone", tiny_bert_folder).out


def test_check_keeps_room_for_the_longest_word(say, task_file, tiny_bert_folder):
    short = say("check", task_file, "-b", tiny_bert_folder, "--json").json[0]["tokens"]
    task_file.write_text(task_file.read_text(encoding="utf-8").replace("great", "gorgeous"), encoding="utf-8")
    assert say("check", task_file, "-b", tiny_bert_folder, "--json").json[0]["tokens"] == short + 7


def test_check_counts_over_a_tasks_embedded_rows(say, tiny_bert_folder):
    rows = say("check", "reviews", "--backbone", tiny_bert_folder, "--json").json
    assert all(row["rows"] == 500 and row["row_tokens"] > row["tokens"] for row in rows)
    assert all(0 < row["cut"] < 1 for row in rows)


def test_check_counts_the_words_that_rows_bring(say, tmp_path, tiny_bert_folder):
    path, home = tmp_path / "own.yaml", tmp_path / "data" / "own"
    path.write_text(
        'task: own\ninputs: [text, choices]\ncandidates: choices\npatterns: {it: "{text} it is {mask}"}\n',
        encoding="utf-8",
    )
    home.mkdir(parents=True)
    rows = [
        {"text": "a", "choices": ["good", "bad"], "label": "bad"},
        {"text": "b", "choices": ["go", "get"], "label": "go"},
    ]
    (home / "test.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    words = ["check", path, "-b", tiny_bert_folder, "--data", tmp_path / "data"]
    plain, lettered = say(*words, "--patterns", "all+letters", "--json").json
    assert plain["row_words"] == {"words": 2.0, "pieces": 1.75, "longest": 3.0, "collisions": 0.5}
    assert lettered["row_words"] == {"words": 2.0, "pieces": 1.0, "longest": 1.0, "collisions": 0.0}
    assert (plain["problem"], plain["rows"], plain["cut"]) == (None, 2, 0.0)
    assert "2.0 a row, 1.8 pieces each, 3 at most  in 50.0 % of rows" in say(*words).out


def test_check_says_what_is_wrong_with_a_word(say, task_file, tiny_bert_folder):
    task_file.write_text(task_file.read_text(encoding="utf-8").replace("great", "☃"), encoding="utf-8")
    rows = say("check", task_file, "--backbone", tiny_bert_folder, "--json").json
    assert "has characters that the vocabulary" in rows[0]["problem"]


def test_check_takes_patterns_by_letter(say, task_file, tiny_bert_folder):
    words = ["check", task_file, "-b", tiny_bert_folder, "--patterns", "letters+modernbert-letters", "--json"]
    plain, published = say(*words).json
    assert [word["pieces"] for word in plain["words"]] == [["a"], ["b"]]
    assert published["tokens"] > plain["tokens"]


def test_check_names_a_pattern_that_no_method_asks(say, task_file, tiny_bert_folder):
    text = task_file.read_text(encoding="utf-8").replace(
        "patterns:\n", 'patterns:\n  some: {pattern: "{text} {mask}", when: {text: x}}\n', 1
    )
    task_file.write_text(text, encoding="utf-8")
    some, *others = say("check", task_file, "--backbone", tiny_bert_folder, "--json").json
    assert "'some' would be asked of some rows only (when:)" in some["problem"]
    assert [row["problem"] for row in others] == [None] * len(others)


def test_check_names_a_pattern_that_a_causal_backbone_cannot_read(say, task_file, tiny_gpt2_folder):
    rows = say("check", task_file, "--backbone", tiny_gpt2_folder, "--json").json
    assert rows[0]["problem"] is None
    assert "mask" in rows[1]["problem"]


def test_batch_calibration_of_show_draws_its_rows_and_does_not_take_the_first(task_file, tmp_path, monkeypatch):
    from promptlab.cli import look
    from promptlab.language.library import load_task

    file = tmp_path / "pool.txt"
    file.write_text("".join(f"film {i}\n" for i in range(50)))
    monkeypatch.setattr(look, "POOL", 10)
    drawn = [row.text("text") for row in look._pool(load_task(task_file), None, file)]
    assert len(drawn) == 10 and drawn != [f"film {i}" for i in range(10)]
    assert drawn == sorted(drawn, key=lambda text: int(text.split()[1]))

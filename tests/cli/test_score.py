import pytest


@pytest.fixture
def files(tmp_path):
    said, right = tmp_path / "said.txt", tmp_path / "right.txt"
    said.write_text("The pub is cheap.\nA dear inn by the river.\n", encoding="utf-8")
    right.write_text("The pub is cheap.\nIt is a cheap pub.\n\nA dear inn stands by the river.\n", encoding="utf-8")
    return said, right


def test_score_prints_a_table_on_stdout(say, files):
    said = say("score", *files, "--metrics", "bleu,rouge_l", "--words", "own")
    assert said.code == 0
    lines = [line.split("  ") for line in said.out.splitlines()]
    assert [line[0] for line in lines] == ["metric", "bleu", "rouge_l"]
    assert "promptlab's Treebank words" in said.out
    assert said.err == "2 inputs, 3 references\n"


def test_score_writes_json_with_intervals_and_what_has_none(say, files):
    said = say("score", *files, "--metrics", "rouge_l,chrf", "--words", "own", "--bootstrap", 20, "--json")
    found = said.json["metrics"]
    assert said.json["inputs"] == 2
    assert found["rouge_l"]["interval"][0] <= found["rouge_l"]["value"] <= found["rouge_l"]["interval"][1]
    assert (found["chrf"]["interval"], found["chrf"]["note"]) == (None, "no interval")


def test_a_metric_that_cannot_be_had_is_missing_with_its_reason(say, files, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda program: None)
    table = say("score", *files, "--metrics", "meteor,bleu")
    assert (table.code, "missing" in table.out, "no Java" in table.out) == (0, True, True)
    assert say("score", *files, "--metrics", "meteor", "--json").json["metrics"]["meteor"]["value"] is None


def test_webnlgs_padding_is_named_in_the_row(say, files):
    rows = [say("score", *files, "--metrics", "webnlg_bleu", *more).out for more in ((), ("--webnlg-legacy",))]
    assert "missing references do not count" in rows[0]
    assert "missing references count as empty" in rows[1]


def test_counts_that_differ_end_in_one_message(say, files):
    said = say("score", files[1], files[0])
    assert said.code == 2
    assert "error: " in said.err and said.out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--metrics", "blue"), "Did you mean 'bleu'"),
        (("--metrics", ","), "names none"),
        (("--bootstrap", "-1"), "draws are counted"),
        (("--words", "perl"), "no such words"),
    ],
)
def test_settings_that_cannot_be_are_refused(say, files, words, message):
    said = say("score", *files, *words)
    assert said.code == 2
    assert message in said.err

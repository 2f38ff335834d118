"""``ls``, ``show`` and ``check`` of tasks that ask for a text."""


def test_show_reads_a_table_as_the_task_does(say):
    shown = say("show", "restaurants", "--text", "name[The Mill], kind[pub]", "--backbone", "none", "--json").json
    assert shown[0] == {"pattern": "described", "text": "Attributes: name : The Mill | kind : pub\nDescription: ▁▁▁"}


def test_show_refuses_what_is_no_table(say):
    said = say("show", "restaurants", "--text", "a pub", "--backbone", "none")
    assert said.code == 2
    assert "'a pub' is neither a meaning representation nor a triple. Write name[value]" in said.err


def test_check_without_a_backbone_reads_files_alone(say):
    found = say("check", "e2e", "webnlg", "dart", "xsum", "restaurants", "--json").json
    assert [(row["labels"], row["patterns"], row["mask_last"]) for row in found] == [(0, 4, 4)] * 5


def test_check_counts_what_is_read_before_a_text_is_written(say, tiny_gpt2_folder):
    rows = say("check", "restaurants", "--backbone", tiny_gpt2_folder, "--json").json
    described, bare = rows[0], rows[2]
    assert (described["pattern"], bare["pattern"], described["problem"]) == ("described", "bare", None)
    assert described["tokens"] > bare["tokens"]
    assert described["rows"] == bare["rows"] == 60
    assert described["row_tokens"] > described["tokens"]
    assert described["words"] == described["collisions"] == []


def test_check_says_of_a_masked_backbone_that_it_writes_nothing(say, tiny_bert_folder):
    rows = say("check", "restaurants", "--backbone", tiny_bert_folder, "--json").json
    assert all("writes no text" in row["problem"] for row in rows)
    assert "writes no text" in say("check", "restaurants", "--backbone", tiny_bert_folder).out

"""Official files where --data finds them: E2E, WebNLG, DART, XSum, and the shared forms."""

import json
from collections import Counter
from pathlib import Path

import pytest

from promptlab.data.folder import splits_in
from promptlab.data.sources import read_examples, read_splits
from promptlab.errors import DataError
from promptlab.language.library import load_task, read_task

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
XML = (
    '<benchmark><entries><entry category="{}" eid="1" size="1"><modifiedtripleset><mtriple>A | in | B</mtriple>'
    "</modifiedtripleset><lex>{}</lex></entry></entries></benchmark>"
)


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def said(rows):
    return [row.right for row in rows]


def test_the_files_of_e2e_are_found_by_their_names(tmp_path):
    home = tmp_path / "e2e"
    put(
        home / "trainset.csv", 'mr,ref\n"name[A], food[fish]",One.\n"name[A], food[fish]","Two, too."\nname[B],Three.\n'
    )
    put(home / "devset.csv", "mr,ref\nname[C],Four.\n")
    put(home / "testset_w_refs.csv", "mr,ref\nname[D],Five.\nname[D],Six.\n")
    put(home / "testset.csv", "mr\nname[D]\n")  # the inputs of the challenge
    splits = read_splits(load_task("e2e"), tmp_path)
    assert said(splits.train) == [("One.", "Two, too."), ("Three.",)]
    assert said(splits.dev) == [("Four.",)]
    assert said(splits.test) == [("Five.", "Six.")]
    assert splits.train[0].fields == {"source": "name : A | food : fish"}


def test_the_files_of_webnlg_are_found_in_their_folders(tmp_path):
    home = tmp_path / "webnlg2017"
    put(home / "train" / "1triples" / "a_train_challenge.xml", XML.format("City", "One."))
    put(home / "train" / "2triples" / "a_train_challenge.xml", XML.format("City", "Two."))
    put(home / "dev" / "1triples" / "a_dev_challenge.xml", XML.format("City", "Three."))
    put(home / "test" / "testdata_with_lex.xml", XML.format("Artist", "Four."))
    put(home / "test" / "testdata_unseen_with_lex.xml", XML.format("Artist", "Four."))
    put(home / "test" / "testdata_no_lex.xml", XML.format("Artist", ""))
    splits = read_splits(load_task("webnlg"), tmp_path)
    assert (said(splits.train), said(splits.dev)) == ([("One.",), ("Two.",)], [("Three.",)])
    assert [(row.right, row.part) for row in splits.test] == [(("Four.",), "unseen")]


def test_the_files_of_webnlg_2020_are_found_in_their_folders(tmp_path):
    home = tmp_path / "webnlg" / "en"
    put(home / "train" / "1triples" / "City.xml", XML.format("City", "One."))
    put(home / "test" / "rdf-to-text-generation-test-data-with-refs-en.xml", XML.format("Film", "Two."))
    put(home / "test" / "semantic-parsing-test-data-with-refs-en.xml", XML.format("Film", "Three."))
    put(tmp_path / "webnlg" / "ru" / "train" / "1triples" / "City.xml", XML.format("City", "\u041e\u0434\u0438\u043d."))
    splits = read_splits(load_task("webnlg"), tmp_path)
    assert (said(splits.train), said(splits.test)) == ([("One.",)], [("Two.",)])


def test_files_of_webnlg_may_lie_in_the_folder_itself(tmp_path):
    home = tmp_path / "webnlg"
    put(home / "1triples_City_train_challenge.xml", XML.format("City", "One."))
    put(home / "2triples_City_train_challenge.xml", XML.format("City", "Two."))
    put(home / "testdata_with_lex.xml", XML.format("City", "Three."))
    splits = read_splits(load_task("webnlg"), tmp_path)
    assert (said(splits.train), said(splits.test)) == ([("One.",), ("Two.",)], [("Three.",)])


def test_the_files_of_dart_are_found_by_their_names(tmp_path):
    rows = [
        {
            "tripleset": [["A", "IS_IN", "B"], ["B", "SIZE", "3"]],
            "subtree_was_extended": False,
            "annotations": [{"source": "x", "text": "One."}, {"source": "y", "text": "Two."}],
        }
    ]
    for split in ("train", "dev", "test"):
        put(tmp_path / "dart" / f"dart-v1.1.1-full-{split}.json", json.dumps(rows))
    splits = read_splits(load_task("dart"), tmp_path)
    assert splits.train == splits.dev == splits.test
    assert splits.train[0].fields == {"source": "| A : IS IN : B | B : SIZE : 3"}
    assert splits.train[0].right == ("One.", "Two.")


def test_stories_of_xsum_are_read_with_their_summaries(tmp_path):
    row = {"id": "1", "document": "First line.\nSecond line.", "summary": "In short."}
    put(tmp_path / "xsum" / "train.jsonl", json.dumps(row) + "\n" + json.dumps(row | {"document": "Other."}))
    put(tmp_path / "xsum" / "test.jsonl", json.dumps(row))
    splits = read_splits(load_task("xsum"), tmp_path)
    assert said(splits.train) == [("In short.",), ("In short.",)]
    assert splits.test[0].fields == {"document": "First line.\nSecond line."}


def test_the_first_folder_that_is_there_is_taken(tmp_path):
    task = read_task("{task: t, dataset: {folders: [t1, t2]}, inputs: [a], patterns: {p: '{a} {target}'}}")
    put(tmp_path / "t2" / "test.jsonl", "{}")
    assert splits_in(tmp_path, task) == {"test": tmp_path / "t2" / "test.jsonl"}
    put(tmp_path / "t1" / "test.jsonl", "{}")
    assert splits_in(tmp_path, task) == {"test": tmp_path / "t1" / "test.jsonl"}
    put(tmp_path / "t" / "test.jsonl", "{}")
    assert splits_in(tmp_path, task) == {"test": tmp_path / "t" / "test.jsonl"}


def test_files_of_ours_come_before_published_ones(tmp_path):
    put(tmp_path / "e2e" / "train.jsonl", json.dumps({"source": "name[A]", "targets": ["Ours."]}))
    put(tmp_path / "e2e" / "trainset.csv", "mr,ref\nname[A],Theirs.\n")
    assert said(read_splits(load_task("e2e"), tmp_path).train) == [("Ours.",)]


def test_two_published_files_of_one_split_are_refused(tmp_path):
    for version in ("v1.0.0", "v1.1.1"):
        put(tmp_path / "dart" / f"dart-{version}-full-train.json", "[]")
    with pytest.raises(DataError, match=r"holds dart-v1\.0\.0-full-train\.json and dart-v1\.1\.1.*Leave one"):
        read_splits(load_task("dart"), tmp_path)


def test_a_task_without_a_data_set_on_the_hub_says_what_to_give():
    with pytest.raises(DataError, match=r"'webnlg' names no data set on the hub\. Write --data DIR"):
        read_splits(load_task("webnlg"))


# lists of objects


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1},\n{"a": ', r":2: not JSON, or cut off \("),
        ('{"a": 1}', r": no list of objects\. Write \["),
        ("[]", r": no list of objects"),
        ('[{"a": 1}, 2]', r", row 2: no list of objects"),
    ],
)
def test_json_that_is_no_list_of_objects_is_refused(tmp_path, text, message):
    path = tmp_path / "rows.json"
    put(path, text)
    with pytest.raises(DataError, match=f"^{path}{message}"):
        read_examples(path, load_task("dart"))


def test_a_row_of_a_json_list_is_named_by_its_number(tmp_path):
    path = tmp_path / "rows.json"
    put(path, '[{"tripleset": [["A", "B"]]}]')
    with pytest.raises(DataError, match=rf"^{path}, row 1: 'tripleset': "):
        read_examples(path, load_task("dart"))


# real data


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "split", "inputs", "references"),
    [
        ("e2e", "train", 547, 4521),
        ("e2e", "test", 630, 4577),
        ("webnlg", "train", 6940, 18102),
        ("webnlg", "dev", 872, 2268),
        ("webnlg", "test", 1862, 4924),  # 4928 as published: repeated ones were dropped
    ],
)
def test_the_shared_data_has_as_many_inputs_and_references_as_it_says(name, split, inputs, references):
    task = load_task(name)
    if not any((SHARED / home).is_dir() for home in task.dataset["folders"]):
        pytest.skip(f"no ../shared/data/{name} beside this checkout")
    rows = getattr(read_splits(task, SHARED), split)
    assert (len(rows), sum(len(row.right) for row in rows)) == (inputs, references)
    if (name, split) == ("webnlg", "test"):
        assert Counter(row.part for row in rows) == {"seen": 971, "unseen": 891}

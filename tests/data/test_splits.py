import json
from pathlib import Path

import pytest

from promptlab.data.sources import read_hub, read_splits
from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.task import Task

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
REVIEWS = Task(name="reviews", inputs={"text": "text"}, labels=("negative", "positive"), pvps=())


def put(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(dict(zip(("text", "label"), row, strict=False))) for row in rows))
    return path


@pytest.fixture
def home(tmp_path):
    put(tmp_path / "reviews" / "train.jsonl", ("fine", "positive"))
    put(tmp_path / "reviews" / "test.jsonl", ("dull", "negative"))
    return tmp_path / "reviews"


def texts(rows):
    return [row.fields["text"] for row in rows]


# folders and files


def test_a_folder_gives_every_split_it_holds(home):
    put(home / "unlabeled.jsonl", ("who knows", "nonsense"))
    put(home / "dev.jsonl", ("good", "positive"))
    splits = read_splits(REVIEWS, home.parent)
    assert (splits.train, splits.test) == (
        [Example({"text": "fine"}, "positive")],
        [Example({"text": "dull"}, "negative")],
    )
    assert splits.unlabeled == [Example({"text": "who knows"})]
    assert splits.dev == [Example({"text": "good"}, "positive")]


def test_splits_that_a_folder_lacks_are_none_of_their_own(home):
    splits = read_splits(REVIEWS, home.parent)
    assert (splits.unlabeled, splits.dev) == (None, None)


def test_a_folder_may_hold_test_rows_alone(home):
    (home / "train.jsonl").unlink()
    assert read_splits(REVIEWS, home.parent).train == []


@pytest.mark.parametrize(
    ("name", "text"), [("train.csv", "text,label\nnew,positive"), ("train.tsv", "text\tlabel\nnew\t1")]
)
def test_a_folder_holds_any_kind_of_table(home, name, text):
    (home / "train.jsonl").unlink()
    (home / name).write_text(text)
    assert texts(read_splits(REVIEWS, home.parent).train) == ["new"]


def test_two_files_of_one_split_are_refused_rather_than_chosen_from(home):
    (home / "train.csv").write_text("text,label\nnew,positive")
    with pytest.raises(DataError, match=r"holds train\.jsonl and train\.csv\. Leave one"):
        read_splits(REVIEWS, home.parent)


def test_files_stand_in_for_the_folders(home, tmp_path):
    other = put(tmp_path / "mine.jsonl", ("mine", "negative"))
    splits = read_splits(REVIEWS, home.parent, train=other, unlabeled=["loose text"])
    assert texts(splits.train) == ["mine"]
    assert texts(splits.test) == ["dull"]
    assert texts(splits.unlabeled) == ["loose text"]


def test_files_alone_are_all_there_is(tmp_path):
    splits = read_splits(REVIEWS, train=put(tmp_path / "a.jsonl", ("mine", "negative")))
    assert (texts(splits.train), splits.test, splits.unlabeled) == (["mine"], [], None)


def test_columns_hold_for_all_files(tmp_path):
    rows = [{"body": "mine", "label": "negative"}]
    splits = read_splits(REVIEWS, train=rows, test=rows, unlabeled=rows, columns={"text": "body"})
    assert texts(splits.train + splits.test + splits.unlabeled) == ["mine"] * 3


def test_an_unlabelled_file_given_to_train_on_is_refused(tmp_path):
    path = put(tmp_path / "pile.jsonl", ("mine",))
    with pytest.raises(DataError, match=r"pile\.jsonl has no label column, and labels are needed here"):
        read_splits(REVIEWS, train=path)


def test_test_rows_without_labels_are_refused():
    with pytest.raises(DataError, match="test: rows without labels"):
        read_splits(REVIEWS, train=TRAIN, test=["mine"])


TRAIN = [("fine", "positive")]


def test_a_folder_without_the_task_lists_the_tasks_it_has(tmp_path):
    put(tmp_path / "review" / "train.jsonl", ("fine", "positive"))
    with pytest.raises(
        DataError, match=r"no folder .*reviews\. Did you mean 'review'\? Found: review\. Write --data DIR"
    ):
        read_splits(REVIEWS, tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*Found: no folder"):
        read_splits(REVIEWS, tmp_path / "nowhere")


def test_a_folder_with_neither_train_nor_test_rows_is_refused(tmp_path):
    put(tmp_path / "reviews" / "unlabeled.jsonl", ("fine",))
    with pytest.raises(DataError, match="holds neither train nor test rows"):
        read_splits(REVIEWS, tmp_path)


# the hub


def on_hub(path, **more):
    return Task(
        name="reviews", inputs={"text": "text"}, labels=REVIEWS.labels, pvps=(), dataset={"path": str(path), **more}
    )


@pytest.fixture
def cached(monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def test_a_task_without_files_is_read_from_its_data_set(home, cached):
    splits = read_splits(on_hub(home))
    assert (texts(splits.train), texts(splits.test), splits.unlabeled, splits.dev) == (["fine"], ["dull"], None, None)


def test_a_data_set_may_call_its_splits_otherwise(home, cached):
    put(home / "validation.jsonl", ("good", "positive"))
    assert texts(read_hub(on_hub(home, test="validation"), "test")) == ["good"]


def test_a_split_of_a_data_set_serves_as_the_pool_where_the_task_names_it(home, cached):
    assert read_splits(on_hub(home, unlabeled="test")).unlabeled == [Example({"text": "dull"})]


def test_a_pile_of_ones_own_joins_the_rows_of_the_data_set(home, cached):
    splits = read_splits(on_hub(home), unlabeled=["loose"])
    assert (texts(splits.train), texts(splits.unlabeled)) == (["fine"], ["loose"])


def test_a_split_that_the_data_set_lacks_names_it_and_what_else_to_give(home, cached):
    with pytest.raises(DataError, match=r"split held_out: the data set cannot be had: .*Write --data DIR"):
        read_hub(on_hub(home, test="held_out"), "test")


def test_a_hub_out_of_reach_is_one_error(monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(pytest.importorskip("datasets"), "load_dataset", unreachable)
    with pytest.raises(DataError, match=r"owner/name \(small\), split train: the data set cannot be had: no route\."):
        read_hub(on_hub("owner/name", name="small"), "train")


def test_a_row_of_a_data_set_that_is_wrong_says_which_data_set(home, cached):
    put(home / "train.jsonl", ("fine", "splendid"))
    with pytest.raises(DataError, match=r"split train\[0\]: label 'splendid'"):
        read_hub(on_hub(home), "train")


def test_a_task_without_files_and_without_a_data_set_says_what_to_give():
    with pytest.raises(DataError, match=r"'reviews' names no data set on the hub\. Write --data DIR, or --train FILE"):
        read_splits(REVIEWS)


# real data


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "inputs"), [("mr", 1), ("trec", 1), ("ag_news", 1), ("subj", 1), ("rte", 2), ("mnli", 2)]
)
def test_the_shared_data_reads_with_the_shipped_tasks(name, inputs):
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    from promptlab.language.library import load_task

    splits = read_splits(load_task(name), SHARED)
    rows = splits.train + splits.test + (splits.unlabeled or [])
    assert all(len(row.fields) == inputs for row in rows)
    assert {row.label for row in splits.test} == set(load_task(name).labels)
    assert all(row.label is None for row in splits.unlabeled or [])

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from promptlab.data.fewshot import draw, fingerprint, limited, read_shots, sample, sample_shots
from promptlab.data.sources import Splits
from promptlab.errors import DataError, SettingError
from promptlab.language.example import Example
from promptlab.language.task import Range, Task

ROOT = Path(__file__).parents[2]
SHARED = ROOT / ".." / "shared" / "data"
LETTERS = Task(name="letters", inputs={"text": "text"}, labels=("c", "a", "b"), pvps=())
ROWS = [Example({"text": f"row {i}"}, ("a", "b", "c")[min(i % 4, 2)]) for i in range(40)]  # a 10, b 10, c 20
GROUPED = [Example({"text": f"row {i}"}, "ab"[i % 2], group=f"g{i // 3}") for i in range(30)]


def numbers(rows):
    return [int(row.fields["text"].split()[1]) for row in rows]


# the draw


@pytest.mark.parametrize(
    ("shots", "seed", "labels", "rows"),
    [
        (2, 0, (), [36, 25, 15, 20, 33, 18]),
        (2, 1, (), [4, 29, 30, 8, 33, 39]),
        (3, 7, ("c", "a", "b"), [7, 4, 33, 26, 12, 29, 3, 20, 17]),
        ("total:5", 0, (), [15, 36, 20, 25, 18]),
    ],
)
def test_the_rows_of_a_seed_are_these_for_ever(shots, seed, labels, rows):
    """Worked out apart from this code; results that stand somewhere rest on them."""
    assert draw(ROWS, shots, seed, labels) == rows


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_draw_does_not_hang_on_how_python_hashes(hash_seed):
    code = (
        "from promptlab.data.fewshot import draw; from promptlab.language.example import Example; "
        "print(draw([Example({}, 'abc'[min(i % 4, 2)]) for i in range(40)], 2, 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": hash_seed}, capture_output=True, check=True
    )
    assert json.loads(done.stdout) == [36, 25, 15, 20, 33, 18]


def test_shots_are_counted_per_class_and_the_classes_take_turns():
    drawn = [ROWS[row].label for row in draw(ROWS, 3, 0)]
    assert drawn == ["a", "b", "c"] * 3


def test_fewer_shots_of_a_seed_are_the_first_of_more():
    assert draw(ROWS, 2, 5) == draw(ROWS, 8, 5)[:6]
    assert draw(ROWS, "total:4", 5) == draw(ROWS, "total:9", 5)[:4]


def test_another_seed_draws_other_rows():
    assert len({tuple(sorted(draw(ROWS, 4, seed))) for seed in range(20)}) == 20


def test_every_row_is_as_likely_as_any_other():
    often = Counter(row for seed in range(400) for row in draw(ROWS, 2, seed))
    assert len(often) == 40
    assert all(50 < often[row] < 115 for row in range(40) if ROWS[row].label != "c")  # 80 expected
    assert all(20 < often[row] < 65 for row in range(40) if ROWS[row].label == "c")  # 40 expected


def test_no_row_is_drawn_twice():
    assert sorted(draw(ROWS, 10, 3)) == sorted(set(draw(ROWS, 10, 3)))


def test_all_takes_every_row_in_its_order():
    assert draw(ROWS, "all", 9) == list(range(40))


def test_rows_without_a_label_are_in_no_class():
    rows = [row if at % 2 else row.unlabelled() for at, row in enumerate(ROWS)]
    assert all(row % 2 for row in draw(rows, 5, 0))


def test_a_pool_without_labels_is_drawn_by_its_total():
    pool = [row.unlabelled() for row in ROWS]
    assert draw(pool, "total:5", 0) == draw(ROWS, "total:5", 0)


@pytest.mark.parametrize("shots", [0, "0", "total:0"])
def test_no_shots_are_no_rows_even_where_there_are_none_to_draw_from(shots):
    assert draw([], shots, 0) == []


def test_a_class_that_is_too_small_is_named_with_every_size_and_a_way_out():
    with pytest.raises(DataError) as caught:
        draw(ROWS, 12, 0, LETTERS.labels)
    assert str(caught.value) == (
        "12 shots a class, but 'a' has 10, 'b' has 10 (rows: c 20, a 10, b 10). Write -k 10, -k total:N or -k all."
    )


def test_a_class_without_any_row_is_too_small():
    with pytest.raises(DataError, match=r"'d' has 0 .*Write rows of that class, -k total:N"):
        draw(ROWS, 1, 0, ("a", "b", "c", "d"))


def test_a_total_beyond_the_rows_says_how_many_there_are():
    with pytest.raises(DataError, match=r"there are 40 rows\. Write total:40 or all"):
        draw(ROWS, "total:41", 0)


def test_shots_without_labelled_rows_say_what_to_give():
    with pytest.raises(DataError, match=r"there are no labelled rows\. Give --train FILE"):
        draw([Example({"text": "x"})], 1, 0)
    with pytest.raises(DataError, match=r"total:8 shots, but there are 0 rows\. Give --train FILE"):
        draw([], "total:8", 0)


@pytest.mark.parametrize(
    ("shots", "read"), [(16, (16, False)), ("16", (16, False)), ("total:32", (32, True)), ("all", (None, True))]
)
def test_shots_are_read_from_numbers_and_from_text(shots, read):
    assert read_shots(shots) == read


@pytest.mark.parametrize("shots", [-1, "-1", "1.5", 2.0, "total:", "total:all", "", "many", "²", True, None])
def test_shots_that_cannot_be_say_what_can(shots):
    with pytest.raises(SettingError, match=r"cannot be read\. Write 16 \(rows a class\), total:32 or all"):
        read_shots(shots)


# groups


def test_rows_of_a_group_are_drawn_together_and_counted_as_one():
    drawn = draw(GROUPED, "total:2", 0)
    assert len(drawn) == 6
    assert len({GROUPED[row].group for row in drawn}) == 2


def test_grouped_rows_are_not_drawn_by_class():
    with pytest.raises(DataError, match=r"drawn in groups\. Write total:4 \(groups\) or all"):
        draw(GROUPED, 4, 0)


def test_a_total_beyond_the_groups_counts_groups():
    with pytest.raises(DataError, match="there are 10 groups of rows"):
        draw(GROUPED, "total:11", 0)


def test_a_limit_keeps_groups_whole():
    kept = Counter(row.group for row in limited(GROUPED, 10))
    assert set(kept.values()) == {3}
    assert len(kept) == 3


# the limit


def test_a_limit_keeps_the_proportions_and_the_order():
    kept = limited(ROWS, 8)
    assert Counter(row.label for row in kept) == {"a": 2, "b": 2, "c": 4}
    assert numbers(kept) == [1, 7, 8, 26, 31, 34, 36, 37]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 11, 39])
def test_a_limit_that_does_not_divide_evenly_is_still_met(limit):
    kept = limited(ROWS, limit)
    assert len(kept) == limit
    assert all(
        abs(Counter(row.label for row in kept)[label] - limit * share) < 1
        for label, share in {"a": 0.25, "b": 0.25, "c": 0.5}.items()
    )


def test_a_limit_that_is_no_limit_keeps_all():
    assert limited(ROWS, None) == limited(ROWS, 40) == limited(ROWS, 99) == ROWS


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(SettingError, match=f"limit: {limit} rows cannot be"):
        limited(ROWS, limit)


# the sample


def splits(**more):
    return Splits(train=ROWS[:24], test=ROWS[24:], **more)


def test_classes_take_turns_in_the_order_of_the_task():
    assert [row.label for row in sample(LETTERS, splits(), 2, 0).train] == ["c", "a", "b"] * 2


def test_without_a_pile_of_its_own_the_pool_is_the_train_rows_not_drawn_without_labels():
    found = sample(LETTERS, splits(), 2, 0)
    assert found.pool_from_train
    assert all(row.label is None for row in found.unlabeled)
    assert sorted(numbers(found.train) + numbers(found.unlabeled)) == list(range(24))


def test_a_pile_of_its_own_is_the_pool():
    pile = [Example({"text": "row 99"})]
    found = sample(LETTERS, splits(unlabeled=pile), 2, 0)
    assert (found.unlabeled, found.pool_from_train) == (pile, False)


def test_the_test_rows_do_not_change_with_the_seed():
    one, other = (sample(LETTERS, splits(), 2, seed, limit=6) for seed in (0, 1))
    assert one.test == other.test
    assert one.train != other.train


def test_no_shots_leave_all_train_rows_to_the_pool():
    found = sample(LETTERS, splits(), 0, 0)
    assert (found.train, numbers(found.unlabeled)) == ([], list(range(24)))


@pytest.mark.parametrize("shots", [2, "total:6", "all"])
def test_train_rows_without_a_label_are_no_shots_but_join_the_pool(shots):
    mixed = [row if at % 3 else row.unlabelled() for at, row in enumerate(ROWS[:24])]
    found = sample(LETTERS, Splits(mixed, []), shots, 0)
    assert all(row.label is not None for row in found.train)
    assert set(range(0, 24, 3)) <= set(numbers(found.unlabeled))
    assert len(found.train) + len(found.unlabeled) == 24


def test_a_class_of_the_task_that_the_rows_lack_is_missed():
    task = Task(name="more", inputs={"text": "text"}, labels=("a", "b", "c", "d"), pvps=())
    with pytest.raises(DataError, match="'d' has 0"):
        sample(task, splits(), 1, 0)


def test_a_task_without_classes_is_not_drawn_by_class():
    task = Task(name="grades", inputs={"text": "text"}, labels=("0", "5"), pvps=(), range=Range(0, 5))
    rows = [Example({"text": f"row {i}"}, str(i / 2)) for i in range(10)]
    with pytest.raises(DataError, match=r"'grades' has no classes\. Write -k total:4"):
        sample(task, Splits(rows, []), 4, 0)
    assert len(sample(task, Splits(rows, []), "total:4", 0).train) == 4


# fingerprints


def test_a_fingerprint_is_this_for_ever():
    assert fingerprint(ROWS[:2], ROWS[2:3]) == "5a5df11fd77abb2e"


def test_a_fingerprint_changes_with_everything_that_could_change_a_result():
    base = Example({"text": "a", "more": "b"}, "x", "g")
    others = [
        [Example({"text": "b", "more": "a"}, "x", "g")],
        [Example({"text": "a", "more": "b"}, "y", "g")],
        [Example({"text": "a", "more": "b"}, None, "g")],
        [Example({"text": "a", "more": "b"}, "x", None)],
        [Example({"text": "a", "more": ("b",)}, "x", "g")],
        [base, base],
    ]
    prints = {fingerprint(rows) for rows in [[base], *others]}
    assert len(prints) == 7
    assert fingerprint(ROWS[:2]) != fingerprint(ROWS[1::-1])
    assert fingerprint(ROWS[:1], ROWS[1:2]) != fingerprint(ROWS[:2], [])


def test_a_fingerprint_does_not_change_with_the_order_of_fields():
    one, other = Example({"a": "x", "b": "y"}), Example({"b": "y", "a": "x"})
    assert fingerprint([one]) == fingerprint([other])


def test_the_fingerprint_of_a_sample_tells_seeds_and_limits_apart():
    found = {sample(LETTERS, splits(), 2, seed, limit).fingerprint for seed in (0, 1) for limit in (None, 5)}
    assert len(found) == 4


# the public door


def test_sample_shots_reads_and_draws_in_one_call(tmp_path):
    (tmp_path / "letters").mkdir()
    for split, rows in (("train", ROWS[:24]), ("test", ROWS[24:])):
        lines = [json.dumps({"text": row.fields["text"], "label": row.label}) for row in rows]
        (tmp_path / "letters" / f"{split}.jsonl").write_text("\n".join(lines))
    train, unlabeled, test = sample_shots(LETTERS, shots=2, seed=3, data=tmp_path, limit=5)
    expected = sample(LETTERS, splits(), 2, 3, limit=5)
    assert (train, unlabeled, test) == (expected.train, expected.unlabeled, expected.test)


@pytest.mark.shared
def test_sixteen_shots_of_mr_are_these_rows_for_ever():
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    task = Task(name="mr", inputs={"text": "text"}, labels=("negative", "positive"), pvps=())
    train, unlabeled, test = sample_shots(task, 16, 0, SHARED, limit=500)
    assert fingerprint(train) == "9977ba0979ce333c"
    assert (len(unlabeled), Counter(row.label for row in test)) == (8660 - 32, {"negative": 250, "positive": 250})


# texts to write

TABLES = Task.from_parts({"p": "{text} {target}"})
WRITTEN = [
    Example({"text": f"row {i}"}, f"z{i}", answers=(f"z{i}", "or so"), part=("seen", "unseen")[i % 4 == 3])
    for i in range(40)
]


def test_shots_of_a_task_that_asks_for_texts_are_inputs_in_all():
    drawn, same = (sample(TABLES, Splits(WRITTEN, WRITTEN), shots, 3) for shots in (8, "total:8"))
    assert drawn.train == same.train
    assert len(drawn.train) == 8
    assert all(row.right == (row.label, "or so") for row in drawn.train)
    assert len(drawn.unlabeled) == 32
    assert not any(row.right for row in drawn.unlabeled)


def test_fewer_inputs_of_a_seed_are_among_more_and_another_seed_draws_others():
    few, more, other = (
        sample(TABLES, Splits(WRITTEN, []), shots, seed).train for shots, seed in ((5, 0), (10, 0), (5, 1))
    )
    assert few == more[:5]
    assert few != other


def test_all_inputs_are_all_and_no_shots_are_none():
    assert sample(TABLES, Splits(WRITTEN, []), "all", 0).train == WRITTEN
    assert sample(TABLES, Splits(WRITTEN, []), 0, 0).train == []


def test_too_few_inputs_say_how_many_there_are():
    with pytest.raises(DataError, match="total:50 shots, but there are 40 rows"):
        sample(TABLES, Splits(WRITTEN, []), 50, 0)


def test_a_limit_of_texts_keeps_the_parts_in_their_proportion_whatever_the_texts_say():
    kept = sample(TABLES, Splits(WRITTEN, WRITTEN), 4, 0, limit=12).test
    assert Counter(row.part for row in kept) == {"seen": 9, "unseen": 3}
    renamed = [Example(row.fields, f"a{99 - i}", part=row.part) for i, row in enumerate(WRITTEN)]
    assert numbers(sample(TABLES, Splits(WRITTEN, renamed), 4, 1, limit=12).test) == numbers(kept)


def test_a_limit_of_texts_without_parts_is_a_draw_of_all():
    bare = [Example(row.fields, row.label) for row in WRITTEN]
    kept = numbers(sample(TABLES, Splits(bare, bare), 4, 0, limit=7).test)
    assert len(kept) == 7
    assert kept != list(range(7))


def test_the_fingerprint_changes_with_references_and_parts():
    row = Example({"text": "a"}, "x")
    prints = {fingerprint([one]) for one in (row, Example({"text": "a"}, "x", answers=("x", "y")))}
    prints |= {fingerprint([Example({"text": "a"}, "x", part="seen")])}
    assert len(prints) == 3

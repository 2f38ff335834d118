from collections import Counter

import numpy as np
import pytest

from promptlab.errors import SettingError
from promptlab.language.example import Example
from promptlab.methods.demonstrations import asked_for, by_turns, drawn, paged
from promptlab.methods.nearest import nearest, vectors

LABELS = ("bad", "good", "odd")
ROWS = [Example({"text": f"text {i}"}, LABELS[i % 3]) for i in range(30)]


def labels(chosen):
    return [ROWS[row].label for row in chosen]


def test_so_many_of_each_class_are_drawn_the_classes_by_turns():
    chosen = drawn(ROWS, 4, "0/0", LABELS)
    assert len(set(chosen)) == 12
    assert Counter(labels(chosen)) == dict.fromkeys(LABELS, 4)
    for turn in range(4):
        assert set(labels(chosen[3 * turn : 3 * turn + 3])) == set(LABELS)


@pytest.mark.parametrize("number", range(1, 10))
def test_a_total_is_as_balanced_as_can_be(number):
    counts = Counter(labels(drawn(ROWS, f"total:{number}", "5/0", LABELS)))
    assert sum(counts.values()) == number
    assert max(counts.values()) - min(counts[label] for label in LABELS) <= 1


def test_which_class_a_single_demonstration_has_is_the_seeds_choice():
    found = Counter(labels(drawn(ROWS, "total:1", f"{seed}/0", LABELS))[0] for seed in range(300))
    assert all(60 < found[label] < 140 for label in LABELS)


def test_the_same_key_draws_the_same_rows_whatever_was_drawn_before():
    first = drawn(ROWS, 4, "7/1", LABELS)
    drawn(ROWS, 4, "8/1", LABELS)
    assert drawn(ROWS, 4, "7/1", LABELS) == first
    assert first != drawn(ROWS, 4, "7/2", LABELS)


def test_these_rows_are_drawn_on_every_machine():
    assert drawn(ROWS, 2, "0/0", LABELS) == PINNED


def test_fewer_demonstrations_are_the_first_of_more():
    assert drawn(ROWS, "total:5", "0/0", LABELS) == drawn(ROWS, "total:9", "0/0", LABELS)[:5]


def test_all_shows_every_row_and_a_class_with_few_rows_what_it_has():
    assert sorted(drawn(ROWS, "all", "0/0", LABELS)) == list(range(30))
    assert Counter(labels(drawn(ROWS[:4], 2, "0/0", LABELS))) == {"bad": 2, "good": 1, "odd": 1}


def test_rows_without_classes_are_drawn_of_all():
    assert len(drawn(ROWS, 4, "0/0")) == 4


@pytest.mark.parametrize(("shots", "number"), [(4, 12), ("total:1", 1), ("all", 30)])
def test_how_many_are_asked_for_is_told(shots, number):
    assert asked_for(shots, 30, 3) == number


@pytest.mark.parametrize("shots", [0, "0", "total:0"])
def test_no_demonstrations_are_another_method(shots):
    with pytest.raises(SettingError, match="Write 1 or more, or the method zero-shot"):
        drawn(ROWS, shots, "0/0", LABELS)


@pytest.mark.parametrize("shots", ["few", "-1", "total:x"])
def test_a_number_that_cannot_be_read_is_refused(shots):
    with pytest.raises(SettingError, match="cannot be read"):
        drawn(ROWS, shots, "0/0", LABELS)


def test_the_order_on_the_page_is_the_keys_and_no_class_is_always_last():
    assert paged(8, "3/0") == paged(8, "3/0")
    assert sorted(paged(8, "3/0")) == list(range(8))
    last = Counter(paged(6, f"{seed}/0")[-1] % 3 for seed in range(300))
    assert all(60 < last[turn] < 140 for turn in range(3))


def test_turns_pass_over_a_class_that_has_no_more():
    assert by_turns([0, 3, 6, 1], ROWS, None, False, ("good", "bad")) == [1, 0, 3, 6]


PINNED = [8, 9, 13, 23, 18, 10]


# nearest


def test_the_nearest_are_those_of_a_plain_loop():
    generator = np.random.default_rng(0)
    known, asked = generator.normal(size=(30, 5)), generator.normal(size=(4, 5))
    known, asked = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (known, asked))
    for query, found in zip(asked, nearest(asked, known, ROWS, 2, LABELS), strict=True):
        by_cosine = sorted(range(30), key=lambda row: -float(query @ known[row]))
        expected = [row for label in LABELS for row in [r for r in by_cosine if ROWS[r].label == label][:2]]
        assert set(found) == set(expected)
        assert found == sorted(found, key=by_cosine.index)
    for query, found in zip(asked, nearest(asked, known, ROWS, "total:7", LABELS), strict=True):
        assert found == sorted(range(30), key=lambda row: -float(query @ known[row]))[:7]


def test_vectors_are_the_mean_of_the_last_hidden_states_of_real_tokens(each):
    import torch

    from promptlab.backbone.encode import Encoder

    rows = [Example({"text": text}) for text in ("a lovely film", "dull", "slow and very boring story")]
    found = vectors(Encoder(each), rows, ["text"])
    for row, vector in zip(rows, found, strict=True):
        with torch.inference_mode():
            inputs = each.tokenizer(row.fields["text"], return_tensors="pt")
            plain = each.body(**inputs).last_hidden_state[0].mean(0).double().numpy()
        np.testing.assert_allclose(vector, plain / np.linalg.norm(plain), atol=1e-5)


def test_a_text_is_nearest_to_itself(tiny_bert, reviews):
    from promptlab.backbone.encode import Encoder

    known = vectors(Encoder(tiny_bert), reviews[:10], ["text"])
    assert [one[0] for one in nearest(known, known, reviews[:10], "total:1", ())] == list(range(10))

from random import Random

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from promptlab.backbone.truncation import Column, fit, shares
from promptlab.errors import DataError
from promptlab.language.grammar import Field


def one_at_a_time(lengths, budget):
    """The slow way: while too long, the longest loses a token; of equals, the one that was shorter, then the first."""
    kept = list(lengths)
    while sum(kept) > budget:
        kept[max(range(len(kept)), key=lambda i: (kept[i], -lengths[i], -i))] -= 1
    return kept


def column(*lengths, keep=False, field=True):
    return Column([tuple(range(length)) for length in lengths], field=Field("text", keep=keep) if field else None)


def complain(row, fixed):
    return f"row {row + 1}: {fixed} tokens"


def test_shares_are_what_taking_one_token_at_a_time_from_the_longest_leaves():
    draw = Random(0)
    for _ in range(300):
        lengths = [draw.randint(0, 12) for _ in range(draw.randint(1, 4))]
        budget = draw.randint(0, sum(lengths))
        assert shares(lengths, budget) == one_at_a_time(lengths, budget), (lengths, budget)


def test_two_texts_are_cut_as_the_tokenizers_library_cuts_them():
    reader = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    reader.pre_tokenizer = pre_tokenizers.Whitespace()
    for first in range(8):
        for second in range(8):
            for budget in range(2, 14):
                reader.enable_truncation(budget, strategy="longest_first")
                ids = reader.encode("a " * first, "b " * second).ids
                if first + second > budget:
                    assert shares([first, second], budget) == [ids.count(0), ids.count(1)], (first, second, budget)


def test_a_row_that_fits_is_left_as_it_is():
    columns = [column(3, 5), column(4, 2)]
    assert fit(columns, 7, complain) == [False, False]
    assert [len(ids) for ids in columns[0].ids] == [3, 5]


def test_a_row_too_long_loses_the_end_of_its_longest_field():
    columns = [column(9), column(3)]
    assert fit(columns, 8, complain) == [True]
    assert columns[0].ids == [(0, 1, 2, 3, 4)]
    assert columns[1].ids == [(0, 1, 2)]


def test_only_the_rows_that_are_too_long_are_cut():
    columns = [column(9, 2, 7)]
    assert fit(columns, 6, complain) == [True, False, True]
    assert list(map(len, columns[0].ids)) == [6, 2, 6]


def test_text_of_the_pattern_and_kept_fields_are_never_cut():
    columns = [column(9), column(20, keep=True), column(30, field=False)]
    fit(columns, 52, complain)
    assert [len(each.ids[0]) for each in columns] == [2, 20, 30]


def test_a_row_whose_uncuttable_part_is_too_long_is_an_error_that_names_it():
    with pytest.raises(DataError, match="row 2: 30 tokens"):
        fit([column(1, 9), column(4, 30, keep=True)], 20, complain)


def test_a_row_of_which_no_token_would_be_read_is_an_error():
    with pytest.raises(DataError, match="row 1: 20 tokens"):
        fit([column(9), column(20, keep=True)], 20, complain)


def test_an_empty_field_asks_for_no_room():
    columns = [column(0), column(20, keep=True)]
    assert fit(columns, 20, complain) == [False]
    columns = [column(0), column(8), column(18, keep=True)]
    assert fit(columns, 20, complain) == [True]
    assert len(columns[1].ids[0]) == 2


def test_without_rows_there_is_nothing_to_cut():
    assert fit([column(), column(keep=True)], 5, complain) == []

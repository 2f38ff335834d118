import pytest

from promptlab.backbone.fragments import WORD
from promptlab.backbone.layout import at_mask, lay_out, until_mask
from promptlab.errors import BackboneError, PatternError
from promptlab.language.grammar import Field, Mask, Text, Token
from promptlab.language.pattern import Pattern


def pattern(source):
    return Pattern.parse("mine", source)


def laid(source, pairs=True):
    return lay_out(pattern(source).parts, pairs)


def test_a_border_parts_two_segments():
    assert laid("{a}? {sep} {mask}, {b}") == [
        [Field("a"), Text("?")],
        [Mask(), Text(","), Field("b", space=True)],
    ]


def test_where_pairs_are_unknown_a_border_is_a_newline():
    assert laid("{a}? {sep} {mask}", pairs=False) == [[Field("a"), Text("?\n"), Mask()]]


def test_soft_words_are_read_as_words_and_join_the_text_around_them():
    assert laid("{a} {soft:It was} just {mask}") == [[Field("a"), Text(" It was just"), Mask(space=True)]]


def test_soft_slots_without_words_are_left_out():
    assert laid("{a} {soft:5} so {mask}") == [[Field("a"), Text(" so"), Mask(space=True)]]


def test_tokens_by_name_stay_in_their_place():
    assert laid("{token:[unused0]} {mask}") == [[Token("[unused0]"), Mask(space=True)]]


def test_a_pattern_that_generates_is_refused():
    with pytest.raises(PatternError, match="generates"):
        laid("{a} {target}")


def test_a_causal_backbone_reads_up_to_the_mask():
    assert until_mask(pattern("{a} was {mask}, I think."), "gpt2")[-1] == Mask(space=True)


def test_a_field_after_the_mask_is_refused_where_it_would_not_be_read():
    with pytest.raises(BackboneError, match=r"'mine' has \{b\} after \{mask\}, and gpt2 is causal"):
        until_mask(pattern("{a} {mask} {b}"), "gpt2")


@pytest.mark.parametrize(
    ("source", "space", "before"),
    [
        ("{a} It was {mask}.", True, "s"),
        ("{a} ({mask})", False, "("),
        ("{mask}: {a}", False, ""),
        ("{a} {sep} {mask}.", False, ""),
        ("{a} {mask}", True, WORD),
        ("{a}{mask}", False, WORD),
        ("{a} {soft:So} {mask}", True, "o"),
    ],
)
def test_the_mask_knows_what_stands_before_it(source, space, before):
    assert at_mask(pattern(source), pairs=True) == (space, before)


def test_after_a_border_that_is_a_newline_the_mask_stands_after_a_newline():
    assert at_mask(pattern("{a} {sep} {mask}."), pairs=False) == (False, "\n")


def test_a_mask_that_is_not_there_cannot_be_found():
    with pytest.raises(PatternError, match="generates"):
        at_mask(pattern("{a} {target}"), pairs=True)

"""Words in a pattern's slots: what is read, what is shown, what is written back."""

import pytest

from promptlab.backbone.encode import Encoder
from promptlab.backbone.slots import filled, is_filled, reads_back, slots, slotted, started
from promptlab.language.example import Example
from promptlab.language.pattern import Pattern

ROW = Example({"text": "a dull film"})


def parse(source):
    return Pattern.parse("one", source)


def read(backbone, pattern, rows=(ROW,)):
    return Encoder(backbone).cloze(pattern, list(rows)).ids[0]


def tokens(backbone, *words):
    """Ids of words that follow a space."""
    marked = {"wordpiece": "", "byte": "Ġ", "piece": "▁"}
    kind = "byte" if "Ġthe" in backbone.tokenizer.get_vocab() else "piece"
    kind = kind if f"{marked[kind]}the" in backbone.tokenizer.get_vocab() else "wordpiece"
    return backbone.tokenizer.convert_tokens_to_ids([marked[kind] + word for word in words])


@pytest.mark.parametrize(
    "source", ["{text} {soft:It was} {mask}.", "{text} {soft:3}{mask}", "It {soft:2} {{so}} {mask}: {text}"]
)
def test_words_in_a_slot_are_read_as_the_written_pattern_is(each_masked, source):
    pattern = parse(source)
    there = filled(pattern, each_masked, [tokens(each_masked, "movie", "of", "true")])
    assert is_filled(there)
    assert read(each_masked, there) == read(each_masked, parse(there.source))
    assert reads_back(there, Encoder(each_masked), [ROW])
    assert all(token in read(each_masked, there) for token in tokens(each_masked, "movie", "of", "true"))


def test_what_is_shown_is_what_is_read(tiny_roberta):
    there = filled(parse("{text} {soft:It was} {mask}!"), tiny_roberta, [tokens(tiny_roberta, "movie", "of")])
    assert there.fill(ROW, mask="_") == "a dull film movie of _!"
    assert there.source == "{text} movie of {mask}!"


def test_a_pattern_without_a_slot_gets_one_in_front(each_masked):
    there = slotted(parse("{text} It was {mask}."), 2, each_masked)
    assert [slot.count for slot in slots(there, each_masked)] == [2]
    ids = tokens(each_masked, "movie", "of")
    assert read(each_masked, filled(there, each_masked, [ids]))[1:3] == ids  # after [CLS]
    assert slotted(there, 5, each_masked) is there


def test_on_decoders_the_front_is_before_the_text(tiny_llama, tiny_gpt2):
    for backbone, start in ((tiny_llama, 1), (tiny_gpt2, 0)):  # llama's <s> stays first
        there = slotted(parse("Just {text} and {mask}"), 2, backbone)
        ids = tokens(backbone, "movie", "of")
        assert read(backbone, filled(there, backbone, [ids]))[start : start + 2] == ids


@pytest.mark.parametrize(
    "source", ["Just {mask}! {sep} {text}", "{mask} {text}", "  It is {mask}: {text}", "{text}{mask}"]
)
def test_the_slot_in_front_is_what_its_text_says(tiny_bert, source):
    there = slotted(parse(source), 3, tiny_bert)
    assert there.parts == parse(there.source).parts


def test_without_a_search_slots_read_as_their_words_or_not_at_all(each_masked):
    assert read(each_masked, parse("{text} {soft:It was} {mask}.")) == read(each_masked, parse("{text} It was {mask}."))
    assert read(each_masked, parse("{text}{soft:5} {mask}.")) == read(each_masked, parse("{text} {mask}."))


def test_a_slot_after_the_mask_is_none_on_a_causal_backbone(tiny_gpt2, tiny_bert):
    pattern = parse("{text} so {mask} {soft:2}")
    assert len(slots(pattern, tiny_bert)) == 1
    assert slots(pattern, tiny_gpt2) == []
    assert slotted(pattern, 1, tiny_gpt2).source.startswith("{soft:1} ")


def test_a_slot_starts_from_the_ids_of_its_words_where_they_stand(each_masked):
    pattern = parse("{text} {soft:It was} so {soft:4} {mask}.")
    own = started(pattern, Encoder(each_masked))
    assert own[1] is None
    there = filled(pattern, each_masked, [own[0], tokens(each_masked, "of", "the", "the", "of")])
    written = parse("{text} It was so of the the of {mask}.")
    assert read(each_masked, there) == read(each_masked, written)


def test_filled_slots_count_in_the_length_and_are_never_cut(tiny_bert):
    pattern = filled(parse("{text} {soft:9} {mask}"), tiny_bert, [tokens(tiny_bert, *["movie"] * 9)])
    encoded = Encoder(tiny_bert).cloze(pattern, [Example({"text": "dull " * 50})], max_length=20)
    assert len(encoded.ids[0]) == 20
    assert encoded.ids[0].count(tokens(tiny_bert, "movie")[0]) == 9
    assert encoded.cut == [True]


def test_words_that_no_text_gives_back_are_told(tiny_bert):
    loose = tiny_bert.tokenizer.convert_tokens_to_ids(["##s", "of"])  # after a space no text is read as ##s
    assert not reads_back(filled(parse("{text} {soft:2} {mask}"), tiny_bert, [loose]), Encoder(tiny_bert), [ROW])

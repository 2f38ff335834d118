"""Rows with room for soft tokens: where marks stand, what they cost, and who reads them."""

import pytest
import torch

from promptlab.backbone.batches import pad
from promptlab.backbone.encode import Encoder
from promptlab.backbone.heads import pool
from promptlab.backbone.packing import pack
from promptlab.backbone.soft import SoftEncoder, decoded
from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.pattern import Pattern
from promptlab.tuning.soft import Soft

ROW, LONG = Example({"text": "a dull film"}), Example({"text": "dull " * 300})
MARKS = [-1, -2, -3]


def parse(source):
    return Pattern.parse("one", source)


def both(backbone, place="text"):
    plain = Encoder(backbone)
    return plain, SoftEncoder(plain, 3, place)


def test_without_a_slot_marks_stand_before_the_text_and_nothing_else_changes(each):
    pattern = parse("{text} It was {mask}")
    plain, soft = both(each)
    start = len(plain.specials.single.runs[0])
    for one, other in (
        (plain.cloze(pattern, [ROW]), soft.cloze(pattern, [ROW])),
        (plain.plain([ROW], ["text"]), soft.plain([ROW], ["text"])),
    ):
        assert other.ids[0] == [*one.ids[0][:start], *MARKS, *one.ids[0][start:]]
        assert other.slots[0] == [slot + 3 for slot in one.slots[0]]
        if one.segments:
            assert len(other.segments[0]) == len(other.ids[0])
            assert set(other.segments[0]) == {0}


def test_in_front_they_stand_before_the_first_special_token(each):
    plain, soft = both(each, "front")
    assert soft.plain([ROW], ["text"]).ids[0] == [*MARKS, *plain.plain([ROW], ["text"]).ids[0]]


def test_a_pair_has_them_in_its_first_segment(tiny_bert):
    pair = Example({"a": "a film", "b": "a plot"})
    encoded = both(tiny_bert)[1].plain([pair], ["a", "b"])
    assert encoded.ids[0][1:4] == MARKS
    assert encoded.segments[0].count(1) == 3


def test_slots_have_marks_in_their_place_and_none_stand_in_front(each):
    pattern = parse("{text} {soft:It was} so {soft:2} {mask}")
    plain, soft = both(each)
    written = plain.cloze(parse("{text} It was so the the {mask}"), [ROW])
    found = soft.cloze(pattern, [ROW])
    assert len(found.ids[0]) == len(written.ids[0])
    assert [one for one in found.ids[0] if one < 0] == [-1, -2, -3, -4]
    assert found.slots == written.slots
    same = [a == b for a, b in zip(found.ids[0], written.ids[0], strict=True)]
    assert same == [token >= 0 for token in found.ids[0]]


def test_a_slot_after_the_mask_is_none_on_a_decoder(tiny_gpt2):
    found = both(tiny_gpt2)[1].cloze(parse("{text} {soft:2} {mask} {soft:4}"), [ROW])
    assert sorted(found.ids[0])[:2] == [-2, -1]
    assert min(both(tiny_gpt2)[1].cloze(parse("{text} {mask} {soft:4}"), [ROW]).ids[0]) == -3


def test_soft_tokens_count_in_the_length_and_are_never_cut(each):
    _, soft = both(each)
    for encoded in (soft.cloze(parse("{text} {soft:5} {mask}"), [LONG], 2), soft.plain([LONG], ["text"])):
        assert encoded.cut == [True]
        masks = 2 if each.kind == "causal" and encoded.slots[0] else 0
        assert len(encoded.ids[0]) == each.max_length - masks
    assert sum(token < 0 for token in soft.cloze(parse("{text} {soft:5} {mask}"), [LONG]).ids[0]) == 5
    with pytest.raises(DataError, match="with its 200 soft tokens"):
        soft.cloze(parse("{text} {soft:200} {mask}"), [LONG])


def test_positions_are_those_of_ordinary_tokens(tiny_roberta):
    _, soft = both(tiny_roberta)
    rows = soft.plain([ROW, LONG], ["text"])
    batch = pad(rows, range(2), tiny_roberta)
    embed = tiny_roberta.body.embeddings
    words = batch.inputs["input_ids"].where(batch.inputs["input_ids"] >= 0, torch.tensor(20))
    found, wanted = (
        embed.create_position_ids_from_input_ids(ids, embed.padding_idx) for ids in (batch.inputs["input_ids"], words)
    )
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("place", ["text", "front"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_no_head_reads_a_soft_token(tiny, family, place):
    backbone = tiny(family)
    plain, soft = both(backbone, place)
    rows = [ROW, Example({"text": "a boring film and a bad ending"})]
    for batch in (pad(soft.plain(rows, ["text"]), range(2), backbone), pack(soft.plain(rows, ["text"]), 1, backbone)):
        ids = batch.unpacked(batch.inputs["input_ids"][..., None]).double()
        own = [torch.tensor(one).double() for one in plain.plain(rows, ["text"]).ids]
        for how, wanted in (("cls", lambda x: x[0]), ("last", lambda x: x[-1]), ("mean", lambda x: x.mean())):
            found = pool(ids, batch.readable, how)[:, 0]
            torch.testing.assert_close(found, torch.stack([wanted(one) for one in own]))


def test_an_empty_text_still_has_a_token_for_a_head_to_read(tiny_gpt2, tiny_llama):
    for backbone in (tiny_gpt2, tiny_llama):
        found = both(backbone)[1].plain([Example({"text": ""})], ["text"]).ids[0]
        assert [one for one in found if one < 0] == MARKS
        assert max(found) >= 0


def test_reading_twice_is_reading_once_and_texts_are_tokenised_once(tiny_bert):
    plain, tuning = Encoder(tiny_bert), Soft(n=3)
    once = tuning.reading(plain)
    assert tuning.reading(once) is once
    assert Soft(n=4).reading(once).n == 4
    assert once.fragments is plain.fragments


def test_a_row_as_text_names_its_marks(tiny_bert):
    plain, soft = both(tiny_bert)
    assert decoded(tiny_bert.tokenizer, soft.plain([ROW], ["text"]).ids[0]) == "[CLS] [soft 1-3] a dull film [SEP]"
    row = plain.plain([ROW], ["text"]).ids[0]
    assert decoded(tiny_bert.tokenizer, row) == tiny_bert.tokenizer.decode(row)


def test_what_is_cut_is_told_as_ever(tiny_bert):
    (found,) = both(tiny_bert)[1].cuts(parse("{text} It was {mask}"), [LONG])
    assert found[0]["field"] == "text" and found[0]["until"].startswith("dull")

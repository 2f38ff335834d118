"""Rows that go on with a text: against the tokenizer on the whole text, and the model on one row at a time."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from promptlab.backbone.batches import pad
from promptlab.backbone.encode import Encoder
from promptlab.backbone.layout import after_gap
from promptlab.backbone.pairs import end_ids, pairs, sources, targets
from promptlab.backbone.score import slot_logits
from promptlab.backbone.soft import SoftEncoder
from promptlab.errors import BackboneError, DataError, PatternError
from promptlab.language.example import Example
from promptlab.language.pattern import Pattern

WRITERS = ["gpt2", "llama", "t5", "bart"]
CAUSAL = WRITERS[:2]
ROWS = [Example({"a": "a great film"}), Example({"a": "the actors are very slow, all in all"}), Example({"a": "music"})]
TEXTS = ["it was good", "his actors, her poor film: it was the worst, so no.", "lovely music."]
CLOSE = {"rtol": 0, "atol": 1e-10}


def pattern(source="the story: {a}. so: {target}"):
    return Pattern.parse("mine", source)


@pytest.fixture(params=WRITERS)
def writer(request, tiny):
    return tiny(request.param)


def plain_logits(backbone, made, row):
    """What the model says of one row alone, at the places whose next token is the text's."""
    ids = torch.tensor([made.encoded.ids[row]])
    if backbone.kind == "seq2seq":
        found = backbone.model(input_ids=ids, decoder_input_ids=torch.tensor([made.encoded.replies[row]]))
    else:
        found = backbone.model(input_ids=ids)
    return found.logits[0, -len(made.targets[row]) :]


# ---------------------------------------------------------------- ids


@pytest.mark.parametrize("family", CAUSAL)
@pytest.mark.parametrize("source", ["the story: {a}. so: {target}", "{a}\n{target}", "{a} is ({target})"])
def test_a_causal_row_and_its_text_have_the_ids_of_the_whole_tokenised_as_one(tiny, family, source):
    backbone = tiny(family)
    made = pairs(Encoder(backbone), pattern(source), ROWS, TEXTS)
    for row, (example, text) in enumerate(zip(ROWS, TEXTS, strict=True)):
        whole = source.replace("{a}", example.fields["a"]).partition("{target}")[0] + text
        assert made.encoded.ids[row] + made.targets[row][-1:] == [
            *backbone.tokenizer(whole)["input_ids"], backbone.tokenizer.eos_token_id
        ]  # fmt: skip


@pytest.mark.parametrize(("family", "begun"), [("t5", ["<pad>"]), ("bart", ["</s>", "<s>"])])
def test_an_encoder_reads_the_row_and_a_decoder_the_text_as_the_tokenizer_has_them(tiny, family, begun):
    backbone = tiny(family)
    tokenizer, made = backbone.tokenizer, pairs(Encoder(backbone), pattern(), ROWS, TEXTS)
    for row, (example, text) in enumerate(zip(ROWS, TEXTS, strict=True)):
        assert made.encoded.ids[row] == tokenizer(f"the story: {example.fields['a']}. so:")["input_ids"]
        own = tokenizer(text)["input_ids"]
        assert made.targets[row] == own[len(begun) - 1 :]
        assert tokenizer.convert_ids_to_tokens(made.encoded.replies[row][: len(begun)]) == begun
        assert made.encoded.replies[row][len(begun) :] == made.targets[row][:-1]


def test_slots_are_the_places_whose_next_token_is_the_texts_or_the_end(writer):
    made = pairs(Encoder(writer), pattern(), ROWS, TEXTS)
    for row, said in enumerate(made.targets):
        read = (made.encoded.replies or made.encoded.ids)[row]
        assert [read[slot + 1] for slot in made.encoded.slots[row][:-1]] == said[:-1]
        assert made.encoded.slots[row][-1] == len(read) - 1
        assert said[-1] == writer.tokenizer.eos_token_id


def test_a_source_is_the_row_without_its_text(writer):
    made, before = pairs(Encoder(writer), pattern(), ROWS, TEXTS), sources(Encoder(writer), pattern(), ROWS)
    for row, said in enumerate(made.targets):
        whole, begun = (one.replies or one.ids for one in (made.encoded, before))
        assert whole[row] == begun[row] + said[:-1]
        assert before.slots[row] == [len(begun[row]) - 1] == made.encoded.slots[row][:1]


def test_a_text_cannot_spell_a_special_token(writer):
    names = "".join(writer.tokenizer.all_special_tokens)
    (said,) = targets(writer, pattern(), [f"it was {names} good{names}"])
    unknown = {writer.tokenizer.unk_token_id} if writer.config.model_type in ("t5", "llama") else set()
    assert set(writer.tokenizer.all_special_ids).intersection(said[:-1]) <= unknown
    assert said[-1] == end_ids(writer)[0]


def test_white_space_around_a_text_is_left_out_and_the_patterns_space_belongs_to_it(tiny_gpt2):
    assert targets(tiny_gpt2, pattern(), [" it was good\n"]) == targets(tiny_gpt2, pattern(), ["it was good"])
    spaced, bare = (targets(tiny_gpt2, pattern("{a}: " * space + "{a}:{target}"), ["good"]) for space in (0, 0))
    assert spaced == bare
    first = tiny_gpt2.tokenizer.convert_ids_to_tokens([targets(tiny_gpt2, pattern(), ["good"], space)[0][0]
                                                       for space in (None, True, False)])  # fmt: skip
    assert first == ["Ġgood", "Ġgood", "good"]


def test_soft_tokens_stand_in_the_row_and_never_in_the_text(writer):
    made = pairs(SoftEncoder(Encoder(writer), 3, "text"), pattern(), ROWS, TEXTS)
    plain = pairs(Encoder(writer), pattern(), ROWS, TEXTS)
    for row, ids in enumerate(made.encoded.ids):
        assert [token for token in ids if token < 0] == [-1, -2, -3]
        assert [token for token in ids if token >= 0] == plain.encoded.ids[row]
    assert made.encoded.replies == plain.encoded.replies
    assert made.targets == plain.targets


def test_rows_are_chosen_with_their_texts(writer):
    made = pairs(Encoder(writer), pattern(), ROWS, TEXTS)
    some = made.take([2, 0, 2])
    assert some.targets == [made.targets[row] for row in (2, 0, 2)]
    assert some.encoded.slots == [made.encoded.slots[row] for row in (2, 0, 2)]
    assert some.lengths == [made.lengths[row] for row in (2, 0, 2)]
    decoder = [len(one) for one in made.encoded.replies] if made.encoded.replies else [0] * 3
    assert made.lengths == [len(ids) + more for ids, more in zip(made.encoded.ids, decoder, strict=True)]


# ---------------------------------------------------------------- what the model says


@pytest.mark.parametrize("family", WRITERS)
def test_logits_at_the_slots_are_the_plain_models_whatever_is_padded_beside(float64, family):
    backbone = float64(family)
    made = pairs(Encoder(backbone), pattern(), ROWS, TEXTS)
    with torch.no_grad():
        found = slot_logits(backbone, pad(made.encoded, range(3), backbone))
        for row, said in enumerate(made.targets):
            wanted = plain_logits(backbone, made, row)
            near = CLOSE if family != "llama" else {"rtol": 0, "atol": 1e-5}  # rotates in single precision
            torch.testing.assert_close(found[row, : len(said)], wanted, **near)


@pytest.mark.parametrize("family", WRITERS)
def test_the_loss_is_a_plain_loops_and_the_models_own(float64, family):
    backbone = float64(family)
    made = pairs(Encoder(backbone), pattern(), ROWS[:1], TEXTS[:1])
    said = torch.tensor(made.targets)
    with torch.no_grad():
        logits = slot_logits(backbone, pad(made.encoded, [0], backbone))
        found = cross_entropy(logits[0], said[0])
        loop = -sum(plain_logits(backbone, made, 0).log_softmax(-1)[i, token] for i, token in enumerate(said[0]))
        torch.testing.assert_close(found, loop / len(said[0]), **CLOSE)
        ids = torch.tensor(made.encoded.ids)
        if family == "t5":
            own = backbone.model(input_ids=ids, labels=said)
        elif family == "bart":  # its own beginning is read, not learnt
            labels = torch.cat([torch.tensor([[-100]]), said], 1)
            own = backbone.model(input_ids=ids, labels=labels, decoder_input_ids=torch.tensor(made.encoded.replies))
        else:
            whole, learnt = torch.cat([ids, said[:, -1:]], 1), len(said[0])
            labels = torch.cat([torch.full_like(whole, -100)[:, :-learnt], said], 1)
            own = backbone.model(input_ids=whole, labels=labels)
        near = CLOSE if backbone.kind == "seq2seq" else {"rtol": 0, "atol": 1e-5}  # causal models sum theirs in float32
        torch.testing.assert_close(found, own.loss.double(), **near)


# ---------------------------------------------------------------- room, and what is refused


def test_room_is_kept_free_behind_a_causal_row_and_a_field_is_cut_for_it(tiny_gpt2):
    long = [Example({"a": "good " * 200})]
    short = sources(Encoder(tiny_gpt2), pattern(), long, room=20)
    assert (short.lengths, short.cut) == ([tiny_gpt2.max_length - 20], [True])
    made = pairs(Encoder(tiny_gpt2), pattern(), long, TEXTS[1:2])
    assert made.encoded.lengths == [tiny_gpt2.max_length - 1]  # the end token is never read
    assert made.encoded.cut == [True]


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_encoder_decoder_has_places_of_its_own_for_the_text(tiny, family):
    backbone, long = tiny(family), [Example({"a": "good " * 200})]
    made = pairs(Encoder(backbone), pattern(), long, TEXTS[1:2])
    assert made.encoded.lengths == [backbone.max_length]
    assert pairs(Encoder(backbone), pattern(), ROWS[:1], TEXTS[:1], max_length=128).encoded.cut == [False]


def test_a_source_that_may_not_be_cut_is_an_error_that_names_its_row(writer):
    rows = [ROWS[0], Example({"a": "good " * 200})]
    with pytest.raises(DataError, match=r"^row 2: pattern 'mine' takes \d+ tokens .*Shorten"):
        pairs(Encoder(writer), pattern("{a:keep} so: {target}"), rows, TEXTS[:2])


def test_a_text_that_is_empty_or_too_long_is_an_error_that_names_its_row(writer):
    with pytest.raises(DataError, match=r"^row 2: the text to be written is empty\. Write one"):
        pairs(Encoder(writer), pattern(), ROWS[:2], ["good", " \n"])
    with pytest.raises(DataError, match=r"^row 1: the text to be written is \d+ tokens long, and .* has room for 12"):
        pairs(Encoder(writer), pattern(), ROWS[:1], ["good " * 200])


def test_a_masked_backbone_writes_no_text(tiny_bert):
    with pytest.raises(BackboneError, match="fills in masks and writes no text. Write a causal model"):
        sources(Encoder(tiny_bert), pattern(), ROWS)


def test_a_pattern_with_a_mask_has_no_text_and_one_with_a_target_no_label_word(writer):
    with pytest.raises(PatternError, match="asks for a label word and not for a text"):
        sources(Encoder(writer), pattern("{a} {mask}"), ROWS)
    with pytest.raises(PatternError, match=r"generates text, so no label word answers it. Write \{mask\}"):
        Encoder(writer).cloze(pattern(), ROWS)


def test_only_an_encoder_reads_what_stands_behind_the_text(tiny_gpt2, tiny_t5):
    with pytest.raises(BackboneError, match=r"has \{a\} after \{target\}, and .* is causal"):
        sources(Encoder(tiny_gpt2), pattern("so: {target} ({a})"), ROWS)
    said = tiny_t5.tokenizer.decode(sources(Encoder(tiny_t5), pattern("so: {target} is {a}"), ROWS[:1]).ids[0])
    assert said == "so: is a great film</s>"
    ended = pattern("{a} so: {target} end.")
    assert (
        sources(Encoder(tiny_gpt2), ended, ROWS).ids
        == sources(Encoder(tiny_gpt2), pattern("{a} so: {target}"), ROWS).ids
    )
    assert after_gap(ended) == "end."


def test_a_chat_models_own_end_ends_a_text_too(fresh):
    backbone = fresh("llama")
    backbone.model.generation_config.eos_token_id = [7, 2]
    assert end_ids(backbone) == (2, 7)  # what closes a text first
    backbone.tokenizer.eos_token, backbone.model.generation_config.eos_token_id = None, None
    backbone.config.eos_token_id = None
    with pytest.raises(BackboneError, match="has no token that ends a text. Write eos_token"):
        end_ids(backbone)


def test_a_decoder_that_nothing_starts_is_refused(fresh):
    backbone = fresh("t5")
    backbone.config.decoder_start_token_id = backbone.model.generation_config.decoder_start_token_id = None
    with pytest.raises(BackboneError, match="no token that starts the decoder. Write decoder_start_token_id"):
        sources(Encoder(backbone), pattern(), ROWS)

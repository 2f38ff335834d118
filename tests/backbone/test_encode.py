from types import SimpleNamespace

import pytest

from promptlab.backbone.encode import Encoded, Encoder
from promptlab.errors import BackboneError, DataError, PatternError
from promptlab.language.example import Example
from promptlab.language.pattern import Pattern

FILMS = [Example({"text": "A great film"}), Example({"text": "boring, walking zebras!"}), Example({"text": "fine"})]
PAIRS = [
    Example({"a": "It was a film", "b": "a great story"}),
    Example({"a": "no", "b": "the world of sports and news"}),
]


def pattern(source, name="mine"):
    return Pattern.parse(name, source)


def tokens(backbone, ids):
    return backbone.tokenizer.convert_ids_to_tokens(list(ids))


def cloze(backbone, source, examples, **options):
    return Encoder(backbone).cloze(pattern(source), examples, **options)


def rows(backbone, encoded):
    return [" ".join(tokens(backbone, ids)) for ids in encoded.ids]


def test_every_family_as_transformers_builds_it_can_be_asked(each):
    for source in ["{text} It was {mask}.", "{text} {sep} All in all, it was {mask}."]:
        encoded = cloze(each, source, FILMS)
        answers = [[ids[slot] for slot in slots] for ids, slots in zip(encoded.ids, encoded.slots, strict=True)]
        if each.kind == "masked":
            assert answers == [[each.tokenizer.mask_token_id]] * 3
        else:
            assert encoded.slots == [[length - 1] for length in encoded.lengths]


# ---------------------------------------------------------------- spaces and segments


def test_a_space_before_the_mask_leaves_no_token_of_its_own(masked_text):
    with_space, without = cloze(masked_text, "was {mask}.", FILMS), cloze(masked_text, "was{mask}.", FILMS)
    assert with_space.ids == without.ids


def test_roberta_reads_a_field_after_a_space_with_the_space(texted):
    assert rows(texted("byte-bpe"), cloze(texted("byte-bpe"), "{mask} {text}", FILMS[2:])) == [
        "<s> <mask> Ġf in e </s>"
    ]
    assert rows(texted("byte-bpe"), cloze(texted("byte-bpe"), "{mask}{text}", FILMS[2:])) == ["<s> <mask> f in e </s>"]


def test_sentencepiece_puts_no_space_between_the_mask_and_a_sign(texted):
    assert rows(texted("unigram"), cloze(texted("unigram"), "was {mask}.", FILMS[:1])) == ["<s> ▁was <mask> . </s>"]


def test_bert_numbers_the_tokens_of_two_segments(texted):
    encoded = cloze(texted("wordpiece"), "{a}? {sep} {mask}, {b}", PAIRS[:1])
    assert rows(texted("wordpiece"), encoded) == ["[CLS] it was a film ? [SEP] [MASK] , a great story [SEP]"]
    assert encoded.segments == [[0] * 7 + [1] * 6]
    assert encoded.slots == [[7]]


def test_bert_numbers_a_single_segment_with_zeros(texted):
    encoded = cloze(texted("wordpiece"), "{text} {mask}", FILMS)
    assert encoded.segments == [[0] * length for length in encoded.lengths]


@pytest.mark.parametrize("name", ["byte-bpe", "unigram"])
def test_roberta_parts_two_segments_by_two_separators_and_numbers_nothing(texted, name):
    encoded = cloze(texted(name), "It {sep} was {mask}", FILMS[:1])
    assert [token.strip("▁Ġ") for token in tokens(texted(name), encoded.ids[0])] == [
        *("<s>", "It", "</s>", "</s>", "was", "<mask>", "</s>")
    ]
    assert encoded.segments is None


def test_a_token_by_name_stands_as_itself(texted):
    encoded = cloze(texted("wordpiece"), "{token:[unused0]} {text} {mask}", FILMS[:1])
    assert rows(texted("wordpiece"), encoded) == ["[CLS] [unused0] a great film [MASK] [SEP]"]


def test_a_token_that_the_backbone_does_not_have_is_an_error(any_text):
    with pytest.raises(BackboneError, match=rf"{any_text.name} has no token '\[unused77\]'"):
        cloze(any_text, "{token:[unused77]} {text} {mask}", FILMS)


def test_the_mask_grows_to_the_longest_label_word(masked_text):
    encoded = cloze(masked_text, "{text} was {mask}.", FILMS, pieces=3)
    for ids, slots in zip(encoded.ids, encoded.slots, strict=True):
        assert slots == list(range(slots[0], slots[0] + 3))
        assert [token == masked_text.tokenizer.mask_token_id for token in ids] == [i in slots for i in range(len(ids))]


def test_a_pattern_that_generates_is_refused(any_text):
    with pytest.raises(PatternError, match="generates"):
        cloze(any_text, "{text} {target}", FILMS)


def test_a_masked_backbone_without_a_mask_token_is_refused(texted):
    backbone = SimpleNamespace(**{**vars(texted("gpt2")), "kind": "masked"})
    with pytest.raises(BackboneError, match="no mask token"):
        cloze(backbone, "{text} {mask}", FILMS)


# ---------------------------------------------------------------- causal backbones


def test_a_causal_backbone_reads_the_text_before_the_mask_and_answers_at_its_end(texted):
    encoded = cloze(texted("gpt2"), "{text}. It was {mask}, I think.", FILMS[2:])
    assert rows(texted("gpt2"), encoded) == ["f in e . ĠIt Ġwas"]  # the space belongs to the word
    assert encoded.slots == [[5]]


def test_a_border_is_a_newline_to_a_causal_backbone(causal_text):
    read = causal_text.tokenizer.decode(cloze(causal_text, "{text}? {sep} It was {mask}", FILMS[:1]).ids[0])
    assert read.replace("<s>", "").strip() == "A great film?\nIt was"


def test_llama_begins_with_its_own_token_and_ends_with_none(texted):
    assert rows(texted("metaspace-bpe"), cloze(texted("metaspace-bpe"), "was {mask}.", FILMS[:1])) == ["<s> ▁was"]


def test_a_causal_backbone_refuses_a_field_after_the_mask(causal_text):
    with pytest.raises(BackboneError, match=r"has \{text\} after \{mask\}"):
        cloze(causal_text, "{mask} {text}", FILMS)


def test_nothing_before_the_mask_is_read_as_the_beginning_of_a_text(causal_text):
    encoded = cloze(causal_text, "{text} {mask}", [Example({"text": ""})])
    assert encoded.ids == [[causal_text.tokenizer.bos_token_id]]
    assert encoded.slots == [[0]]


def test_nothing_before_the_mask_is_an_error_where_no_token_begins_a_text(texted):
    backbone = SimpleNamespace(**vars(texted("gpt2")))
    encoder = Encoder(backbone)
    encoder.specials = SimpleNamespace(**{**vars(encoder.specials), "start": None, "frame": encoder.specials.frame})
    with pytest.raises(DataError, match=r"row 2: nothing of pattern 'mine' is left"):
        encoder.cloze(pattern("{text} {mask}"), [FILMS[0], Example({"text": ""})])


# ---------------------------------------------------------------- forging, odd and empty texts


@pytest.mark.parametrize(
    "text", ["fine [MASK]", "<mask> fine <mask>", "[SEP] </s> fine", "<|endoftext|><s>fine", "＜mask＞ fine"]
)
def test_a_text_cannot_forge_a_token_of_the_model(any_text, text):
    forged, plain = Example({"text": text}), Example({"text": "fine"})
    encoded = cloze(any_text, "{text} It was {mask}.", [forged, plain])
    special = set(any_text.tokenizer.all_special_ids) - {any_text.tokenizer.unk_token_id} | {
        any_text.tokenizer.eos_token_id
    }
    counts = [sum(token in special for token in ids) for ids in encoded.ids]
    assert counts[0] == counts[1]
    assert len(encoded.ids[0]) > len(encoded.ids[1])  # the words are still read, as words


def test_a_spelt_special_token_does_not_move_the_mask(masked_text):
    encoded = cloze(masked_text, "{text} It was {mask}.", [Example({"text": "<mask> [MASK] fine"})])
    assert encoded.ids[0].index(masked_text.tokenizer.mask_token_id) == encoded.slots[0][0]


def test_bare_text_cannot_forge_a_token_of_the_model_either(masked_text):
    ids = Encoder(masked_text).plain([Example({"text": "<mask> [MASK] </s> fine"})], ["text"]).ids[0]
    assert masked_text.tokenizer.mask_token_id not in ids
    assert sum(token == masked_text.tokenizer.sep_token_id for token in ids) == 1


def test_an_empty_text_leaves_the_rest_of_the_pattern(any_text):
    empty, full = cloze(any_text, "{text} It was {mask}.", [Example({"text": ""}), FILMS[0]]).ids
    assert len(empty) < len(full)
    assert tokens(any_text, empty)[-2:] == tokens(any_text, full)[-2:]


def test_half_a_surrogate_pair_is_read_as_an_unknown_character(any_text):
    broken, marked = Example({"text": "fine \ud83d film"}), Example({"text": "fine \ufffd film"})
    ids = cloze(any_text, "{text} {mask}", [broken, marked]).ids
    assert ids[0] == ids[1]


def test_no_examples_give_no_rows(any_text):
    encoded = cloze(any_text, "{text} It was {mask}", [])
    assert (len(encoded), encoded.ids, encoded.slots, encoded.cut) == (0, [], [], [])


def test_a_row_without_the_field_is_named(any_text):
    with pytest.raises(DataError, match="row 2: an example has no field 'text'"):
        cloze(any_text, "{text} {mask}", [FILMS[0], Example({"txt": "fine"})])


# ---------------------------------------------------------------- length

LONG = "great film " * 40


def test_a_long_text_is_cut_from_its_end_and_the_row_says_so(masked_text):
    source = "{text} It was {mask}."
    long, short = cloze(masked_text, source, [Example({"text": LONG}), FILMS[0]]), cloze(masked_text, source, FILMS[:1])
    cut = cloze(masked_text, source, [Example({"text": LONG}), FILMS[0]], max_length=20)
    assert (long.cut, cut.cut) == ([False, False], [True, False])
    assert cut.ids[1] == short.ids[0]
    assert len(cut.ids[0]) == 20
    tail = len(long.ids[0]) - long.slots[0][0]  # the mask, the sign and the end are as before
    assert cut.ids[0][-tail:] == long.ids[0][-tail:]
    assert cut.ids[0][:5] == long.ids[0][:5]
    assert cut.slots[0] == [20 - tail]


def test_the_longest_field_is_cut_first(masked_text):
    example = Example({"a": LONG, "b": "a great film"})
    encoded = cloze(masked_text, "{a} {sep} {b} {mask}", [example], max_length=20)
    assert "film" in tokens(masked_text, encoded.ids[0])[-3]
    assert len(encoded.ids[0]) == 20


def test_a_kept_field_is_never_cut(masked_text):
    example = Example({"a": "was " * 60, "b": "great " * 20})
    encoded = cloze(masked_text, "{mask} {b:keep} {a}", [example], max_length=40)
    assert sum("great" in token for token in tokens(masked_text, encoded.ids[0])) == 20
    assert encoded.cut == [True]


def test_a_row_that_cannot_fit_is_an_error_that_says_what_to_do(masked_text):
    rows = [FILMS[0].fields | {"b": "a"}, {"text": LONG, "b": "great " * 40}]
    with pytest.raises(
        DataError, match=r"row 2: pattern 'mine' takes \d+ tokens \(kept whole: b 4\d\).*leave out :keep"
    ):
        cloze(masked_text, "{b:keep} {text} {mask}", list(map(Example, rows)), max_length=40)


def test_a_pattern_longer_than_the_model_is_an_error_at_the_first_row(masked_text):
    with pytest.raises(DataError, match="row 1: .*Shorten the pattern"):
        cloze(masked_text, "{text} " + "great " * 30 + "{mask}", FILMS, max_length=20)


def test_a_causal_backbone_keeps_room_for_the_label_word(causal_text):
    encoded = cloze(causal_text, "{text} It was {mask}", [Example({"text": LONG})], pieces=3, max_length=20)
    assert encoded.lengths == [17]
    assert [token.strip("▁Ġ") for token in tokens(causal_text, encoded.ids[0])[-2:]] == ["It", "was"]


def test_no_row_is_longer_than_the_backbone_reads_whatever_is_allowed(any_text):
    short = SimpleNamespace(**{**vars(any_text), "max_length": 24})
    assert cloze(short, "{text} {mask}.", [Example({"text": LONG})], max_length=1000).lengths <= [24]


# ---------------------------------------------------------------- work done once, and what comes out


class Counting:
    def __init__(self, tokenizer):
        self.tokenizer, self.asked = tokenizer, []

    def __call__(self, *texts, **options):
        self.asked += texts[0] if isinstance(texts[0], list) else texts
        return self.tokenizer(*texts, **options)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


def test_a_field_is_tokenised_once_for_all_patterns_that_show_it_alike(any_text):
    backbone = SimpleNamespace(**{**vars(any_text), "tokenizer": Counting(any_text.tokenizer)})
    encoder, examples = Encoder(backbone), [Example({"text": f"film {i} of the world"}) for i in range(30)]
    for source in ("It was {text}: {mask}", "So {text}. All in all, it was {mask}", "Just {text}! {mask}"):
        encoder.cloze(pattern(source), examples)
    assert sum("of the world" in text for text in backbone.tokenizer.asked) == 30


def test_a_data_set_costs_a_handful_of_tokenizer_calls_whatever_its_size(any_text):
    calls = []
    for size in (4, 400):
        encoder, calls_before = Encoder(any_text), len(calls)
        tokenise = encoder.fragments._tokenise
        encoder.fragments._tokenise = lambda texts, tokenise=tokenise: calls.append(1) or tokenise(texts)
        encoder.cloze(pattern("Film: {text}. It was {mask}"), [Example({"text": f"{i} zebras"}) for i in range(size)])
        assert len(calls) - calls_before < 12


def test_ids_are_plain_lists_of_whole_numbers(any_text):
    encoded = cloze(any_text, "{text} It was {mask}.", FILMS)
    assert {type(token) for ids in encoded.ids for token in ids} == {int}
    assert {type(ids) for ids in [*encoded.ids, *encoded.slots]} == {list}


def test_rows_do_not_share_their_lists_with_what_is_remembered(any_text):
    encoder = Encoder(any_text)
    first = encoder.cloze(pattern("{text} It was {mask}."), FILMS)
    first.ids[0][:] = []
    assert all(encoder.cloze(pattern("{text} It was {mask}."), FILMS).ids)


def test_chosen_rows_come_in_the_order_given(texted):
    encoded = cloze(texted("wordpiece"), "{text} It was {mask}.", [*FILMS, Example({"text": LONG})], max_length=20)
    taken = encoded.take([3, 0, 0])
    assert taken.ids == [encoded.ids[3], encoded.ids[0], encoded.ids[0]]
    assert taken.slots == [encoded.slots[3], encoded.slots[0], encoded.slots[0]]
    assert taken.segments == [encoded.segments[3], encoded.segments[0], encoded.segments[0]]
    assert (taken.cut, taken.lengths, len(taken)) == ([True, False, False], [20, 9, 9], 3)


def test_rows_without_segment_numbers_stay_without_them():
    assert Encoded([[1], [2, 3]], None, [[0], [1]], [False, True]).take(range(1)) == Encoded(
        [[1]], None, [[0]], [False]
    )

from random import Random

import pytest

from promptlab.backbone.encode import Encoder
from promptlab.backbone.words import word_pieces
from promptlab.language.example import Example
from promptlab.language.grammar import Field, Mask, Sep, Soft, Text, apply
from promptlab.language.pattern import Pattern

FILMS = [Example({"text": "A great film"}), Example({"text": "boring, walking zebras!"}), Example({"text": "fine"})]
PAIRS = [
    Example({"a": "It was a film", "b": "a great story"}),
    Example({"a": "no", "b": "the world of sports and news"}),
]
LONG = "great film " * 40


def pattern(source):
    return Pattern.parse("mine", source)


# ---------------------------------------------------------------- a pattern

PIECES = [
    *("great", "It", "film", "walking", "zebras", "Movie", "a", "I", "don't", "x1", "2020", "é", "😀", "世"),
    *("--", "...", "!", '"', "'", "(", ")", " ", "  ", "\n", "\n\n", "\t", "'s", "<b>", "[", "]"),
]
PATTERNS = [
    "{a} It was {mask}.",
    "{mask}: {a}{b}",
    "({a}s {b}) - {mask}!",
    '"{a}"? {sep} {mask}, "{b}"',
    "Title: {a}\n\n{b}\nIt was {mask}",
    "{a}\n\n{mask} {sep} {b}",
    "{a|lower} {b}... All in all, it was {mask}.",
    "{a}{b} {soft:It was} {mask}",
    "[ {mask} ] {a} {soft:3} {b}",
    "x{a}y ({mask})",
    "{a}. {sep} So {mask} {b}?",
    "{a} '{b}' {mask}.",
]


def whole(backbone, segment):
    """Ids of a segment's text tokenised whole, each with whether it is the word's; None where one crosses a border."""
    text, borders, start, kinds = "".join(shown for _, shown in segment), set(), 0, ["text"]
    for kind, shown in segment:
        if kind != "text" or kinds[-1] != "text":
            borders.add(len("".join(shown for _, shown in segment[: len(kinds) - 1])))
        if kind == "word":
            word = range(start, start + len(shown) + 1)
        start += len(shown)
        kinds.append(kind)
    read = backbone.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    places = read["offset_mapping"]
    if any(first < border < last for first, last in places for border in borders):
        return None
    has_word = any(kind == "word" for kind in kinds)
    inside = [has_word and first in word and last in word and last > first for first, last in places]
    return list(zip(read["input_ids"], inside, strict=True))


def segments(backbone, parts, example):
    laid = [[]]
    for part in parts:
        match part:
            case Sep() if backbone.kind == "masked":
                laid.append([])
            case Sep():
                laid[-1].append(("text", "\n"))
            case Text(text):
                laid[-1].append(("text", text))
            case Soft(words=words, space=space) if words:
                laid[-1].append(("text", " " * space + words))
            case Field(name, filters, space=space):
                laid[-1].append(("field", " " * space + apply(filters, example.text(name))))
            case Mask(space):
                laid[-1].append(("word", " " * space + "great"))
                if backbone.kind == "causal":
                    return laid
    return laid


def random_examples(count, seed=0):
    draw = Random(seed)

    def text():
        return "".join(draw.choice(PIECES) + draw.choice(["", " "]) for _ in range(draw.randint(0, 4)))

    return [Example({"a": text(), "b": text()}) for _ in range(count)]


MASKED = ["wordpiece", "byte-bpe", "unigram"]
CAUSAL = ["metaspace-bpe", "metaspace-bpe-older", "gpt2"]
CASES = [(name, source) for name in MASKED for source in PATTERNS]
CASES += [(name, source) for name in CAUSAL for source in PATTERNS if pattern(source).mask_last]


@pytest.mark.parametrize(("name", "source"), CASES)
def test_ids_are_those_of_the_filled_pattern_tokenised_whole_where_no_token_crosses_a_slots_border(
    texted, name, source
):
    any_text, asked, compared = texted(name), pattern(source), 0
    causal = any_text.kind == "causal"
    encoder, examples = Encoder(any_text), random_examples(60)
    spaced = Mask(space=True) in asked.parts
    for example in examples:
        read = [whole(any_text, segment) for segment in segments(any_text, asked.parts, example)]
        word = [token for segment in read if segment for token, inside in segment if inside]
        if None in read:
            continue
        compared += 1
        want = []
        for run, segment in zip(encoder.specials.frame(len(read)).runs, read, strict=False):
            want += [token for token, _ in run]
            want += [None if inside else token for token, inside in segment if not (inside and causal)]
        want += [] if causal else [token for token, _ in encoder.specials.frame(len(read)).runs[-1]]
        want = [any_text.tokenizer.mask_token_id if token is None else token for token in want]
        found = encoder.cloze(asked, [example], pieces=len(word))
        assert found.ids == [want or [encoder.specials.start]], example
        if spaced:
            assert word == word_pieces(any_text, "great", space=True)
    assert compared >= 10


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert"])
@pytest.mark.parametrize("source", ["{text} It was {mask}.", "Just {mask}! {sep} {text}", "({mask}) {text}"])
def test_masked_families_read_what_transformers_reads_of_the_text_with_their_mask_in_it(tiny, family, source):
    backbone = tiny(family)
    shown = source.replace("{mask}", backbone.tokenizer.mask_token)
    for example, ids in zip(FILMS, Encoder(backbone).cloze(pattern(source), FILMS).ids, strict=True):
        parts = [part.format(text=example.text("text")) for part in shown.split(" {sep} ")]
        assert ids == backbone.tokenizer(*parts)["input_ids"]


# ---------------------------------------------------------------- bare text


@pytest.mark.parametrize("length", [128, 12])
def test_bare_text_is_what_the_tokenizer_makes_of_it(masked_text, length):
    examples = [*FILMS, Example({"text": LONG}), Example({"text": ""})]
    encoded = Encoder(masked_text).plain(examples, ["text"], max_length=length)
    texts = [example.text("text") for example in examples]
    assert encoded.ids == masked_text.tokenizer(texts, truncation=True, max_length=length)["input_ids"]
    assert encoded.slots == [[]] * 5
    assert encoded.cut == [False, False, False, length == 12, False]


@pytest.mark.parametrize("length", [128, 13, 12, 7])
def test_two_bare_texts_are_what_the_tokenizer_makes_of_a_pair(masked_text, length):
    examples = [*PAIRS, Example({"a": LONG, "b": LONG}), Example({"a": "", "b": LONG}), Example({"a": LONG, "b": "no"})]
    encoded = Encoder(masked_text).plain(examples, ["a", "b"], max_length=length)
    columns = [[example.text(name) for example in examples] for name in "ab"]
    want = masked_text.tokenizer(*columns, truncation=True, max_length=length, return_token_type_ids=True)
    assert encoded.ids == want["input_ids"]
    assert encoded.segments == (want["token_type_ids"] if masked_text.name == "wordpiece" else None)


def test_bare_text_of_a_causal_backbone_is_what_the_tokenizer_makes_of_it(causal_text):
    encoded = Encoder(causal_text).plain(FILMS, ["text"])
    assert encoded.ids == causal_text.tokenizer([example.text("text") for example in FILMS])["input_ids"]


def test_two_bare_texts_of_a_causal_backbone_are_parted_by_a_newline(causal_text):
    ids = Encoder(causal_text).plain(PAIRS[:1], ["a", "b"]).ids[0]
    assert ids == causal_text.tokenizer("It was a film\na great story")["input_ids"]


def test_an_empty_bare_text_is_never_an_empty_row(any_text):
    assert Encoder(any_text).plain([Example({"text": ""})], ["text"]).lengths != [0]


def test_three_bare_texts_are_parted_like_two(texted):
    encoded = Encoder(texted("wordpiece")).plain([Example({"a": "no", "b": "yes", "c": "film"})], ["a", "b", "c"])
    read = texted("wordpiece").tokenizer.decode(encoded.ids[0])
    assert read == "[CLS] no [SEP] yes [SEP] film [SEP]"

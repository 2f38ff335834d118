"""Every text rule on every kind of tokenizer: WordPiece, byte-level BPE, Unigram and SentencePiece-BPE.

What is laid out must have the ids of the same text written out and tokenised whole by the tokenizer itself.
"""

import pytest

from promptlab.backbone.encode import Encoder
from promptlab.backbone.words import label_words, row_words
from promptlab.language.example import Example
from promptlab.language.library import read_task
from promptlab.language.pattern import Pattern
from promptlab.language.task import PVP, Task
from promptlab.language.verbalizer import Verbalizer

ALL = ("wordpiece", "byte-bpe", "unigram", "metaspace-bpe", "metaspace-bpe-older", "gpt2")
FILM = Example({"text": "A great film"})
LONG_WORDS = ["walking zebra", "badly-made", "not great at all", "x1's", "Mask"]
WORDS = {word: (word,) for word in [*LONG_WORDS, "great"]}
BEFORE = ["{text} It was {mask}.", "{text} ({mask})", "{text}\n{mask}", "{text} {sep} {mask}"]
AFTER = ["{mask}: {text}", "Just {mask}! {sep} {text}", "[ {mask} ] {text}"]


def pvp(source, words=WORDS):
    return PVP(Pattern.parse("mine", source), Verbalizer("default", words))


def written(backbone, source, word):
    """Ids of the pattern filled in by hand; on causal backbones up to the word's end."""
    text = source.replace("{text}", FILM.fields["text"])
    if backbone.kind == "causal":
        return backbone.tokenizer(text.partition("{mask}")[0].replace(" {sep} ", "\n") + word)["input_ids"]
    return backbone.tokenizer(*[part.replace("{mask}", word) for part in text.split(" {sep} ")])["input_ids"]


def spoken(backbone, asked, examples, ids):
    """Ids of a row whose masks are filled with a word, or that a word goes on."""
    word = [token for token in ids.tolist() if token >= 0]
    encoded = Encoder(backbone).cloze(asked.pattern, examples, len(word))
    if backbone.kind == "causal":
        return encoded.ids[0] + word
    filled = list(encoded.ids[0])
    for slot, token in zip(encoded.slots[0], word, strict=True):
        filled[slot] = token
    return filled


@pytest.mark.parametrize("source", BEFORE)
def test_label_words_of_several_tokens_are_read_as_in_the_whole_text(any_text, source):
    asked = pvp(source)
    found = label_words(any_text, asked)
    assert found.pieces >= 3
    for word, ids in zip(WORDS, found.ids[:, 0], strict=True):
        assert spoken(any_text, asked, [FILM], ids) == written(any_text, source, word), word


@pytest.mark.parametrize("source", AFTER)
def test_so_are_those_before_the_text(masked_text, source):
    asked = pvp(source)
    for word, ids in zip(WORDS, label_words(masked_text, asked).ids[:, 0], strict=True):
        assert spoken(masked_text, asked, [FILM], ids) == written(masked_text, source, word), word


def test_so_are_the_candidates_of_a_row(any_text):
    task = read_task("{task: quiz, inputs: [text, options], candidates: options, patterns: {p: '{text} So {mask}!'}}")
    row = Example({"text": "A great film", "options": tuple(LONG_WORDS)})
    found = row_words(any_text, task.pvps[0], [row], [task.choices(row)])
    for word, ids in zip(LONG_WORDS, found.ids[0, :, 0], strict=True):
        assert spoken(any_text, task.pvps[0], [row], ids) == written(any_text, "{text} So {mask}!", word), word


def test_a_word_cut_to_its_first_token_would_be_seen(any_text):
    """So that the tests above can fail."""
    asked = pvp(BEFORE[0])
    ids = label_words(any_text, asked).ids[0, 0]
    assert spoken(any_text, asked, [FILM], ids[:1]) != written(any_text, BEFORE[0], LONG_WORDS[0])


# ---------------------------------------------------------------- a token by name


def own_token(backbone):
    """A token of the backbone that stands for no text, and is not the mask."""
    return backbone.tokenizer.sep_token or backbone.tokenizer.eos_token


@pytest.mark.parametrize("source", ["{text} {token:X} It was", "{text}{token:X} It was", "{text} It was {token:X}"])
@pytest.mark.parametrize("name", [name for name in ALL if name != "metaspace-bpe-older"])  # doubles a space after it
def test_a_token_by_name_stands_between_texts_as_its_tokenizer_reads_it(texted, name, source):
    backbone = texted(name)
    token, mask = own_token(backbone), backbone.tokenizer.mask_token or ""
    asked = Pattern.parse("mine", source.replace("{token:X}", f"{{token:{token}}}") + " {mask}")
    (ids,) = Encoder(backbone).cloze(asked, [FILM]).ids
    text = source.replace("{token:X}", token).replace("{text}", "A great film")
    assert ids == backbone.tokenizer(text + mask)["input_ids"]  # a space before the mask is the label word's
    assert backbone.tokenizer.convert_tokens_to_ids(token) in ids[1 : -1 if mask else None]


def test_the_same_name_in_a_text_is_no_token(any_text):
    token = own_token(any_text)
    here, not_there = f"{{text}} {{token:{token}}} It was {{mask}}", "{text} It was {mask}"
    forged = Example({"text": f"A great {token} film"})
    number = any_text.tokenizer.convert_tokens_to_ids(token)
    counts = [
        Encoder(any_text).cloze(pvp(source).pattern, [forged]).ids[0].count(number) for source in (here, not_there)
    ]
    assert counts[0] == counts[1] + 1


# ---------------------------------------------------------------- letters

LETTERED = Task.from_parts(["{text} It was {mask}."], {"a": "bad", "b": "walking zebra", "c": "good"}, about="Is it?")
PROMPT = "A great film\nQuestion: Is it?\nA: bad\nB: walking zebra\nC: good\nAnswer: "


def test_a_pattern_by_letters_is_read_as_the_text_it_lists(any_text):
    asked = LETTERED.pvp("letters")
    found = label_words(any_text, asked).ids
    for letter, ids in zip("ABC", found[:, 0], strict=True):
        assert spoken(any_text, asked, [FILM], ids) == any_text.tokenizer(PROMPT + letter)["input_ids"]


def test_each_letter_is_another_word(any_text):
    found = label_words(any_text, LETTERED.pvp("letters")).ids[:, 0].tolist()
    assert len(set(map(tuple, found))) == 3
    read = [any_text.tokenizer.decode([token for token in ids if token >= 0]).strip().upper() for ids in found]
    assert read == ["A", "B", "C"]


def test_a_rows_own_answers_are_listed_by_letter(any_text):
    task = read_task('{task: own, inputs: [text, o], candidates: o, patterns: {p: "{text}\\n{labels}\\nSo {mask}"}}')
    row = Example({"text": "A great film", "o": ("walking zebra", "x1's")})
    asked = task.pvps[0]
    ids = row_words(any_text, asked, [row], [task.choices(row)]).ids[0]
    for letter, one in zip("AB", ids[:, 0], strict=True):
        text = f"A great film\nA: walking zebra\nB: x1's\nSo {letter}"
        assert spoken(any_text, asked, [row], one) == any_text.tokenizer(text)["input_ids"]

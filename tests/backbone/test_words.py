import numpy as np
import pytest

from promptlab.backbone.encode import Encoder
from promptlab.backbone.words import LabelWords, label_words, report, row_words, word_pieces
from promptlab.errors import BackboneError, DataError, PatternError
from promptlab.language.example import Example
from promptlab.language.library import read_task
from promptlab.language.pattern import Pattern
from promptlab.language.task import PVP
from promptlab.language.verbalizer import Verbalizer

REVIEW = {"negative": ("terrible",), "positive": ("great",)}


def pvp(source="{text} It was {mask}.", words=REVIEW, name="mine"):
    return PVP(Pattern.parse(name, source), Verbalizer("default", words))


def shown(backbone, word, space, **options):
    return backbone.tokenizer.convert_ids_to_tokens(word_pieces(backbone, word, space, **options))


@pytest.mark.parametrize(
    ("name", "spaced", "bare", "start"),
    [
        ("wordpiece", ["great"], ["great"], ["great"]),
        ("byte-bpe", ["Ġgreat"], ["g", "reat"], ["g", "reat"]),
        ("unigram", ["▁great"], ["g", "r", "e", "a", "t"], ["▁great"]),
        ("metaspace-bpe", ["▁great"], ["g", "reat"], ["▁great"]),
        ("metaspace-bpe-older", ["▁great"], ["g", "reat"], ["▁great"]),
        ("gpt2", ["Ġgreat"], ["g", "reat"], ["g", "reat"]),
    ],
)
def test_a_word_is_read_as_it_would_be_in_the_masks_place(texted, name, spaced, bare, start):
    assert shown(texted(name), "great", space=True) == spaced
    assert shown(texted(name), "great", space=False) == bare  # as after a bracket
    assert shown(texted(name), "great", space=False, before="") == start


def test_an_empty_word_is_an_error(any_text):
    with pytest.raises(PatternError, match="empty"):
        word_pieces(any_text, " ", space=True)


@pytest.mark.parametrize("name", ["wordpiece", "unigram"])
def test_a_word_with_unknown_characters_is_an_error(texted, name):
    with pytest.raises(PatternError, match=f"'gut☃' has characters that the vocabulary of {name} lacks"):
        word_pieces(texted(name), "gut☃", space=True)


def test_a_word_that_spells_a_special_token_is_read_letter_by_letter(any_text):
    for word in ("<mask>", "[MASK]", "</s>", "<|endoftext|>"):
        assert len(word_pieces(any_text, word, space=True)) > 1


def test_label_words_are_ids_by_label_and_word(any_text):
    words = {"negative": ("terrible", "bad"), "positive": ("great",)}
    found = label_words(any_text, pvp(words=words))
    terrible, bad, great = (word_pieces(any_text, word, space=True)[0] for word in ("terrible", "bad", "great"))
    assert found.ids.tolist() == [[[terrible], [bad]], [[great], [-1]]]
    assert (found.ids.dtype, found.pieces) == (np.int64, 1)


def test_labels_keep_the_order_of_the_verbalizer(any_text):
    turned = dict(reversed(REVIEW.items()))
    assert (label_words(any_text, pvp(words=turned)).ids == label_words(any_text, pvp()).ids[::-1]).all()


def test_the_families_as_transformers_builds_them_have_the_words_of_the_test_task(each, reviews_task):
    for one in reviews_task.pvps:
        if each.kind == "masked" or one.pattern.mask_last:
            ids = label_words(each, one).ids
            assert ids.shape == (2, 1, 1)
            assert [each.tokenizer.decode(label[0]).strip() for label in ids] == ["terrible", "great"]


def test_a_label_word_and_the_text_before_it_are_the_ids_of_both_together(causal_text):
    for source in ("{text} It was {mask}", "{text} (it was) {mask}", "{text} {sep} It was {mask}"):
        prompt = Encoder(causal_text).cloze(pvp(source).pattern, [Example({"text": "a film"})]).ids[0]
        word = label_words(causal_text, pvp(source)).ids[1, 0].tolist()
        text = pvp(source).pattern.fill(Example({"text": "a film"}), word="great").replace(" │ ", "\n")
        assert prompt + word == causal_text.tokenizer(text)["input_ids"]


def test_a_slot_right_before_the_mask_does_not_make_the_word_the_inside_of_another(texted):
    assert shown(texted("wordpiece"), "great", space=False) == ["great"]
    found = label_words(texted("wordpiece"), pvp("{text}{mask}"))
    assert texted("wordpiece").tokenizer.decode(found.ids[1, 0]) == "great"


def test_a_letter_right_before_the_mask_does(texted):
    backbone = texted("wordpiece")
    ids = label_words(backbone, pvp("{text} un{mask}")).ids[1, 0].tolist()
    assert backbone.tokenizer.convert_ids_to_tokens(ids[:1]) == ["##g"]


def test_a_mask_after_a_border_asks_a_causal_backbone_for_a_word_after_a_newline(texted):
    backbone = texted("gpt2")
    found = label_words(backbone, pvp("{text} {sep} {mask}"))
    assert backbone.tokenizer.convert_ids_to_tokens(found.ids[1, 0, :2].tolist()) == ["g", "reat"]


def test_words_of_several_tokens_are_read_whole_and_filled_up_with_minus_one(texted):
    backbone = texted("wordpiece")
    found = label_words(backbone, pvp(words={"a": ("filmed", "bad"), "b": ("great",)}))
    film, ed = backbone.tokenizer.convert_tokens_to_ids(["film", "##ed"])
    bad, great = backbone.tokenizer.convert_tokens_to_ids(["bad", "great"])
    assert found.ids.tolist() == [[[film, ed], [bad, -1]], [[great, -1], [-1, -1]]]
    assert found.pieces == 2


# ---------------------------------------------------------------- words of a row


COPA = {"first": ("{choice1|lower_first}",), "second": ("{choice2|lower_first}",)}


def rows(*pairs):
    return [Example({"text": "so", "choice1": one, "choice2": other}) for one, other in pairs]


def test_words_that_name_fields_are_each_rows_own(any_text):
    asked = pvp(words=COPA)
    found = row_words(any_text, asked, rows(("Bad", "Great film"), ("Good", "Bad")))
    spoken = [["bad", "great film"], ["good", "bad"]]
    for ids, words in zip(found.ids, spoken, strict=True):
        assert [label[0][label[0] >= 0].tolist() for label in ids] == [
            word_pieces(any_text, word, space=True) for word in words
        ]
    assert not found.fixed
    assert found.room(2) == [max(len(word_pieces(any_text, word, space=True)) for word in words) for words in spoken]


def test_candidates_are_their_own_words_and_rows_may_have_other_numbers_of_them(texted):
    quiz = read_task("{task: quiz, inputs: [text, one], candidates: one, patterns: {p: '{text} {mask}'}}")
    examples = [Example({"text": "so", "one": each}) for each in (("bad", "good", "great"), ("filmed",))]
    found = row_words(texted("wordpiece"), quiz.pvps[0], examples, [quiz.choices(one) for one in examples])
    assert (found.ids[..., 0] >= 0).sum((1, 2)).tolist() == [3, 1]
    assert found.room(2) == [1, 2]
    assert not found.single


def test_candidates_that_the_backbone_reads_alike_have_equal_words(texted):
    quiz = read_task("{task: quiz, inputs: [text, one], candidates: one, patterns: {p: '{text} {mask}'}}")
    example = Example({"text": "so", "one": ("Good film", "bad", "good FILM")})
    ids = row_words(texted("wordpiece"), quiz.pvps[0], [example], [quiz.choices(example)]).ids[0]
    assert (ids[0] == ids[2]).all()
    assert (ids[0] != ids[1]).any()


def test_words_that_all_rows_share_are_read_once(any_text):
    found = row_words(any_text, pvp(), rows(("", "")) * 3)
    assert (found.fixed, found.single, found.ids.shape) == (True, True, (1, 2, 1, 1))
    assert (found.take([0, 2]) == label_words(any_text, pvp()).ids).all()
    assert found.room(3) == [1, 1, 1]


def test_a_word_of_a_row_that_the_vocabulary_lacks_is_an_error_that_names_the_row(texted):
    with pytest.raises(DataError, match=r"row 2: pattern 'mine': choice 'first': the word 'gut☃' has characters"):
        row_words(texted("wordpiece"), pvp(words=COPA), rows(("bad", "good"), ("gut☃", "bad")))


def test_two_words_of_a_row_with_the_same_tokens_are_an_error_that_names_the_row(texted):
    with pytest.raises(DataError, match=r"row 1: pattern 'mine': labels 'first' and 'second' have a word in common"):
        row_words(texted("wordpiece"), pvp(words=COPA), rows(("so GOOD", "so good")))


# ---------------------------------------------------------------- faults


def test_two_labels_with_the_same_tokens_are_an_error_and_a_common_beginning_is_none(texted):
    words = {"a": ("good film",), "b": ("Good Film",)}
    with pytest.raises(PatternError, match=r"labels 'a' and 'b' have a word in common on wordpiece \(good film\)"):
        label_words(texted("wordpiece"), pvp(words=words))
    assert label_words(texted("wordpiece"), pvp(words={"a": ("good",), "b": ("good film",)})).pieces == 2


def test_two_labels_with_the_same_token_are_an_error(texted):
    words = {"a": ("Good",), "b": ("good",), "c": ("great",)}
    with pytest.raises(PatternError, match=r"labels 'a' and 'b' have a word in common on wordpiece \(good\)"):
        label_words(texted("wordpiece"), pvp(words=words))


def test_one_label_may_have_a_word_in_two_cases(texted):
    words = {"a": ("Good", "good"), "b": ("great",)}
    assert label_words(texted("wordpiece"), pvp(words=words)).ids.shape == (2, 2, 1)


def test_all_faults_are_told_at_once(texted):
    words = {"a": ("film☃", "good"), "b": ("☃",), "c": ("Good",)}
    with pytest.raises(PatternError) as caught:
        label_words(texted("wordpiece"), pvp(words=words))
    starts = ("label 'a': the word 'film☃'", "label 'b': the word '☃'", "labels 'a' and 'c'")
    assert len(caught.value.faults) == 3
    assert all(fault.text.startswith(start) for fault, start in zip(caught.value.faults, starts, strict=True))


def test_words_that_name_fields_have_no_ids_that_hold_for_all_rows(any_text):
    with pytest.raises(PatternError, match="name fields"):
        label_words(any_text, pvp(words={"a": ("{text}",), "b": ("great",)}))


def test_words_after_a_mask_that_a_causal_backbone_cannot_ask_are_read_all_the_same(texted):
    assert label_words(texted("gpt2"), pvp("So {mask}: {text}")).ids.shape == (2, 1, 1)
    with pytest.raises(BackboneError):
        Encoder(texted("gpt2")).cloze(pvp("So {mask}: {text}").pattern, [])


def test_a_report_says_how_each_word_splits(texted):
    rows = report(texted("wordpiece"), pvp(words={"a": ("filmed", "good"), "b": ("☃",)}))
    assert rows == [
        {"label": "a", "word": "filmed", "pieces": ["film", "##ed"], "single": False},
        {"label": "a", "word": "good", "pieces": ["good"], "single": True},
        {"label": "b", "word": "☃", "pieces": ["[UNK]"], "single": False},
    ]


def test_a_report_of_words_that_name_fields_has_no_pieces(any_text):
    rows = report(any_text, pvp(words={"a": ("{text}",), "b": ("great",)}))
    assert [row["pieces"] for row in rows] == [[], []]


def test_words_know_the_length_of_the_longest():
    assert LabelWords(np.full((2, 3, 4), -1)).pieces == 4

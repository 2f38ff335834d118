import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from promptlab.backbone.fragments import WORD, Fragment, Fragments
from promptlab.backbone.specials import special_ids

SPELT = [
    *("[MASK]", "[SEP]", "[CLS]", "[PAD]", "<s>", "</s>", "<mask>", "<pad>", "<|endoftext|>"),
    *("[mask]", "<MASK>", "< mask >", "[ MASK ]", " <mask> ", "<mask>\n", "a<mask>b", "<<mask>>", "<s><s>", "</s></s>"),
    *("fine <mask>.", "<mask> was great", "It was <s> great </s> ! <mask>", "<ma<mask>sk>"),
]


def shown(backbone, fragment):
    return backbone.tokenizer.convert_ids_to_tokens(list(Fragments(backbone.tokenizer).all([fragment])[0]))


def letters(tokens):
    """Text of tokens without the marks of spaces and of the insides of words."""
    return "".join(tokens).replace("##", "").replace("▁", "").replace("Ġ", "").replace("Ċ", "")


class Counting:
    """A tokenizer that writes down what it is asked."""

    def __init__(self, tokenizer):
        self.tokenizer, self.asked = tokenizer, []

    def __call__(self, texts, **options):
        self.asked.append(texts)
        return self.tokenizer(texts, **options)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


@pytest.mark.parametrize(
    ("name", "start", "spaced", "joined"),
    [
        ("wordpiece", ["walking"], ["walking"], ["##w", "##a", "##l", "##k", "##ing"]),
        ("byte-bpe", ["walk", "ing"], ["Ġwalking"], ["walk", "ing"]),
        ("unigram", ["▁walking"], ["▁walking"], list("walking")),
        ("metaspace-bpe", ["▁walking"], ["▁walking"], ["w", "a", "lk", "ing"]),
        ("metaspace-bpe-older", ["▁walking"], ["▁walking"], ["w", "a", "lk", "ing"]),
        ("gpt2", ["walk", "ing"], ["Ġwalking"], ["walk", "ing"]),
    ],
)
def test_a_word_is_read_by_what_stands_before_it(texted, name, start, spaced, joined):
    assert shown(texted(name), Fragment("walking")) == start
    assert shown(texted(name), Fragment(" walking", "x")) == spaced
    assert shown(texted(name), Fragment("walking", "x")) == joined


def test_a_word_after_a_sign_begins_anew_only_where_signs_end_words(texted):
    assert shown(texted("wordpiece"), Fragment("walking", "(")) == ["walking"]
    assert shown(texted("unigram"), Fragment("walking", "(")) == list("walking")


def test_a_sign_after_a_word_gets_no_space_of_its_own(any_text):
    assert shown(any_text, Fragment(".", WORD)) == ["."]


def test_an_anchor_never_leaves_a_part_of_itself_or_takes_a_part_of_the_fragment(any_text):
    words = ["as", "all", "t", "he", "ing", "great", "It", "film", "walking", "e", "s", "sk", "is", "d"]
    for before in "abcdefghijklmnopqrstuvwxyzTIW([.\"'<1":
        fragments = [Fragment(word, before) for word in words]
        found = Fragments(any_text.tokenizer).all(fragments)
        texts = [letters(any_text.tokenizer.convert_ids_to_tokens(list(ids))) for ids in found]
        assert [text.lower() for text in texts] == [word.lower() for word in words], before


def test_what_stands_before_a_space_matters_only_in_that_it_does():
    assert Fragment.of(" great", "k") == Fragment.of(" great", ".") == Fragment(" great", WORD)
    assert Fragment.of(" great", "") == Fragment(" great", "")
    assert Fragment.of("great", "k") != Fragment.of("great", ".")


def test_what_comes_after_matters_only_to_white_space():
    assert Fragment.of("great", "k", "a") == Fragment("great", "k")
    assert Fragment.of("great\n\n", "k", "a").after == "a"
    assert Fragment.of("great\n\n", "k", " ").after == ""


def test_lines_between_texts_are_grouped_by_what_follows(texted):
    assert shown(texted("gpt2"), Fragment("\n\n", "x")) == ["ĊĊ"]
    assert shown(texted("gpt2"), Fragment("\n\n", "x", "x")) == ["Ċ", "Ċ"]  # as in "x\n\nx" tokenised whole


def test_a_newline_may_be_the_anchor_although_some_tokenizers_drop_it(texted):
    assert shown(texted("unigram"), Fragment("great", "\n")) == ["▁great"]
    assert shown(texted("metaspace-bpe"), Fragment("great", "\n"))[0] != "▁great"


def test_all_new_fragments_are_tokenised_in_one_call_and_known_ones_in_none(any_text):
    fragments = Fragments(any_text.tokenizer)
    fragments.all([Fragment(" warm", WORD), Fragment("x")])  # the anchors are read on first use
    fragments.tokenizer = Counting(any_text.tokenizer)
    many = [Fragment(f" film number {i}", WORD) for i in range(50)]
    first = fragments.all(many * 2)
    assert [len(texts) for texts in fragments.tokenizer.asked] == [50]
    assert fragments.all(many * 2) == first
    assert len(fragments.tokenizer.asked) == 1


def test_an_empty_fragment_has_no_ids(any_text):
    assert Fragments(any_text.tokenizer).all([Fragment(""), Fragment("", "x")]) == [(), ()]


@pytest.mark.parametrize("text", SPELT)
@pytest.mark.parametrize("before", ["", "x", "<"])
def test_no_text_can_spell_a_special_token(any_text, text, before):
    ids = Fragments(any_text.tokenizer).all([Fragment(text, before)])[0]
    assert special_ids(any_text.tokenizer).isdisjoint(ids)
    assert len(ids) > 1


@pytest.mark.parametrize("text", SPELT)
def test_a_spelling_is_still_read_letter_by_letter(any_text, text):
    ids = list(Fragments(any_text.tokenizer).all([Fragment(text)])[0])
    if any_text.name in ("wordpiece", "unigram"):  # these drop white space
        read = letters(any_text.tokenizer.convert_ids_to_tokens(ids))
        assert read.lower() == "".join(text.lower().split())
    else:
        assert any_text.tokenizer.decode(ids).strip() == text.strip()


@pytest.mark.parametrize("text", ["＜mask＞", "so ＜ｓ＞ <／s>"])
def test_wide_letters_that_are_read_as_narrow_ones_cannot_spell_a_special_token(texted, text):
    tokens = shown(texted("unigram"), Fragment(text))
    assert letters(tokens) in ("<mask>", "so<s></s>")
    assert not {"<mask>", "<s>", "</s>"} & set(tokens)


def test_split_special_tokens_alone_would_not_do_on_unigram_vocabularies(texted):
    tokenizer = texted("unigram").tokenizer
    ids = tokenizer("fine <mask>.", add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.mask_token_id in ids


def test_a_text_full_of_spellings_is_cut_in_one_go(texted):
    fragments = Fragments(texted("unigram").tokenizer)
    fragments.all([Fragment("warm"), Fragment("warm", "<"), Fragment("warm", "m")])
    fragments.tokenizer = Counting(fragments.tokenizer)
    ids = fragments.all([Fragment("<s> great <mask> " * 500)])[0]
    assert special_ids(texted("unigram").tokenizer).isdisjoint(ids)
    assert sum(token == fragments.tokenizer.convert_tokens_to_ids("▁great") for token in ids) == 500
    assert len(fragments.tokenizer.asked) < 20


def one_letter_mask(**named):
    vocab = [("<unk>", 0.0), ("§", 0.0), ("▁", -2.0), ("▁great", -3.0), ("x", -4.0)]
    raw = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=False))
    raw.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=raw, mask_token="§", **named)


def test_a_special_token_of_one_letter_is_read_as_unknown():
    tokenizer = one_letter_mask(unk_token="<unk>")
    ids = Fragments(tokenizer).all([Fragment("great § great")])[0]
    assert tokenizer.convert_ids_to_tokens(list(ids)) == ["▁great", "▁", "<unk>", "▁great"]


def test_a_special_token_of_one_letter_is_left_out_where_nothing_stands_for_the_unknown():
    tokenizer = one_letter_mask()
    ids = Fragments(tokenizer).all([Fragment("great § great")])[0]
    assert tokenizer.convert_ids_to_tokens(list(ids)) == ["▁great", "▁", "▁great"]


def test_equal_ids_are_one_object_so_that_large_data_sets_stay_small(texted):
    tokenizer = texted("metaspace-bpe").tokenizer
    first, second = Fragments(tokenizer).all([Fragment(" great", "x"), Fragment(" a great", "x")])
    assert first[0] > 256  # Python itself keeps one object for the smallest numbers
    assert first[0] is second[-1]

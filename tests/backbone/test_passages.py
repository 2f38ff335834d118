import re
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers import Tokenizer

from promptlab.backbone import passages
from promptlab.backbone.passages import load_passages, read_passages
from promptlab.backbone.specials import special_ids

SPELT = "say [MASK] or </s> , <mask> and <|endoftext|> [SEP] <s> [CLS] [PAD]"
TEXTS = [
    "The plot is great, isn't it?",
    "A dull film",
    "all walking words of the whole world, and then more and more of them: " * 3,
    SPELT,
    "(2 actors) 'll  do",
    "so",
    "[MASK]",
    "The ending was weak; the music was not.",
    "Tab\tand  two spaces",
]
GPT2_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


def plain(backbone, text):
    """A paragraph's ids as the tokenizer's own file gives them, special tokens being text like any other."""
    raw = Tokenizer.from_file(str(backbone.folder / "tokenizer.json"))
    raw.encode_special_tokens = True
    ids = raw.encode(text, add_special_tokens=False).ids
    return [*ids, backbone.tokenizer.eos_token_id] if backbone.kind == "causal" else ids


def texts_of(found):
    """The text tokens of each row."""
    rows = [found.row(i) for i in range(len(found))]
    return [row.ids[row.text].tolist() for row in rows]


def joined(found):
    return list(chain.from_iterable(texts_of(found)))


def around(backbone):
    """The special tokens that the tokenizer itself puts before and after a text."""
    bare, whole = (backbone.tokenizer("so", add_special_tokens=both)["input_ids"] for both in (False, True))
    at = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return whole[:at], whole[at + len(bare) :]


# ids


@pytest.mark.parametrize("length", [8, 13, 60, 128])
def test_the_rows_joined_are_the_ids_of_the_paragraphs_in_order(each, length):
    found = read_passages(TEXTS, each, length)
    assert joined(found) == [token for text in TEXTS for token in plain(each, text)]
    assert found.ids.tolist() == joined(found)


@pytest.mark.parametrize("length", [8, 60])
def test_a_text_that_spells_special_tokens_holds_none(each, length):
    found = read_passages([SPELT, "so", " ".join(each.tokenizer.all_special_tokens)], each, length)
    ends = {each.tokenizer.eos_token_id} if each.kind == "causal" else set()
    assert not set(joined(found)) & (special_ids(each.tokenizer) - ends)
    assert sum(token in ends for token in joined(found)) == (3 if ends else 0)


def test_each_row_stands_between_the_special_tokens_of_the_tokenizer(each):
    before, after = around(each)
    found = read_passages(TEXTS, each, 12)
    assert len(found) > 10
    for i in range(len(found)):
        row = found.row(i)
        assert row.ids.tolist() == [*before, *texts_of(found)[i], *after]
        assert row.text.tolist() == [False] * len(before) + [True] * len(texts_of(found)[i]) + [False] * len(after)


def test_a_paragraph_alone_is_read_as_the_tokenizer_reads_it(each):
    row = read_passages(["A dull film"], each, 128).row(0)
    end = [each.tokenizer.eos_token_id] if each.kind == "causal" else []
    assert row.ids.tolist() == each.tokenizer("A dull film")["input_ids"] + end
    assert row.ids.dtype == np.int64


def test_a_causal_models_paragraphs_end_with_its_own_end(tiny_gpt2, tiny_llama):
    for backbone in (tiny_gpt2, tiny_llama):
        end = backbone.tokenizer.eos_token_id
        (row,) = texts_of(read_passages(["so", "A dull film"], backbone, 128))
        assert [i for i, token in enumerate(row) if token == end] == [len(plain(backbone, "so")) - 1, len(row) - 1]


def test_texts_without_a_token_leave_no_trace(each):
    some = read_passages(["", "so", "", "A dull film", ""], each, 16)
    none = read_passages(["so", "A dull film"], each, 16)
    assert (some.ids.tolist(), some.bounds.tolist()) == (none.ids.tolist(), none.bounds.tolist())


def test_no_paragraphs_are_no_rows(tiny_bert):
    found = read_passages([], tiny_bert, 16)
    assert (len(found), len(found.ids), found.lengths.tolist()) == (0, 0, [])


def test_the_tokenizer_reads_special_tokens_afterwards_as_before(each):
    token = each.tokenizer.mask_token or each.tokenizer.eos_token
    before = each.tokenizer(f"so {token}")["input_ids"]
    read_passages([SPELT], each, 16)
    assert each.tokenizer(f"so {token}")["input_ids"] == before
    assert each.tokenizer.convert_tokens_to_ids(token) in before


@pytest.mark.parametrize("at_once", [1, 2, len(TEXTS), 100])
def test_it_does_not_matter_how_many_paragraphs_are_read_at_once(tiny_roberta, monkeypatch, at_once):
    whole = read_passages(TEXTS, tiny_roberta, 16)
    monkeypatch.setattr(passages, "_AT_ONCE", at_once)
    parts = read_passages(iter(TEXTS), tiny_roberta, 16)
    for name in ("ids", "starts", "bounds"):
        assert getattr(parts, name).tolist() == getattr(whole, name).tolist()


def test_a_corpus_is_read_no_further_than_is_tokenised(tiny_bert, monkeypatch):
    monkeypatch.setattr(passages, "_AT_ONCE", 3)

    def corpus():
        yield from ["so"] * 3
        raise KeyError("read on")

    tokenised = passages._tokenised(corpus(), tiny_bert)
    assert [ids.tolist() for ids, _ in (next(tokenised), next(tokenised), next(tokenised))] == [
        plain(tiny_bert, "so")
    ] * 3
    with pytest.raises(KeyError, match="read on"):
        next(tokenised)


# tokenizers that differ in everything a text can meet


def sized(backbone, vocab=None):
    return SimpleNamespace(**vars(backbone), vocab=vocab or len(backbone.tokenizer))


def test_no_tokenizer_reads_a_special_token_out_of_a_text(any_text):
    found = read_passages(["it was great", SPELT, "<mask>", "</s>", "[MASK]", "it was great"], sized(any_text), 9)
    tokens = joined(found)
    ends = {any_text.tokenizer.eos_token_id} if any_text.kind == "causal" else set()
    assert not set(tokens) & (special_ids(any_text.tokenizer) - ends)
    assert sum(token in ends for token in tokens) == (6 if ends else 0)
    great = any_text.tokenizer("it was great", add_special_tokens=False)["input_ids"] + sorted(ends)
    assert tokens[: len(great)] == tokens[-len(great) :] == great


def test_a_paragraph_that_cannot_but_spell_a_special_token_is_left_out_whole(texted):
    backbone = sized(texted("unigram"))
    kept = read_passages(["it was great", "a film"], backbone, 64)
    found = read_passages(["it was great", "it was <mask> and great", "a film", "</s>"], backbone, 64)
    assert found.ids.tolist() == kept.ids.tolist()
    assert found.starts.tolist() == kept.starts.tolist()
    assert found.bounds.tolist() == kept.bounds.tolist()


@pytest.mark.parametrize(("vocab", "kind"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_ids_are_kept_as_narrow_as_the_vocabulary_allows(texted, vocab, kind):
    found = read_passages(["it was great"], sized(texted("wordpiece"), vocab), 64)
    assert found.ids.dtype == kind
    assert found.row(0).ids.dtype == np.int64


# rows


@pytest.mark.parametrize("length", [8, 9, 13, 21, 40, 128])
def test_no_row_is_longer_than_asked_for(each, length):
    found = read_passages(TEXTS * 2, each, length)
    lengths = [len(found.row(i).ids) for i in range(len(found))]
    assert found.lengths.tolist() == lengths
    assert max(lengths) <= length
    assert min(map(len, texts_of(found))) > 0


@pytest.mark.parametrize("length", [8, 9, 13, 21, 40, 128])
def test_a_row_holds_as_many_whole_paragraphs_as_fit(each, length):
    texts = TEXTS * 3
    found = read_passages(texts, each, length)
    room = length - sum(map(len, around(each)))
    sizes = [len(plain(each, text)) for text in texts]
    begins = {int(at): size for at, size in zip(np.cumsum([0, *sizes[:-1]]), sizes, strict=True)}
    for start, end in zip(found.bounds[:-1].tolist(), found.bounds[1:-1].tolist(), strict=False):
        if end in begins:  # the next one would not have fitted
            assert end - start + begins[end] > room
        else:  # only a long one is cut, and each piece of it is a full row
            inside = max(at for at in begins if at < end)
            assert begins[inside] > room
            assert end - start == room
            assert (end - inside) % room == 0


def test_short_paragraphs_share_rows_and_a_long_one_is_cut(tiny_bert):
    words = iter("film plot story music scene actor poor slow best worst fine good".split() * 3)
    sizes = [2, 2, 1, 9, 1, 3, 4, 5]
    texts = [[next(words) for _ in range(size)] for size in sizes]
    found = read_passages(map(" ".join, texts), tiny_bert, 6)  # four words and two special tokens
    rows = [tiny_bert.tokenizer.convert_ids_to_tokens(row) for row in texts_of(found)]
    long, last = texts[3], texts[7]
    assert rows == [
        texts[0] + texts[1],
        texts[2],
        long[:4],
        long[4:8],
        long[8:] + texts[4],
        texts[5],
        texts[6],
        last[:4],
        last[4:],
    ]


def test_a_paragraph_as_long_as_a_row_is_not_cut(tiny_bert, tiny_gpt2):
    text = "The plot is great, isn't it?"
    for backbone in (tiny_bert, tiny_gpt2):
        length = len(plain(backbone, text)) + sum(map(len, around(backbone)))
        exact = read_passages(["so", text, "so", text], backbone, length)
        assert texts_of(exact)[1::2] == [plain(backbone, text)] * 2
        assert len(exact) == 4
        assert len(read_passages([text], backbone, length - 1)) == 2


# where words begin


@pytest.mark.parametrize("family", ["bert", "distilbert", "albert", "roberta", "modernbert", "gpt2"])
def test_words_begin_where_the_pieces_say(tiny, family):
    backbone = tiny(family)
    found = read_passages(TEXTS, backbone, 1000)
    tokens, starts = backbone.tokenizer.convert_ids_to_tokens(found.ids.tolist()), found.starts.tolist()
    if family in ("bert", "distilbert"):
        assert starts == [not token.startswith("##") for token in tokens]
    elif family == "albert":
        assert starts == [token.startswith("▁") for token in tokens]
    else:
        assert starts == [begins for text in TEXTS for begins in by_gpt2(backbone, text)]
    assert 0.2 < np.mean(starts) < 0.9


def by_gpt2(backbone, text):
    """Whether each token of an ASCII text begins where one of GPT-2's words does."""
    begins = {match.start() for match in GPT2_WORDS.finditer(text)}
    tokens = backbone.tokenizer.convert_ids_to_tokens(plain(backbone, text))
    end = [True] if backbone.kind == "causal" else []
    at = np.cumsum([0, *map(len, tokens[: -1 if end else None])])
    assert at[-1] == len(text)
    return [int(place) in begins for place in at[:-1]] + end


def test_each_paragraph_begins_a_word_and_so_does_each_row(each):
    found = read_passages(TEXTS, each, 9)
    sizes = [len(plain(each, text)) for text in TEXTS]
    assert found.starts[np.cumsum([0, *sizes[:-1]])].all()
    before = len(around(each)[0])
    assert all(found.row(i).starts[before] for i in range(len(found)))


def test_special_tokens_begin_no_word(each):
    found = read_passages(TEXTS, each, 9)
    for i in range(len(found)):
        row = found.row(i)
        assert not row.starts[~row.text].any()
        own = found.starts[found.bounds[i] : found.bounds[i + 1]]
        assert row.starts[row.text][1:].tolist() == own[1:].tolist()


def test_the_rest_of_a_word_that_was_cut_is_a_word_in_its_row_and_not_in_the_text(tiny_bert):
    found = read_passages(["walking"], tiny_bert, 5)  # w ##a ##l | ##k ##i ##n | ##g
    assert found.starts.tolist() == [True] + [False] * 6
    assert [found.row(i).starts.tolist() for i in range(3)] == [[False, True, False, False, False]] * 2 + [
        [False, True, False]
    ]
    assert found.starts.tolist() == [True] + [False] * 6


# on disk


def test_what_was_saved_loads_as_it_was(each, tmp_path):
    found = read_passages(TEXTS, each, 13)
    found.save(tmp_path)
    again = load_passages(tmp_path, each)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bounds.npy", "ids.npy", "starts.npy"]
    assert (again.before, again.after) == (found.before, found.after)
    for name in ("ids", "starts", "bounds"):
        one, two = getattr(found, name), getattr(again, name)
        assert one.dtype == two.dtype
        assert one.tolist() == two.tolist()
    for i in range(len(found)):
        for one, two in zip(found.row(i), again.row(i), strict=True):
            assert one.tolist() == two.tolist()


def test_what_was_saved_is_mapped_and_not_read(tiny_bert, tmp_path):
    read_passages(TEXTS, tiny_bert, 13).save(tmp_path)
    again = load_passages(tmp_path, tiny_bert)
    assert isinstance(again.ids, np.memmap)
    row = again.row(0)
    row.ids[:] = 0  # a row is the reader's own
    assert again.row(0).ids.tolist() != row.ids.tolist()

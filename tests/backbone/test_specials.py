from types import SimpleNamespace

import pytest

from promptlab.backbone.specials import special_ids, specials_of
from promptlab.errors import BackboneError


def named(backbone, run):
    return [backbone.tokenizer.convert_ids_to_tokens(token) for token, _ in run]


def runs(backbone, frame):
    return [named(backbone, run) for run in frame.runs]


def test_bert_puts_one_separator_between_two_texts_and_numbers_them(texted):
    found = specials_of(texted("wordpiece"))
    assert runs(texted("wordpiece"), found.single) == [["[CLS]"], ["[SEP]"]]
    assert runs(texted("wordpiece"), found.pair) == [["[CLS]"], ["[SEP]"], ["[SEP]"]]
    assert [number for run in found.pair.runs for _, number in run] == [0, 0, 1]
    assert (found.pair.numbers, found.numbered, found.parts) == ((0, 1), True, True)


@pytest.mark.parametrize("name", ["byte-bpe", "unigram"])
def test_roberta_puts_two_separators_between_two_texts_and_does_not_number_them(texted, name):
    found = specials_of(texted(name))
    assert runs(texted(name), found.pair) == [["<s>"], ["</s>", "</s>"], ["</s>"]]
    assert (found.numbered, found.parts) == (False, True)


@pytest.mark.parametrize("name", ["metaspace-bpe", "metaspace-bpe-older"])
def test_llama_begins_a_text_and_parts_no_pair(texted, name):
    found = specials_of(texted(name))
    assert runs(texted(name), found.single) == [["<s>"], []]
    assert not found.parts  # what its tokenizer puts between two texts begins a new one
    assert named(texted(name), [(found.start, 0)]) == ["<s>"]


def test_gpt2_has_nothing_around_a_text_but_a_token_to_begin_an_empty_one(texted):
    found = specials_of(texted("gpt2"))
    assert runs(texted("gpt2"), found.single) == [[], []]
    assert named(texted("gpt2"), [(found.start, 0)]) == ["<|endoftext|>"]


def test_a_third_text_is_parted_from_the_second_as_the_second_from_the_first(texted):
    frame = specials_of(texted("wordpiece")).frame(3)
    assert runs(texted("wordpiece"), frame) == [["[CLS]"], ["[SEP]"], ["[SEP]"], ["[SEP]"]]
    assert frame.numbers == (0, 1, 1)


def test_the_families_as_transformers_builds_them_are_understood(each):
    found = specials_of(each)
    assert found.parts == (each.kind == "masked")
    assert found.numbered == (each.config.model_type in ("bert", "albert"))


def test_no_text_may_be_read_as_a_special_token_but_as_an_unknown_one(texted):
    tokenizer = texted("unigram").tokenizer
    assert special_ids(tokenizer) == set(tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<mask>"]))


def test_an_unknown_token_with_another_role_may_not_be_read_either(texted):
    assert special_ids(texted("gpt2").tokenizer) == {0}


def test_a_tokenizer_that_reads_a_text_differently_between_its_tokens_is_refused():
    def tokenizer(*texts, add_special_tokens=True, **_):
        ids = [0, *(7 for _ in texts), 1] if add_special_tokens else [5]
        return {"input_ids": ids, "token_type_ids": [0] * len(ids)}

    with pytest.raises(BackboneError, match="odd reads 'a' differently"):
        specials_of(SimpleNamespace(name="odd", tokenizer=tokenizer, kind="masked"))

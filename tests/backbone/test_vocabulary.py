"""Which tokens may be chosen as words."""

import numpy as np

from promptlab.backbone.fragments import WORD, Fragment, Fragments
from promptlab.backbone.specials import special_ids
from promptlab.backbone.vocabulary import same_words, usable_tokens


def test_no_special_token_is_ever_usable(each):
    for whole in (True, False):
        usable = usable_tokens(each, whole)
        never = special_ids(each.tokenizer) | set(each.tokenizer.all_special_ids) | {each.tokenizer.unk_token_id}
        assert not usable[[token for token in never if token is not None]].any()
        assert usable.shape == each.model.get_input_embeddings().weight.shape[:1]


def test_whole_words_read_back_as_themselves_and_are_found(each):
    usable, fragments = usable_tokens(each), Fragments(each.tokenizer)
    for token in np.flatnonzero(usable)[::7]:
        text = each.tokenizer.decode([int(token)], clean_up_tokenization_spaces=False).strip()
        assert fragments.all([Fragment.of(" " + text, WORD)]) == [(token,)]
    movie = fragments.all([Fragment.of(" movie", WORD)])[0]
    assert usable[list(movie)].all()


def test_pieces_of_words_are_usable_on_request_only(tiny_bert):
    piece = tiny_bert.tokenizer.convert_tokens_to_ids("##s")
    assert not usable_tokens(tiny_bert)[piece]
    assert usable_tokens(tiny_bert, whole=False)[piece]


def test_a_word_is_known_in_any_case_and_by_its_pieces(tiny_roberta):
    vocab = tiny_roberta.tokenizer.get_vocab()
    same = set(same_words(tiny_roberta, ["great"]).tolist())
    assert {vocab[token] for token in ("great", "Great", "Ġgreat", "ĠGreat")} <= same
    split = Fragments(tiny_roberta.tokenizer).all([Fragment.of(" greatest", WORD)])[0]
    assert set(split) <= set(same_words(tiny_roberta, ["greatest"]).tolist())

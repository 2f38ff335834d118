"""Which tokens of a vocabulary may stand in a text as words.

never         special tokens, the unknown token, ids without a token
whole words   a token whose text, after a space, is read as this very token, so that what is made of such tokens
              can be written down and read again; continuations (``##ing``) and parts of characters cannot
"""

from typing import Any

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.fragments import WORD, Fragment, Fragments
from promptlab.backbone.marks import embeddings
from promptlab.backbone.specials import special_ids


def usable_tokens(backbone: Backbone, whole: bool = True) -> np.ndarray:
    """Whether each token may be chosen, ``(embedding rows,)`` bool.

    Args:
        backbone: whose vocabulary.
        whole: only whole words.
    """
    tokenizer = backbone.tokenizer
    never = special_ids(tokenizer) | set(tokenizer.all_special_ids) | {tokenizer.unk_token_id}
    rows = len(embeddings(backbone))
    known = sorted(token for token in set(tokenizer.get_vocab().values()) - never if token < rows)
    usable = np.zeros(rows, dtype=bool)
    usable[_whole(tokenizer, known) if whole else known] = True
    return usable


def same_words(backbone: Backbone, words: list[str]) -> np.ndarray:
    """Ids of tokens that spell one of the words in any case, with or without a space, or that are a piece of one."""
    wanted = {word.strip().casefold() for word in words}
    known = sorted(backbone.tokenizer.get_vocab().values())
    spelt = [token for token, text in zip(known, _texts(backbone.tokenizer, known), strict=True)
             if text.strip().casefold() in wanted]  # fmt: skip
    fragments = Fragments(backbone.tokenizer)
    read = fragments.all([Fragment.of(space + word.strip(), WORD) for word in words for space in ("", " ")])
    return np.array(sorted({*spelt, *(token for ids in read for token in ids)}), dtype=np.int64)


def _whole(tokenizer: Any, ids: list[int]) -> list[int]:
    texts = [text.strip() for text in _texts(tokenizer, ids)]
    listed = [(token, text) for token, text in zip(ids, texts, strict=True) if text and text.isprintable()]
    read = Fragments(tokenizer).all([Fragment.of(" " + text, WORD) for _, text in listed])
    return [token for (token, _), found in zip(listed, read, strict=True) if found == (token,)]


def _texts(tokenizer: Any, ids: list[int]) -> list[str]:
    found: list[str] = tokenizer.batch_decode([[token] for token in ids], clean_up_tokenization_spaces=False)
    return found

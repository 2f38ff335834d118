"""What an encoder-decoder's decoder reads before its answer, and what ends one.

    T5       row: ... <extra_id_0> ...      decoder: <pad> <extra_id_0>      answers with what its sentinel stands for
    BART     row: ... <mask> ...            decoder: </s> <s>                answers with the beginning of a text
    text     row: without a gap             decoder: <pad>, or </s> <s>      writes it, up to the end token

A decoder starts with the configuration's start token and with what the tokenizer puts before every text; a T5 without
sentinels is asked as BART is (Raffel et al. 2020, arXiv:1910.10683, section 3.1.4; Lewis et al. 2019,
arXiv:1910.13461, section 2).
"""

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.specials import specials_of
from promptlab.errors import BackboneError

SENTINEL = "<extra_id_0>"


def sentinel(backbone: Backbone) -> tuple[int, ...]:
    """The token that stands for a span of text, on T5; empty where there is none."""
    found = backbone.tokenizer.get_vocab().get(SENTINEL)
    return () if found is None else (found,)


def asking(backbone: Backbone) -> tuple[int, ...]:
    """What stands in the row where a label word is asked for: the sentinel, the mask token, or nothing.

    A mask stands for a span of any length, as BART has learnt it.
    """
    mask = backbone.tokenizer.mask_token_id
    return sentinel(backbone) or (() if mask is None else (mask,))


def beginning(backbone: Backbone, writes: bool) -> list[int]:
    """What the decoder reads before its answer.

    Args:
        backbone: an encoder-decoder.
        writes: it is to write a text, not to say a label word.

    Raises:
        BackboneError: its configuration names no token that starts the decoder.
    """
    start = _said(backbone, "decoder_start_token_id")
    if not start:
        raise BackboneError(
            f"{backbone.name}: its config.json names no token that starts the decoder. "
            "Write decoder_start_token_id there, as it was trained."
        )
    framing = [token for token, _ in specials_of(backbone).single.runs[0]]
    return [start[0], *framing, *(() if writes else sentinel(backbone))]


def end_ids(backbone: Backbone) -> tuple[int, ...]:
    """Tokens that end a text; the first is the tokenizer's own, if it has one, and closes what is learnt.

    Raises:
        BackboneError: there is none.
    """
    own = backbone.tokenizer.eos_token_id
    listed = [*([] if own is None else [own]), *_said(backbone, "eos_token_id")]
    if not listed:
        raise BackboneError(
            f"{backbone.name} has no token that ends a text. Write eos_token in its tokenizer_config.json."
        )
    return tuple(dict.fromkeys(listed))


def _said(backbone: Backbone, name: str) -> list[int]:
    """What the model's settings for generation, or its configuration, say."""
    for place in (getattr(backbone.model, "generation_config", None), backbone.config):
        found = getattr(place, name, None)
        if found is not None:
            return [found] if isinstance(found, int) else list(found)
    return []

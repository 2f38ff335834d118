"""Soft prompts and prefixes in PEFT's format: one tensor, ``prompt_embeddings``.

    prompt   (n, embedding width)                    stands before the whole row, [CLS] too: ``soft:place=front``
    prefix   (n, layers * 2 * key width)             token by token: layer 0's keys, its values, layer 1's keys, ...

PEFT's prefix counts as tokens, so that the text's positions start at n: ``prefix:shift=true``, without which one learnt
here would answer otherwise there; and it goes in through the cache, which not every encoder has. PEFT's classifier of
an encoder reads a prompt's first token in place of [CLS], and takes no prefix: there no head goes along.
"""

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from promptlab.backbone.attention import attentions
from promptlab.backbone.backbone import Backbone
from promptlab.backbone.marks import embeddings
from promptlab.backbone.specials import specials_of
from promptlab.errors import BackboneError, SettingError
from promptlab.tuning.peft_modules import HARMLESS, refuse
from promptlab.tuning.prefix import STORED, Prefix
from promptlab.tuning.soft import Soft
from promptlab.tuning.tuning import State

log = logging.getLogger("promptlab")
_NAME, _SOFT = "prompt_embeddings", "soft.P"
_SIZES = {"num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"}
_INIT = {"prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs", "init_weights"}
_HARMLESS = HARMLESS | _SIZES | _INIT | {"encoder_hidden_size", "prefix_projection"}


def write_soft(tuning: Soft, backbone: Backbone, state: State, head: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """PEFT's settings and tensors.

    Raises:
        SettingError: the tokens stand elsewhere, or PEFT's head would read one of them.
    """
    if tuning.place != "front" and specials_of(backbone).single.runs[0]:
        raise SettingError(
            "soft tokens of PEFT stand before the whole row. Learn with soft:place=front to write them so."
        )
    if head and backbone.kind == "masked":
        raise SettingError(
            "PEFT's classifier reads the first soft token in place of [CLS], so it would answer otherwise. Write "
            "format='promptlab'."
        )
    tokens = state[_SOFT]
    config = {
        "peft_type": "PROMPT_TUNING",
        "num_virtual_tokens": len(tokens),
        "token_dim": tokens.shape[1],
        "num_layers": backbone.layers,
        "num_attention_heads": backbone.config.num_attention_heads,  # unread, but asked for
        "num_transformer_submodules": 1,
    }
    return config, {_NAME: tokens}


def read_soft(config: Mapping[str, Any], tensors: State, backbone: Backbone) -> tuple[Soft, dict[str, Tensor]]:
    """The tuning and its tensors.

    Raises:
        BackboneError: of another embedding width.
        SettingError: half of them stand in a decoder.
    """
    refuse("PROMPT_TUNING", config, _HARMLESS)
    if backbone.kind == "seq2seq" and config.get("num_transformer_submodules") != 1:
        raise SettingError(
            "PEFT learnt soft tokens for the encoder and others for the decoder, and soft tokens here stand in the "
            "encoder alone. Train it with num_transformer_submodules=1, or with soft here."
        )
    tokens = _whole(tensors, embeddings(backbone).shape[1], backbone)
    return Soft(n=len(tokens), place="front"), {_SOFT: tokens}


def write_prefix(
    tuning: Prefix, backbone: Backbone, state: State, head: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """PEFT's settings and tensors.

    Raises:
        SettingError: the prefix does not count as tokens, as PEFT's does, or PEFT cannot give it to this model.
    """
    if not tuning.shift:
        raise SettingError(
            "PEFT's prefix counts as tokens, and this one does not, so it would answer otherwise there. Learn with "
            "prefix:shift=true, or write format='promptlab'."
        )
    if not {"cache", "past_key_values"} & inspect.signature(backbone.body.forward).parameters.keys():
        raise SettingError(
            f"PEFT gives a prefix through the cache, and {backbone.name} has none. Write format='promptlab'."
        )
    if head and backbone.kind == "masked":
        raise SettingError("PEFT's classifier of an encoder takes no prefix. Write format='promptlab'.")
    _warn_of_window(state[STORED].shape[2], backbone)
    prefix, heads = state[STORED], next(iter(attentions(backbone.model).values()))
    layers, _, n, width = prefix.shape
    config = {
        "peft_type": "PREFIX_TUNING",
        "num_virtual_tokens": n,
        "token_dim": width,
        "num_layers": layers,
        "num_attention_heads": heads.count,
        "num_transformer_submodules": 1,
        "encoder_hidden_size": width,
    }
    return config, {_NAME: prefix.permute(2, 0, 1, 3).reshape(n, -1)}


def read_prefix(config: Mapping[str, Any], tensors: State, backbone: Backbone) -> tuple[Prefix, dict[str, Tensor]]:
    """The tuning and its tensors.

    Raises:
        BackboneError: of another number of layers, or of keys of another width.
    """
    refuse("PREFIX_TUNING", config, _HARMLESS)
    layers = attentions(backbone.model)
    width = next(iter(layers.values())).size
    found = _whole(tensors, len(layers) * 2 * width, backbone)
    _warn_of_window(len(found), backbone)
    prefix = found.view(len(found), len(layers), 2, width).permute(1, 2, 0, 3).contiguous()
    return Prefix(n=len(found), shift=True), {STORED: prefix}


def _warn_of_window(n: int, backbone: Backbone) -> None:
    """Here all tokens see a prefix; PEFT's lies in the cache, where those that are a window away do not."""
    config = backbone.config
    window = getattr(config, "sliding_window", None)
    sliding = any("sliding" in one for one in getattr(config, "layer_types", None) or ["sliding"])
    if window and sliding and n + backbone.max_length > window:
        log.warning(
            "PEFT's prefix counts in the window of %d tokens of %s and this one does not: rows of more than %d tokens "
            "answer otherwise there than here",
            window,
            backbone.name,
            window - n,
        )


def _whole(tensors: State, wanted: int, backbone: Backbone) -> Tensor:
    found = tensors.get(_NAME)
    if found is None or found.dim() != 2 or found.shape[1] != wanted:
        sizes = "missing" if found is None else str(list(found.shape))
        raise BackboneError(
            f"the adapter does not fit {backbone.name}: {_NAME} is {sizes}, and (n, {wanted}) is wanted. Write the "
            "backbone it learnt on."
        )
    return found

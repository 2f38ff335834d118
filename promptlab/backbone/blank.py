"""A backbone without weights: from a configuration alone, on the meta device, where tensors have shapes and no numbers.

All that hangs on shapes goes on working: the anatomy, heads, learnt tensors. What needs numbers or words does not.
"""

from copy import copy
from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from promptlab.backbone.anatomy import unroll
from promptlab.backbone.backbone import Backbone
from promptlab.backbone.catalog import locate_config, read_config
from promptlab.backbone.checkpoint import BUILDERS, configured, kind_of, quiet
from promptlab.backbone.heads import CHAINS, POOLER
from promptlab.errors import BackboneError


class Wordless:
    """Stands where a backbone has its tokenizer."""

    pad_token_id = None
    mask_token_id = None

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # copying and the like ask for what need not be there
            raise AttributeError(name)
        self()

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Never reads a text."""
        raise BackboneError("a backbone made of its config.json alone has no tokenizer. Write one that has weights.")


def blank_backbone(name: str, kind: str | None = None) -> Backbone:
    """A backbone of a configuration, in no time whatever its size.

    Args:
        name: a folder with ``config.json``, that file, ``mini``, ``smollm2``, a .gguf file, or a hub name.
        kind: ``masked``, ``causal`` or ``seq2seq``, where the configuration's own answer is not wanted.

    Raises:
        BackboneError: no such configuration, or of a model that cannot be used.
        SettingError: no such kind.
    """
    place = locate_config(name)
    raw = {} if place.gguf else read_config(place.folder, name)
    with quiet():
        config = configured(place, raw, name, trust=False)
        kind = kind_of(config, raw, name, kind)
        with torch.device("meta"):
            model = BUILDERS[kind].from_config(config)
    unroll(model.eval().requires_grad_(False))
    device, positions = torch.device("meta"), getattr(config, "max_position_embeddings", None) or 512
    made = Backbone(
        name, kind, place, model, cast(PreTrainedTokenizerFast, Wordless()), device, model.dtype, positions,
        new_head=False, fingerprint="",
    )  # fmt: skip
    if not (place.base or place.gguf or any(place.folder.glob("*.safetensors"))):
        vars(made)["pooler_weights"] = _pooler(config)
    return made


def _pooler(config: PreTrainedConfig) -> dict[str, Tensor]:
    """The pooler that classifiers of its family have; without the weights it is taken to be among them, as published.

    Returns:
        by name, empty where the family has none.
    """
    if POOLER not in CHAINS.get(config.model_type, ()):
        return {}
    shallow = copy(config)
    shallow.num_hidden_layers = 1
    with quiet(), torch.device("meta"):
        model: Any = AutoModelForSequenceClassification.from_config(shallow)
    return dict(model.base_model.pooler.named_parameters())

"""A backbone as a plain transformers checkpoint, which anything that reads those can load.

    write_language_model   the model as it answers now, with its language-model head
    write_difference       only what has changed over a base that is found elsewhere
    write_classifier       its encoder as it answers now, under the architecture's classification head

All write what the parameters hold at the moment, so a tuning that folds into the weights is applied around the call.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from promptlab.backbone import difference
from promptlab.backbone.anatomy import rolled_state, unroll
from promptlab.backbone.backbone import Backbone
from promptlab.backbone.catalog import Place
from promptlab.backbone.checkpoint import BUILDERS, quiet
from promptlab.backbone.heads import CHAINS, Head
from promptlab.errors import SettingError


def write_language_model(backbone: Backbone, folder: Path) -> None:
    """Writes model and tokenizer."""
    _write(backbone, backbone.model, rolled_state(backbone.model), folder)


def base_parameters(backbone: Backbone) -> dict[str, Tensor]:
    """The parameters of the base, as it stands on disk, by the model's names; what only the head has is not among them.

    The base of a backbone that is a difference itself is that difference's.
    """
    place = Place(backbone.place.base or backbone.place.folder)
    auto = BUILDERS[backbone.kind]
    with quiet(), torch.random.fork_rng(devices=[]):
        options = {"config": copy(backbone.config), "local_files_only": True, "dtype": torch.float32}
        model, info = auto.from_pretrained(place.folder, output_loading_info=True, **options)
    unroll(model)
    there = {name: one for name, one in model.named_parameters() if name not in info["missing_keys"]}
    return {name: one.detach().to(backbone.device) for name, one in there.items()}


def write_difference(
    backbone: Backbone, base: Mapping[str, Tensor], factors: Mapping[str, tuple[Tensor, Tensor]], folder: Path
) -> None:
    """Writes config, tokenizer and the difference of the parameters as they are now.

    Args:
        backbone: as it answers now.
        base: parameters of its base, from :func:`base_parameters`.
        factors: parts that were learnt as a product (backbone/difference.py).
        folder: is there.
    """
    config = copy(backbone.config)
    config.architectures = [type(backbone.model).__name__]
    config.save_pretrained(folder)
    with quiet():
        backbone.tokenizer.save_pretrained(folder)
    difference.write(difference.pack(backbone.model, base, factors), folder)


def write_classifier(backbone: Backbone, head: Head, labels: Sequence[str], pool: str, folder: Path) -> None:
    """Writes encoder, head and tokenizer as one model.

    Args:
        backbone: whose encoder, as it answers now.
        head: with its learnt weights.
        labels: names of the head's outputs, in order.
        pool: what the head reads.
        folder: is made.

    Raises:
        SettingError: the architecture's own head reads something else.
    """
    if backbone.kind == "seq2seq":
        raise SettingError(
            "its head reads the decoder before any text, and what transformers builds for "
            f"{backbone.config.model_type} reads it behind a copy of the row, so a plain checkpoint would answer "
            "otherwise. Save without merge."
        )
    own = _own_pools(backbone)
    if pool not in own:
        raise SettingError(
            f"its head reads pool={pool}, and what transformers builds for {backbone.config.model_type} reads "
            f"{' or '.join(own)}, so a plain checkpoint would answer otherwise. Write finetune:pool={own[0]}, or save "
            "without merge."
        )
    model = _with_head(backbone, labels, pool)
    model.to(torch.promote_types(backbone.dtype, torch.float32))  # the head is no coarser than that
    _fill(model, rolled_state(backbone.model))
    for path in CHAINS[backbone.config.model_type]:
        module = dict(head.named_children()).get(path.split(".")[-1])
        if module is not None and list(module.parameters()):
            model.get_submodule(path.replace("*", model.base_model_prefix)).load_state_dict(module.state_dict())
    _write(backbone, model, dict(model.state_dict()), folder)


def _own_pools(backbone: Backbone) -> tuple[str, ...]:
    if backbone.kind == "causal":
        return ("last",)
    return ("cls", "mean") if backbone.config.model_type == "modernbert" else ("cls",)


def _with_head(backbone: Backbone, labels: Sequence[str], pool: str) -> PreTrainedModel:
    config = copy(backbone.config)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    if config.model_type == "modernbert":
        config.classifier_pooling = pool
    if backbone.kind == "causal" and config.pad_token_id is None:
        config.pad_token_id = backbone.tokenizer.pad_token_id  # tells the last real token of a padded row
    with torch.random.fork_rng(devices=[]), quiet():
        return AutoModelForSequenceClassification.from_config(config).eval()


def _fill(model: PreTrainedModel, state: dict[str, Tensor]) -> None:
    prefix = f"{model.base_model_prefix}."
    model.load_state_dict({key: value for key, value in state.items() if key.startswith(prefix)}, strict=False)


def _write(backbone: Backbone, model: PreTrainedModel, state: dict[str, Tensor], folder: Path) -> None:
    with quiet():
        model.save_pretrained(folder, state_dict={key: value.contiguous() for key, value in state.items()})
        backbone.tokenizer.save_pretrained(folder)

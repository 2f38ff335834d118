"""A predictor as an adapter in PEFT's format (tuning/peft_format.py), where one can say what it says.

One model, no calibration, a tuning that PEFT has; under a head, one that reads what transformers' own classifier reads.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.slots import slots
from promptlab.errors import SettingError
from promptlab.methods.merge import mergeable
from promptlab.methods.method import Predictor, Saved
from promptlab.tuning.peft_format import CONFIG, WEIGHTS, export_peft, import_peft

ADAPTER = (CONFIG, WEIGHTS)
_INSTEAD = "Write format='promptlab'."


def write_adapter(predictor: Predictor, folder: Path, system: str, away: bool) -> None:
    """Writes the adapter's two files.

    Args:
        predictor: of any method.
        folder: where they go.
        system: what the predictor is called.
        away: the folder leaves this machine, whose folders then stay unsaid.

    Raises:
        SettingError: PEFT, or transformers' classifier, would answer otherwise.
    """
    model: Any = mergeable(predictor, system, "an adapter in PEFT's format", _INSTEAD)
    tuning: Any = model.tuning
    if model.pvp is not None and tuning.name == "soft" and slots(model.pvp.pattern, model.backbone):
        raise SettingError(
            f"the soft tokens of pattern '{model.pvp.name}' stand in slots, and PEFT's stand before the whole row. "
            f"{_INSTEAD} Or learn with a pattern without slots and soft:place=front."
        )
    if model.pvp is None and model.backbone.kind == "seq2seq":
        raise SettingError(
            f"{system}: its head reads the decoder before any text, and transformers' classifier reads it behind a "
            f"copy of the row. {_INSTEAD}"
        )
    own = _own_pool(model.backbone)
    if model.pvp is None and model.pool != own:
        raise SettingError(
            f"{system}: its head reads pool={model.pool}, and transformers' classifier reads {own}. Write "
            f"finetune:pool={own}, or format='promptlab'."
        )
    export_peft(folder, model.backbone, tuning, model.state, away)


def read_adapter(folder: Path, backbone: Backbone, kind: str, config: Mapping[str, Any]) -> Saved:
    """What :func:`write_adapter` wrote, as it would have been saved in the other format.

    Args:
        folder: with the two files.
        backbone: known to be the right one, or allowed.
        kind: of the predictor that was saved.
        config: its settings.
    """
    while "members" in config:  # an ensemble of one
        kind, config = config["members"][0]["kind"], config["members"][0]["config"]
    tuning, state = import_peft(folder, backbone, allow_other_backbone=True)
    written: Any = tuning
    found = {"name": tuning.name, "settings": asdict(written)}
    tensors = {
        name: one.float().cpu().numpy() if one.dtype is torch.bfloat16 else one.cpu().numpy()
        for name, one in state.items()
    }
    return Saved(kind, {**config, "tuning": found}, tensors)


def _own_pool(backbone: Backbone) -> str:
    if backbone.kind == "causal":
        return "last"
    return str(getattr(backbone.config, "classifier_pooling", "cls"))

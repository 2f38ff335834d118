"""How many weights a tuning learns and keeps: exact, from a backbone's configuration alone, by the code that trains.

    stored      what is kept of a trained member, merged or ejected      (LoRA's A and B, a prefix without its MLP)
    training    what the optimiser holds meanwhile                       (all experts, the MLP)
    head        the new classification head, in neither of them
    backbone    its own weights, of which a pretrained pooler is one where its classifiers read through it

The model stands on the meta device, so nothing is loaded and no number computed.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.blank import blank_backbone
from promptlab.backbone.device import generator
from promptlab.backbone.heads import head_for
from promptlab.errors import SettingError, did_you_mean
from promptlab.registry import TUNINGS
from promptlab.spec import Spec, parse_spec, split_list
from promptlab.tuning.tuning import Tuning
from promptlab.tuning.words import Words

HEADS = ("classification", "cloze")
LABELS = 2


@dataclass(frozen=True)
class Counts:
    """Weights under one tuning.

    Args:
        backbone: as the user wrote it.
        tuning: as the user wrote it.
        stored: kept of a member, its head not counted.
        training: learnt while it trains, its head not counted.
        head: of a new classification head; 0 under a cloze.
        backbone_parameters: of the backbone, whether they learn or not; tied ones once.
    """

    backbone: str
    tuning: str
    stored: int
    training: int
    head: int
    backbone_parameters: int

    @property
    def share(self) -> float:
        """What is stored, as a fraction of the backbone."""
        return self.stored / self.backbone_parameters

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def params_report(
    backbone: str | Backbone, tunings: Sequence[str], head: str = "classification", labels: int = LABELS
) -> list[Counts]:
    """Counts for every tuning, in order.

    Args:
        backbone: a folder with ``config.json``, that file, ``mini``, ``smollm2``, a .gguf file, or a hub name; or one
            that is there already.
        tunings: as ``lora:r=8``; an item may hold several, parted by commas, or a sweep (``lora:r=4|8``).
        head: ``classification``, or ``cloze`` for the language model's own.
        labels: of the classification head.

    Raises:
        BackboneError: no such configuration, or the backbone does not take the tuning.
        SettingError: an unknown tuning, setting or head.
    """
    if head not in HEADS:
        raise SettingError(f"head={head}: no such head.{did_you_mean(head, HEADS)} Write {' or '.join(HEADS)}.")
    if labels < 1:
        raise SettingError(f"labels={labels}: a head has one label at least. Write 2 or more.")
    specs = [one for text in tunings for item in split_list(text) for one in parse_spec(item).swept()]
    built = [(spec, TUNINGS.build(spec.name, spec.settings)) for spec in specs]
    blank = blank_backbone(backbone) if isinstance(backbone, str) else backbone
    return [_counted(blank, spec, tuning, labels if head == "classification" else 0) for spec, tuning in built]


def _counted(backbone: Backbone, spec: Spec, tuning: Tuning, labels: int) -> Counts:
    stored, training = _inside(backbone, tuning, cloze=not labels)
    whole, head = sum(one.numel() for one in (backbone.body if labels else backbone.model).parameters()), 0
    if labels:
        shape = head_for(backbone, labels)
        pooler = {name: one.numel() for name, one in shape.given.items() if name.startswith("pooler.")}
        learnt = sum(size for name, size in pooler.items() if _learns(tuning.pooler, name))
        stored, training, whole = stored + learnt, training + learnt, whole + sum(pooler.values())
        head = shape.parameters - sum(pooler.values())
    return Counts(backbone.name, str(spec), stored, training, head, whole)


def _inside(backbone: Backbone, tuning: Tuning, cloze: bool) -> tuple[int, int]:
    if isinstance(tuning, Words):  # what it learns is text
        return 0, 0
    with tuning.learn(backbone, cloze, [generator("params")]) as learnt:
        training = sum(one.numel() for one in learnt.tensors.values())
        return sum(one.numel() for one in learnt.state(0).values()), training


def _learns(pooler: str, name: str) -> bool:
    return pooler == "all" or (pooler == "bias" and name.endswith("bias"))

"""Classification heads: the architecture's own, fed with one pooled vector a row.

head_for(backbone, labels).draw(generator) -> Head        Head(pooled (rows, width)) -> (rows, labels)
pool(hidden, attention_mask, how) -> (rows, width)        how: cls, mean, last

The modules are those that AutoModelForSequenceClassification puts above the body; what it would read from the
checkpoint (BERT's and ALBERT's pooler, ModernBERT's dense layer and norm) is copied, the rest newly drawn. The head of
an encoder-decoder reads its decoder, which has read what stands before any text and attends to the whole row (after
Liu et al. 2021, arXiv:2110.08426).
"""

from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedConfig

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.checkpoint import quiet
from promptlab.errors import BackboneError, SettingError, did_you_mean

_POOLED = ("T5ClassificationHead", "BartClassificationHead")  # these are given the vector that was picked
POOLS = ("cls", "mean", "last")
POOLER, _RELU = "*.pooler", "relu"  # ``*`` stands for the body's own name
_BERT = (POOLER, "dropout", "classifier")
_ROBERTA = ("classifier",)
_LLAMA = ("score",)
CHAINS: dict[str, tuple[str, ...]] = {
    "bert": _BERT,
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert", "electra"), _ROBERTA),
    "distilbert": ("pre_classifier", _RELU, "dropout", "classifier"),
    "albert": (POOLER, "*.pooler_activation", "dropout", "classifier"),
    "modernbert": ("head", "drop", "classifier"),
    "deberta-v2": ("pooler", "dropout", "classifier"),
    **dict.fromkeys(("t5", "bart"), ("classification_head",)),
    **dict.fromkeys(("gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3", "gpt_neox", "opt", "phi"), _LLAMA),
}


class Head(nn.Module):
    """The modules of one head, applied in turn; ``pooler`` among them where the architecture has one.

    Args:
        steps: name and module.
        lifted: names of those that pick the first token of ``(rows, tokens, width)`` themselves.
    """

    def __init__(self, steps: Mapping[str, nn.Module], lifted: frozenset[str]):
        super().__init__()
        self.lifted = lifted
        for name, module in steps.items():
            self.add_module(name, module)

    def forward(self, pooled: Tensor) -> Tensor:
        """Unnormalised label scores, ``(rows, labels)``, of pooled vectors, ``(rows, width)``."""
        x = pooled
        for name, module in self.named_children():
            x = module(x.unsqueeze(1)) if name in self.lifted else module(x)
        return x


@dataclass(frozen=True)
class HeadShape:
    """A head before its weights are drawn, so that each member of a stack draws its own.

    Args:
        labels: how many.
        pool: how the hidden states of a row become one vector.
        std: of the newly drawn matrices.
        blank: the head on the meta device.
        given: weights that come from the checkpoint, by name.
    """

    labels: int
    pool: str
    std: float
    blank: Head
    given: Mapping[str, Tensor]

    @property
    def parameters(self) -> int:
        """How many weights, those from the checkpoint counted."""
        return sum(weight.numel() for weight in self.blank.parameters())

    def draw(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Head:
        """A head on the CPU, in evaluation mode: matrices from the generator, biases 0, norms 1, ``given`` copied."""
        head = deepcopy(self.blank).to_empty(device="cpu").eval()
        with torch.no_grad():
            for name, weight in head.named_parameters():
                weight.copy_(self._value(name, weight, generator))
        return head.to(dtype)

    def _value(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        if name in self.given:
            return self.given[name]
        if weight.dim() > 1:
            return self.std * torch.randn(weight.shape, generator=generator)
        return torch.ones(weight.shape) if name.endswith("weight") else torch.zeros(weight.shape)


def head_for(backbone: Backbone, labels: int, how: str | None = None) -> HeadShape:
    """The head that the backbone's architecture puts on ``labels`` labels.

    A pooler is left out where the checkpoint has none and rows are not pooled at the first token: it would be one more
    random layer before the classifier.

    Args:
        backbone: whose architecture, and whose pooler where it holds one.
        labels: at least one.
        how: ``cls``, ``mean``, ``last``; :func:`default_pool` where None.

    Raises:
        BackboneError: of a family whose head is not known here.
        SettingError: no such pooling.
    """
    how = _how(how) if how else default_pool(backbone)
    if backbone.kind == "seq2seq" and how != "last":
        raise SettingError(
            f"pool={how}: the head of {backbone.name} reads its decoder, where nothing but the last token has seen the "
            "row. Write pool=last."
        )
    chain = _chain(backbone.config.model_type)
    if how != "cls" and not backbone.has_pooler_weights:
        chain = tuple(step for step in chain if not step.startswith("*."))
    blank = _blank(backbone.config, chain, labels)
    names = {name for name, _ in blank.named_parameters()}
    given = {name: weight for name, weight in _from_checkpoint(backbone).items() if name in names}
    return HeadShape(labels, how, _spread(backbone.config), blank, given)


def head_paths(backbone: Backbone) -> dict[str, str]:
    """Where AutoModelForSequenceClassification keeps each part of the head, by the part's name here.

    Raises:
        BackboneError: of a family whose head is not known here.
    """
    stem = str(backbone.model.base_model_prefix)
    chain = [path.replace("*", stem) for path in _chain(backbone.config.model_type) if path != _RELU]
    return {path.split(".")[-1]: path for path in chain}


def default_pool(backbone: Backbone) -> str:
    """``last`` unless masked; ``mean`` where the head wants a pooler that the checkpoint lacks; else ``cls``."""
    if backbone.kind != "masked":
        return "last"
    wants = POOLER in CHAINS.get(backbone.config.model_type, ())
    return "mean" if wants and not backbone.has_pooler_weights else "cls"


def pool(hidden: Tensor, attention_mask: Tensor, how: str) -> Tensor:
    """One vector a row, ``(rows, width)``.

    Args:
        hidden: ``(rows, tokens, width)``.
        attention_mask: ``(rows, tokens)``, 1 at real tokens, on either side of the padding.
        how: ``cls`` the first real token; ``last`` the last; ``mean`` over all.

    Raises:
        SettingError: no such pooling.
    """
    if _how(how) == "mean":
        weights = attention_mask.unsqueeze(-1).float()  # low-precision states are summed in float32
        return ((hidden * weights).sum(1) / weights.sum(1).clamp(min=1)).to(hidden.dtype)
    places = torch.arange(1, hidden.shape[1] + 1, device=hidden.device) * attention_mask
    chosen = places.argmax(1) if how == "last" else (places > 0).int().argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), chosen]


def _spread(config: PreTrainedConfig) -> float:
    named: float = getattr(config, "init_std", 0.02)  # OPT's
    return getattr(config, "initializer_range", named)


def _how(how: str) -> str:
    if how not in POOLS:
        raise SettingError(f"pool={how}: no such pooling.{did_you_mean(how, POOLS)} Write cls, mean or last.")
    return how


def _chain(family: str) -> tuple[str, ...]:
    if family not in CHAINS:
        guess = did_you_mean(family, CHAINS)
        raise BackboneError(
            f"the classification head of a '{family}' model is not known here.{guess} "
            f"Known families: {', '.join(CHAINS)}."
        )
    return CHAINS[family]


def _blank(config: PreTrainedConfig, chain: Sequence[str], labels: int) -> Head:
    wanted = copy(config)
    wanted.num_labels = labels
    with torch.device("meta"), quiet():
        model = AutoModelForSequenceClassification.from_config(wanted)
    steps = {path.split(".")[-1]: _module(model, path) for path in chain}
    return Head(steps, frozenset(name for name, module in steps.items() if _picks_first(module)))


def _module(model: nn.Module, path: str) -> nn.Module:
    if path == _RELU:
        return nn.ReLU()
    return model.get_submodule(path.replace("*", str(model.base_model_prefix)))


def _picks_first(module: nn.Module) -> bool:
    name = type(module).__name__
    return name.endswith(("Pooler", "ClassificationHead")) and name not in _POOLED


def _from_checkpoint(backbone: Backbone) -> dict[str, Tensor]:
    found = {f"pooler.{name}": weight for name, weight in backbone.pooler_weights.items()}
    if backbone.config.model_type == "modernbert":  # its classifier shares this part, by name, with its language model
        own = backbone.model.head.state_dict()
        found |= {f"head.{name}": weight if weight.is_meta else weight.cpu() for name, weight in own.items()}
    return found

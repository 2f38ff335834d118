"""What learns in language-model training: all weights, or low-rank differences and the small weights beside them.

    full    every parameter
    lora    A B beside every chosen matrix of the blocks and beside the word embeddings, whose difference reaches a
            tied output too; norms, biases and the language-model head learn as they are

A model that does more with its word embeddings than a difference beside them can follow is refused for lora.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from promptlab.backbone.backbone import Backbone
from promptlab.errors import SettingError
from promptlab.training.optim import Group
from promptlab.tuning.full import Full
from promptlab.tuning.inject import drawn, learning, swapped
from promptlab.tuning.lora import Lora
from promptlab.tuning.tuning import by_width

_EMBEDDINGS = "word embeddings"


class Learner(Protocol):
    """Trains a backbone in place and says how it has changed."""

    def learning(self, backbone: Backbone, generator: torch.Generator) -> AbstractContextManager[dict[str, Tensor]]:
        """Inside the block the named tensors learn; afterwards the backbone is as before."""

    def holding(self, backbone: Backbone, state: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Inside the block the backbone's parameters are the trained ones."""

    def factors(self, backbone: Backbone, state: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """What was learnt as a product: ``U (rows, r)`` and ``V (r, columns)`` by ``parameter@row,column``."""

    def groups(self, backbone: Backbone, tensors: Mapping[str, Tensor]) -> list[Group]:
        """The tensors for the optimiser."""


def learner_of(tuning: Any) -> Learner:
    """The learner of a tuning.

    Raises:
        SettingError: another tuning than ``full`` and ``lora``, or dropout, whose stream no checkpoint keeps.
    """
    if tuning.dropout:
        raise SettingError(f"dropout={tuning.dropout}: a corpus is trained on without. Leave dropout out.")
    if isinstance(tuning, Full):
        return Whole(tuning)
    if isinstance(tuning, Lora):
        return LowRankModel(tuning)
    raise SettingError(f"a language model is adapted with full or lora, not with {tuning.name}. Write -t full.")


@dataclass(frozen=True)
class Whole:
    """Every weight."""

    tuning: Full

    @contextmanager
    def learning(self, backbone: Backbone, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        """Copies of the parameters stand in the backbone."""
        with self.tuning.learn(backbone, True, [generator]) as inside:
            yield inside.tensors

    def holding(self, backbone: Backbone, state: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Swaps the parameters."""
        return self.tuning.applied(backbone, state)

    def factors(self, backbone: Backbone, state: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """None."""
        return {}

    def groups(self, backbone: Backbone, tensors: Mapping[str, Tensor]) -> list[Group]:
        """1e-4 at width 1024 where the tuning names no rate: a corpus is no handful of rows."""
        rate = self.tuning.lr if self.tuning.lr is not None else by_width(1e-4, backbone)
        return whole_groups(tensors, rate, self.tuning.weight_decay)


@dataclass(frozen=True)
class LowRankModel:
    """Low-rank differences of matrices, and small weights whole."""

    tuning: Lora

    @contextmanager
    def learning(self, backbone: Backbone, generator: torch.Generator) -> Iterator[dict[str, Tensor]]:
        """Hooks beside the matrices; copies of the small weights stand in the backbone.

        Raises:
            SettingError: blocks that share one weight (ALBERT), into which no block's own difference can be folded, or
                word embeddings that are read in a way of the model's own.
        """
        if any(projection.shared for projection in self.tuning.projections(backbone)):
            raise SettingError(f"{backbone.name} shares weights between blocks, so lora cannot fold in. Write -t full.")
        small = _small(backbone)
        with ExitStack() as stack:
            blocks = stack.enter_context(self.tuning.learn(backbone, True, [generator])).tensors
            stack.enter_context(swapped(small, {name: one.data.clone() for name, one in small.items()}))
            stack.enter_context(learning(small))
            table = self._table(backbone, generator)
            self._check(backbone, table)
            stack.enter_context(_beside_embeddings(backbone, table, self._scale))
            yield {**blocks, **table, **small}

    def holding(self, backbone: Backbone, state: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Folds the products into the matrices and swaps the small weights."""
        own = dict(backbone.model.named_parameters())
        flat = {name: one[0] for name, one in state.items() if name not in own}
        whole = self.tuning.merged(backbone, flat)
        name = _name(backbone.model.get_input_embeddings().weight, own)
        down, up = (flat[f"{_EMBEDDINGS}.{part}"] for part in "AB")
        whole[name] = own[name].detach() + self._scale * (down @ up).to(own[name])
        return swapped(own, {**whole, **{name: one for name, one in state.items() if name in own}})

    def factors(self, backbone: Backbone, state: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """A and B the way round that the parameter has, the scale in both evenly."""
        own, root = dict(backbone.model.named_parameters()), self._scale**0.5
        name = _name(backbone.model.get_input_embeddings().weight, own)
        found = {name: (root * state[f"{_EMBEDDINGS}.A"][0], root * state[f"{_EMBEDDINGS}.B"][0])}
        for projection in self.tuning.projections(backbone):
            down, up = (root * state[f"{projection.name}.{part}"][0] for part in "AB")
            where = projection.name.partition("[")[0] + ".weight"
            if projection.transposed:
                found[f"{where}@0,{projection.start}"] = (down, up)
            elif projection.groups == 1:
                found[f"{where}@{projection.start},0"] = (up.T, down.T)
            else:  # its rows lie apart: a product over all of the module's, zero at the others
                found[f"{where}@0,0"] = _sum(found.get(f"{where}@0,0"), (projection.spread(up).T, down.T))
        return found

    def groups(self, backbone: Backbone, tensors: Mapping[str, Tensor]) -> list[Group]:
        """All at the tuning's rate."""
        return whole_groups(tensors, self.tuning.rate(backbone, True), self.tuning.weight_decay)

    def _check(self, backbone: Backbone, table: Mapping[str, Tensor]) -> None:
        """What learns beside the table must answer as what is folded into it, whatever else the model reads there.

        Raises:
            SettingError: it does not.
        """
        embeddings = backbone.model.get_input_embeddings()
        weight, own = embeddings.weight, dict(backbone.model.named_parameters())
        up = table[f"{_EMBEDDINGS}.B"].detach()
        noise = torch.randn(len(weight), up.shape[1], generator=torch.Generator().manual_seed(0))
        down = noise.to(up)[None] * weight.std() / (self._scale * up.square().sum(1).mean().sqrt())
        folded = weight + (self._scale * down[0] @ up[0]).to(weight)
        with torch.no_grad():
            plain = _few_logits(backbone)
            with _beside_embeddings(backbone, {f"{_EMBEDDINGS}.A": down, f"{_EMBEDDINGS}.B": up}, self._scale):
                beside = _few_logits(backbone)
            with swapped(own, {_name(weight, own): folded}):
                together = _few_logits(backbone)
        if (beside - together).norm() > 0.1 * (together - plain).norm():
            raise SettingError(
                f"{backbone.name} reads its word embeddings in a way that a difference beside them does not follow. "
                "Write -t full."
            )

    @property
    def _scale(self) -> float:
        return self.tuning.alpha / self.tuning.r

    def _table(self, backbone: Backbone, generator: torch.Generator) -> dict[str, Tensor]:
        """The difference of the word embeddings, A at zero."""
        weight = backbone.model.get_input_embeddings().weight
        down = weight.new_zeros(1, weight.shape[0], self.tuning.r).requires_grad_(True)
        up = drawn((self.tuning.r, weight.shape[1]), [generator], 1 / weight.shape[1] ** 0.5, weight)
        return {f"{_EMBEDDINGS}.A": down, f"{_EMBEDDINGS}.B": up}


def whole_groups(tensors: Mapping[str, Tensor], rate: float, decay: float) -> list[Group]:
    """A stack of one; vectors have no weight decay."""
    lr, weight_decay = torch.tensor([rate], dtype=torch.float64), torch.tensor([decay], dtype=torch.float64)
    matrices = [one for one in tensors.values() if one.dim() >= 2]
    vectors = [one for one in tensors.values() if one.dim() < 2]
    return [Group(matrices, lr, weight_decay, False), Group(vectors, lr, torch.zeros_like(weight_decay), False)]


def _small(backbone: Backbone) -> dict[str, nn.Parameter]:
    """Norms, biases, and the head's own weights; not the embeddings, which a head may share."""
    body = {id(one) for one in backbone.body.parameters()}
    return {name: one for name, one in backbone.model.named_parameters() if one.dim() < 2 or id(one) not in body}


@contextmanager
def _beside_embeddings(backbone: Backbone, table: Mapping[str, Tensor], scale: float) -> Iterator[None]:
    down, up = (table[f"{_EMBEDDINGS}.{part}"] for part in "AB")
    embeddings, output = backbone.model.get_input_embeddings(), backbone.model.get_output_embeddings()
    own = getattr(embeddings, "embed_scale", 1.0)  # Gemma multiplies what it reads there

    def read(module: nn.Module, inputs: tuple[Tensor, ...], vectors: Tensor) -> Tensor:
        return vectors + own * scale * nn.functional.embedding(inputs[0], down[0]) @ up[0]

    def write(module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        return logits + scale * (inputs[0] @ up[0].T) @ down[0].T

    handles = [embeddings.register_forward_hook(read)]
    if output.weight is embeddings.weight:
        handles.append(output.register_forward_hook(write))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _few_logits(backbone: Backbone) -> Tensor:
    ids = torch.arange(4, device=backbone.device)[None]
    logits: Tensor = backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits.float()


def _sum(one: tuple[Tensor, Tensor] | None, other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """``U V + A B`` as one product, ``[U A] [V; B]``."""
    if one is None:
        return other
    return torch.cat([one[0], other[0]], dim=1), torch.cat([one[1], other[1]], dim=0)


def _name(weight: Tensor, own: Mapping[str, Tensor]) -> str:
    return next(name for name, one in own.items() if one is weight)

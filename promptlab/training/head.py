"""Classification heads of a stack: the architecture's own module, one a member, run side by side.

The members' parameters stand in tensors ``(members, ...)`` and ``vmap`` runs the module over them, so any head works.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from promptlab.backbone.heads import HeadShape


class HeadStack:
    """Heads of all members.

    Args:
        shape: of each head.
        generators: one a member; its head is drawn from it.
        pooler: what of a pooler that came with the weights learns: ``none``, ``bias`` or ``all``.
        like: a tensor whose device and precision the heads take (never less than float32).
    """

    def __init__(self, shape: HeadShape, generators: Sequence[torch.Generator], pooler: str, like: Tensor):
        self.dtype = torch.promote_types(like.dtype, torch.float32)
        heads = [shape.draw(one, self.dtype).to(like.device) for one in generators]
        self.module = heads[0]
        named = [dict(head.named_parameters()) for head in heads]
        self.parameters = {name: torch.stack([one[name].detach() for one in named]) for name in named[0]}
        for name, tensor in self.parameters.items():
            kept = name in shape.given and name.startswith("pooler.")
            tensor.requires_grad_(not kept or pooler == "all" or (pooler == "bias" and name.endswith("bias")))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The leaves that learn, ``(members, ...)``."""
        return {f"head.{name}": one for name, one in self.parameters.items() if one.requires_grad}

    def __call__(self, pooled: Tensor) -> Tensor:
        """Label scores ``(members * batch, labels)`` of pooled rows ``(members * batch, width)``, member-major."""
        members = len(next(iter(self.parameters.values())))
        rows = pooled.to(self.dtype).view(members, -1, pooled.shape[-1])
        run = vmap(lambda parameters, one: functional_call(self.module, parameters, (one,)), randomness="different")
        scores: Tensor = run(self.parameters, rows)
        return scores.flatten(0, 1)

    def state(self, member: int) -> dict[str, Tensor]:
        """What one member's head has learnt."""
        return {name: tensor[member].detach().clone() for name, tensor in self.tensors.items()}

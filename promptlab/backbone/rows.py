"""Rows seen as a whole: which of a batch's tokens are real, for learnt parts that average over a row.

    a hook on the model and on its body keeps the attention mask of the forward that runs
    in any module:  real.of(x) -> 1 for a real token, 0 for padding     x (rows, tokens, width)
    meanwhile nothing reads a row in parts: no last block of the slots alone (score.py), no beginning that rows share
    (cache.py)

A block that is computed again for its gradients still finds the mask there.
"""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

from torch import Tensor, nn

from promptlab.backbone.backbone import Backbone
from promptlab.errors import BackboneError

_WHOLE: "WeakSet[nn.Module]" = WeakSet()


class Real:
    """The real tokens of the forward that runs."""

    mask: Tensor | None = None

    def of(self, states: Tensor) -> Tensor:
        """1 for a real token, 0 for padding, ``(rows, tokens)``.

        Args:
            states: what a module is given, ``(rows, tokens, width)``.

        Raises:
            BackboneError: the module is not given all tokens of every row.
        """
        if self.mask is None:
            return states.new_ones(states.shape[:2])
        if self.mask.shape != states.shape[:2]:
            given, wanted = (" x ".join(map(str, shape)) for shape in (states.shape[:-1], self.mask.shape))
            raise BackboneError(
                f"a learnt part that averages over rows was given states of {given} tokens where the batch has "
                f"{wanted}, so it cannot tell real ones from padding. Write another tuning, as lora."
            )
        return self.mask.to(states.dtype)

    def look(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keeps the mask that the module is called with."""
        given = {**inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments, **kwargs}
        self.mask = given.get("attention_mask")


@contextmanager
def whole_rows(backbone: Backbone) -> Iterator[Real]:
    """Inside the block every row is read as a whole, and what is yielded tells its real tokens.

    Raises:
        BackboneError: an encoder-decoder.
    """
    if backbone.kind == "seq2seq":
        raise BackboneError(
            f"a learnt part that averages over rows cannot stand in {backbone.name}, whose decoder reads two rows at a "
            "time, its own and the encoder's. Write another tuning, as lora."
        )
    real, model = Real(), backbone.model
    outer = model in _WHOLE
    with ExitStack() as stack:
        for module in {model: 0, backbone.body: 0}:  # OPT's head reads a part of the body, and never calls the body
            stack.callback(module.register_forward_pre_hook(real.look, with_kwargs=True).remove)
        _WHOLE.add(model)
        try:
            yield real
        finally:
            if not outer:
                _WHOLE.discard(model)


def reads_whole(backbone: Backbone) -> bool:
    """Whether rows must be read as a whole."""
    return backbone.model in _WHOLE

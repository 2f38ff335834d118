"""Rows seen as a whole: which of a batch's tokens are real, for learnt parts that average over a row.

    a hook on the model and on its body keeps the attention mask of the forward that runs, and the shape of its rows
    in any module:  real.of(x) -> 1 for a real token, 0 for padding     x (rows, tokens, width)
                    real.rows(x) -> x, parted into rows again           x (rows * tokens, width), as in OPT
    meanwhile nothing reads a row in parts: no last block of the slots alone (score.py), no beginning that rows share
    (cache.py)

A block that is computed again for its gradients still finds the mask there.
"""

import inspect
import math
from collections.abc import Iterator, Sequence
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
    shape: tuple[int, ...] = ()
    """Rows and tokens of what the model reads."""

    def rows(self, states: Tensor) -> Tensor:
        """``(rows, tokens, width)`` of states shaped like this, or of all rows' tokens in one run (OPT's feed-forward).

        Raises:
            BackboneError: the module is not given all tokens of every row.
        """
        if states.dim() > 2:
            return states
        if not self.shape or math.prod(self.shape) != len(states):
            raise _partial(states, self.shape)
        return states.unflatten(0, self.shape)

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
            raise _partial(states, self.mask.shape)
        return self.mask.to(states.dtype)

    def look(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keeps the mask that the module is called with, and how many tokens of how many rows."""
        given = {**inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments, **kwargs}
        self.mask = given.get("attention_mask")
        read = [one for name in ("input_ids", "inputs_embeds") if (one := given.get(name)) is not None]
        self.shape = tuple(read[0].shape[:2]) if read else ()


def _partial(states: Tensor, shape: Sequence[int]) -> BackboneError:
    given, wanted = (" x ".join(map(str, one)) for one in (states.shape[:-1], shape))
    return BackboneError(
        f"a learnt part that averages over rows was given states of {given} tokens where the batch has {wanted}, so it "
        "cannot tell real ones from padding. Write another tuning, as lora."
    )


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

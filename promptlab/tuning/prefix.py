"""Prefix tuning: learnt keys and values before those of every layer (Li & Liang 2021, arXiv:2101.00190, section 4.2).

    P (layers, 2, n, key width)                     what is learnt and stored
    attention(q, k, v) in layer l  ->  attention(q, [P_l,keys; k], [P_l,values; v])
    mid = 0:  P itself trains
    mid > 0:  P = P_0 + MLP(E),  MLP(E) = tanh(E A + a) B + b,   E (n, width), or (n, embed)      section 4.3
        one MLP makes every layer's, also of an encoder-decoder's three attentions (the paper's code for BART has three)
        E, A, a, B, b train; one pass through the MLP a step, whatever the batch; in the end P is kept and they are not
    P_0 = 0 for init=random; else what the layers compute for real words, or a stored P, and B = b = 0: P starts there

The start differs from the plain backbone: a softmax over more keys gives each less.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from promptlab.backbone.attention import Before, Heads, Pair, activations, attentions, for_rows, preceded
from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.backbone.identity import check_base
from promptlab.backbone.stacks import apart
from promptlab.errors import BackboneError, SettingError
from promptlab.tuning.inject import drawn
from promptlab.tuning.tuning import State, Usual, by_width

STORED = "prefix"
"""The name of P in a state."""
_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Prefix(Usual):
    """Keys and values that every token of every layer sees before the text's own.

    Args:
        n: how many.
        mid: hidden units of the MLP that makes them while they train (512 in the paper); 0 trains them directly.
        embed: width of the MLP's input; by default the backbone's.
        init: ``words`` starts from the activations of real words, ``random`` from noise.
        text: those words, repeated until they are ``n`` tokens; by default each member draws ``n`` tokens.
        start: a saved model's folder or ``.safetensors`` file, whose P training goes on from.
        shift: the prefix counts as tokens, so that the text's positions start at ``n``, as PEFT has it; in both halves
            of an encoder-decoder, where PEFT's stands in the decoder alone.
        lr: step size.
        weight_decay: decoupled; on what trains.
        dropout: rate in the backbone while training.
    """

    name: ClassVar[str] = "prefix"
    stackable: ClassVar[bool] = True
    n: int = 10
    mid: int = 0
    embed: int | None = None
    init: Literal["words", "random"] = "words"
    text: str | None = None
    start: str | None = None
    shift: bool = False
    lr: float | None = None
    weight_decay: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embed is not None and not self.mid:
            raise SettingError(f"prefix: embed={self.embed} is read by an MLP, and there is none. Write mid=512, say.")
        if self.text is not None and (self.start is not None or self.init == "random"):
            other = "init=random" if self.start is None else "start="
            raise SettingError(f"prefix: text= and {other} are two beginnings. Write one of them.")

    @contextmanager
    def learn(
        self, backbone: Backbone, cloze: bool, generators: Sequence[torch.Generator]
    ) -> Iterator["Directly | Through"]:
        """P, or what makes it, for every member.

        Raises:
            SettingError: more columns than the backbone reads tokens, or a beginning of another shape.
            BackboneError: the backbone's attention cannot be given keys and values, or a beginning learnt on another.
        """
        learnt = self.started(backbone, generators)
        with self.standing(backbone, learnt):
            yield learnt

    @contextmanager
    def applied(self, backbone: Backbone, state: State) -> Iterator[None]:
        """P stands before the keys and values of every layer.

        Raises:
            SettingError: P is of another backbone's shape.
        """
        with self.standing(backbone, self.kept(backbone, state)):
            yield

    def started(self, backbone: Backbone, generators: Sequence[torch.Generator]) -> "Directly | Through":
        """P, or what makes it, before the first step; raises as :meth:`learn` does."""
        begun = self._begun(backbone, self._layers(backbone), generators)
        return self._through(backbone, begun, generators) if self.mid else Directly(begun.requires_grad_(True))

    def kept(self, backbone: Backbone, state: State) -> "Directly":
        """P as it was stored; raises as :meth:`applied` does."""
        stored = self._fitting(state[STORED], backbone, self._layers(backbone))
        return Directly(stored[None].to(backbone.device))

    @contextmanager
    def standing(
        self,
        backbone: Backbone,
        prefix: "Directly",
        seen: Callable[[str, Before], Before] = lambda path, before: before,
    ) -> Iterator[None]:
        """P stands before the keys and values of every layer.

        Args:
            backbone: the one it was made for.
            prefix: P.
            seen: what an attention module, by its path, sees of it; by default all, as it is.
        """
        layers = self._layers(backbone).items()
        given = {path: seen(path, partial(prefix.before, layer, heads)) for layer, (path, heads) in enumerate(layers)}
        handle = backbone.entry.register_forward_pre_hook(lambda module, inputs: prefix.compute())
        try:
            with preceded(backbone.model, given, self.n if self.shift else 0):
                yield
        finally:
            handle.remove()

    def reading(self, encoder: Encoder) -> Encoder:
        """With room for the prefix where it counts as tokens."""
        if not self.shift or encoder.taken:  # it is asked again wherever a predictor is copied
            return encoder
        shorter = copy(encoder)
        shorter.taken = self.n
        return shorter

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """1e-3 at width 1024 through an MLP, 1e-2 at any width without."""
        if self.lr is not None:
            return self.lr
        return by_width(1e-3, backbone) if self.mid else 1e-2

    def _layers(self, backbone: Backbone) -> dict[str, Heads]:
        room = backbone.max_length - 1
        if self.n > room:
            raise SettingError(
                f"prefix: n={self.n}, but {backbone.name} reads {backbone.max_length} tokens. Write n from 1 to {room}."
            )
        layers = attentions(backbone.model)
        if len({heads.size for heads in layers.values()}) > 1:
            raise BackboneError(
                f"the layers of {backbone.name} have keys of several widths, and a prefix has one. Write lora."
            )
        return layers

    def _begun(self, backbone: Backbone, layers: dict[str, Heads], generators: Sequence[torch.Generator]) -> Tensor:
        """P at the start (and P_0 under an MLP), ``(members, layers, 2, n, key width)``."""
        size = next(iter(layers.values())).size
        if self.start is not None:
            stored = self._fitting(_stored(self.start, backbone), backbone, layers)
            begun = stored.expand(len(generators), -1, -1, -1, -1)
        elif self.init == "words":
            begun = torch.stack([activations(backbone.model, self._words(backbone, one)) for one in generators])
        else:
            noise = drawn((len(layers), 2, self.n, size), list(generators), 0.5, backbone.no_states).detach()
            begun = noise * 0 if self.mid else noise
        return begun.to(device=backbone.device, dtype=backbone.dtype, copy=True)

    def _words(self, backbone: Backbone, generator: torch.Generator) -> Tensor:
        """``n`` token ids."""
        if backbone.device.type == "meta":  # a model made of its config has shapes, whatever the words
            return torch.zeros(self.n, dtype=torch.long, device="meta")
        if self.text is None:
            special = set(backbone.tokenizer.all_special_ids)
            plain = [one for one in range(min(backbone.vocab, len(backbone.tokenizer))) if one not in special]
            chosen = torch.randint(len(plain), (self.n,), generator=generator)
            return torch.tensor(plain, device=backbone.device)[chosen.to(backbone.device)]
        ids = backbone.tokenizer(self.text, add_special_tokens=False)["input_ids"]
        if not 0 < len(ids) <= self.n:
            raise SettingError(
                f"prefix: text='{self.text}' is {len(ids)} tokens, and n={self.n}. "
                + (f"Write n={len(ids)}, or less text." if ids else "Write some words.")
            )
        return torch.tensor((ids * self.n)[: self.n], device=backbone.device)

    def _fitting(self, stored: Tensor, backbone: Backbone, layers: dict[str, Heads]) -> Tensor:
        wanted = (len(layers), 2, self.n, next(iter(layers.values())).size)
        if tuple(stored.shape) == wanted:
            return stored
        if (*stored.shape[:2], stored.shape[-1]) == (*wanted[:2], wanted[-1]):
            raise SettingError(f"prefix: n={self.n}, but the stored one has n={stored.shape[2]}. Write that.")
        raise SettingError(
            f"prefix: the stored one is {_sized(stored.shape)}, but {backbone.name} takes {_sized(wanted)} (layers, "
            "keys and values, n, their width). Write the backbone it was learnt on."
        )

    def _through(self, backbone: Backbone, begun: Tensor, generators: Sequence[torch.Generator]) -> "Through":
        width, like, each = self.embed or backbone.width, backbone.no_states, list(generators)
        outputs = begun[0, :, :, 0].numel()
        tensors = {
            "rows": drawn((self.n, width), each, math.sqrt(3), like),  # of variance 1, as torch starts an embedding
            "hidden.weight": drawn((width, self.mid), each, 1 / math.sqrt(width), like),  # and a linear layer
            "hidden.bias": drawn((self.mid,), each, 1 / math.sqrt(width), like),
        }
        bound = 1 / math.sqrt(self.mid) if self.start is None and self.init == "random" else 0.0
        tensors["out.weight"] = drawn((self.mid, outputs), each, bound, like)
        tensors["out.bias"] = drawn((outputs,), each, bound, like)
        return Through(tensors, begun)


class Directly:
    """P itself learns, for all members of a stack at once: ``(members, layers, 2, n, key width)``."""

    stacked = True

    def __init__(self, prefix: Tensor):
        self.tensors = {STORED: prefix}

    def whole(self) -> Tensor:
        """P of all members as it is now."""
        return self.tensors[STORED]

    def compute(self) -> None:
        """Makes P anew, once a forward of the backbone; a block that is computed again reads the same."""
        self.by_layer = self.whole().unbind(1)

    def before(self, layer: int, heads: Heads, keys: Tensor, values: Tensor) -> Pair:
        """A layer's part for each row; see :data:`promptlab.backbone.attention.Before`."""
        return for_rows(self.by_layer[layer], heads, keys)

    def route(self, rows: Sequence[Sequence[int]]) -> None:
        """Nothing: every row of a member meets the same tensors."""

    def state(self, member: int) -> dict[str, Tensor]:
        """One member's P: ``(layers, 2, n, key width)``."""
        with torch.no_grad():
            return {STORED: self.whole()[member].detach().clone()}


class Through(Directly):
    """P comes out of an MLP, which is let go in the end.

    Args:
        tensors: ``rows (members, n, inputs)``, and weight and bias of ``hidden`` and ``out``, weights ``(in, out)``.
        begun: what the MLP's output is added to, the shape of P.
    """

    def __init__(self, tensors: dict[str, Tensor], begun: Tensor):
        self.tensors = {f"{STORED}.{name}": one for name, one in tensors.items()}
        self.begun = begun

    def whole(self) -> Tensor:
        """P of all members as the MLP makes it now."""
        rows, into, bias, out, last = self.tensors.values()
        hidden = torch.baddbmm(bias[:, None], rows, into).tanh()
        columns = torch.baddbmm(last[:, None], hidden, out)  # (members, n, layers * 2 * key width)
        members, layers, two, n, width = self.begun.shape
        return self.begun + columns.view(members, n, layers, two, width).permute(0, 2, 3, 1, 4)


def _stored(start: str, backbone: Backbone) -> Tensor:
    place = Path(start).expanduser()
    file = place / _WEIGHTS if place.is_dir() else place
    try:
        found = {name: one for name, one in apart(load_file(file)).items() if name.rpartition(".")[2] == STORED}
    except (OSError, SafetensorError) as error:
        raise SettingError(
            f"prefix: start={start} cannot be read. Write a folder that save_pretrained made."
        ) from error
    if not found:
        raise SettingError(f"prefix: start={start} holds no prefix. Write a model that learnt one, as prompt+prefix.")
    if len(found) > 1:
        raise SettingError(
            f"prefix: start={start} holds {len(found)} prefixes, as an ensemble does. Write one that holds a single "
            "one, as prompt+prefix."
        )
    if file.name == _WEIGHTS:  # a file of any other name stands for itself
        check_base(file.parent, backbone)
    return next(iter(found.values()))


def _sized(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))

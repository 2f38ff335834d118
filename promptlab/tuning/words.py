"""AutoPrompt: words in a pattern's slots, found by gradients (Shin et al. 2020, arXiv:2010.15980, section 2.2).

    each step, for one place j of the slots, drawn at random:
        g = d loss / d e_j  over a batch                          e_j the embedding of the word at j
        gain of a word w = (e_now - e_w) . g                      how far the loss falls, to first order
        score the best 50 on a second batch, and swap where the best of them beats the word that is there
    never a special token, never a label word

What is learnt is text: no weight of the backbone changes, and the pattern with its found words is a pattern like any
other. The search itself is in training/search.py.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NoReturn

from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.slots import filled, is_filled, slots, slotted
from promptlab.errors import SettingError
from promptlab.language.task import PVP
from promptlab.tuning.tuning import Usual


@dataclass(frozen=True)
class Words(Usual):
    """Words that stand in a pattern's slots.

    Args:
        n: tokens put before a pattern that has no ``{soft:...}`` slot.
        candidates: swaps scored a step, the best by first-order gain.
        judge: rows of the second batch, on which they are scored; all labelled rows where there are fewer.
        whole: choose among whole words only, so that what is found can be written into a pattern file; ``false`` takes
            any token, as the paper does.
    """

    name: ClassVar[str] = "words"
    stackable: ClassVar[bool] = False
    methods: ClassVar[tuple[str, ...]] = ("prompt",)
    lr: ClassVar[float | None] = None
    weight_decay: ClassVar[float] = 0.0
    dropout: ClassVar[float] = 0.0
    n: int = 3
    candidates: int = 50
    judge: int = 16
    whole: bool = True

    def learn(self, backbone: Backbone, cloze: bool, generators: Sequence[Any]) -> NoReturn:
        """Never: there is no gradient step to take.

        Raises:
            SettingError: always.
        """
        raise SettingError("words goes with prompt only, since what it learns is text. Write prompt+words.")

    def applied(self, backbone: Backbone, state: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """The backbone as it is."""
        return nullcontext()

    def rate(self, backbone: Backbone, cloze: bool) -> float:
        """None to speak of."""
        return 0.0

    def spoken(self, backbone: Backbone, pvp: PVP, state: Mapping[str, Tensor]) -> PVP:
        """The pattern with the words that were found.

        Args:
            backbone: whose tokens.
            pvp: as the task has it; one that holds found words stays as it is.
            state: token ids of each slot, ``words.00``, ``words.01``, ...

        Raises:
            SettingError: the words were found for other slots.
        """
        if is_filled(pvp.pattern):
            return pvp
        pattern, found = slotted(pvp.pattern, self.n, backbone), [state[name].tolist() for name in sorted(state)]
        if len(found) != len(slots(pattern, backbone)):
            raise SettingError(
                f"pattern '{pvp.name}' has {len(slots(pattern, backbone))} slots, but words were found for "
                f"{len(found)}. Put the pattern back as it was."
            )
        return replace(pvp, pattern=filled(pattern, backbone, found))

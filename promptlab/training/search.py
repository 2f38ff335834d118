"""The search for words in a pattern's slots (AutoPrompt, Shin et al. 2020, arXiv:2010.15980, section 2.2).

    start:  a slot's own words; in {soft:5} the commonest words of the labelled rows
    each step:
        draw a place; gradient of the loss by its embedding, over ``batch`` rows
        the ``candidates`` words of greatest first-order gain, none of them special or a label word
        loss of the present words and of each swap over ``judge`` other rows      (judge.py)
        keep the best swap if its loss is lower
    end early when four tries a place in a row have kept none

The paper starts from mask tokens; here one would stay in the text wherever no swap is kept, and no text can spell it,
so the start is words too. Members run in turn, each from its own generator.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.marks import embeddings, marks, speaking
from promptlab.backbone.packing import packable
from promptlab.backbone.slots import filled, reads_back, slots, slotted, started
from promptlab.backbone.vocabulary import same_words, usable_tokens
from promptlab.errors import SettingError
from promptlab.language.pattern import Pattern
from promptlab.language.task import PVP
from promptlab.progress import track
from promptlab.training.judge import Judge
from promptlab.training.loop import Trained, step_losses
from promptlab.training.member import Member, Recipe, Rows, Step
from promptlab.tuning.words import Words

log = logging.getLogger("promptlab")
COUNTED = 500  # labelled rows whose words are counted for a start
PATIENCE = 4  # tries a place without a swap before the search ends


@dataclass(frozen=True)
class Found(Trained):
    """A member whose words were found."""

    @property
    def notes(self) -> list[str]:
        """The pattern with its words, as a pattern file would have it."""
        lossy = "" if self.facts["reads_back"] else " (as text its words are read as other tokens)"
        return [f"words found, as a pattern: {self.facts['words']}{lossy}"]


def search(
    backbone: Backbone,
    tuning: Words,
    members: Sequence[Member],
    recipe: Recipe,
    encoder: Encoder,
    label: str = "search",
) -> Iterator[Found]:
    """Finds words for all members and yields each, in order.

    Raises:
        SettingError: a setting that only learnt weights have.
    """
    _check(members, recipe)
    recipe = replace(recipe, packed=recipe.packed and packable(backbone))  # tried before marks are read
    usable = usable_tokens(backbone, tuning.whole)
    with track(label, total=len(members) * recipe.steps) as advance:
        for member in members:
            yield Search(backbone, tuning, member, recipe, encoder, usable).run(advance)


def _check(members: Sequence[Member], recipe: Recipe) -> None:
    if recipe.mlm:
        raise SettingError("words learns from labelled rows alone, so mlm= has no place. Leave mlm out.")
    for member in members:
        if member.lr is not None or member.weight_decay is not None:
            raise SettingError("words takes no gradient steps, so lr and weight_decay have no place. Leave them out.")


class Search:
    """One member's search.

    Args:
        backbone: never changed.
        tuning: settings.
        member: with a pattern.
        recipe: steps and rows a gradient.
        encoder: shared.
        usable: tokens that may be chosen, ``(vocabulary,)`` bool.
    """

    def __init__(
        self, backbone: Backbone, tuning: Words, member: Member, recipe: Recipe, encoder: Encoder, usable: np.ndarray
    ):
        if member.pvp is None:
            raise SettingError("words stand in a pattern, and there is none. Write prompt+words.")
        self.backbone, self.tuning, self.member, self.encoder = backbone, tuning, member, encoder
        self.random = generator(f"{member.key}/words")
        self.usable = torch.from_numpy(usable.copy())
        self.usable[same_words(backbone, _spelt(member.pvp))] = False
        if not self.usable.any():
            raise SettingError(f"{backbone.name} has no token that words may choose. Write words:whole=false.")
        self.usable = self.usable.to(backbone.device)
        pattern = slotted(member.pvp.pattern, tuning.n, backbone)
        own = started(pattern, encoder)
        start = self._start(pattern, own)
        self.sizes, self.pattern = list(map(len, start)), pattern
        self.words = torch.tensor([token for ids in start for token in ids], device=backbone.device)
        asked = replace(member.pvp, pattern=filled(pattern, backbone, marks(self.sizes)))
        self.recipe = recipe = replace(recipe, packed=recipe.packed and packable(backbone))  # tried before any marks
        self.judge = Judge(
            tuning.judge, replace(member, pvp=asked, key=f"{member.key}/judge"), recipe, backbone, encoder
        )
        self.rows = Rows(replace(member, pvp=asked), recipe, backbone, encoder)

    def run(self, advance: Callable[[int], Any] = lambda steps: None) -> Found:
        """Searches to the end."""
        swaps, done, steps = list[dict[str, Any]](), 0, self.recipe.steps
        for step in range(steps):
            swap = self.step(step)
            swaps += [swap] if swap else []
            done = step + 1
            advance(1)
            if step - (swaps[-1]["step"] if swaps else -1) >= PATIENCE * len(self.words):
                break
        advance(steps - done)
        found = filled(self.pattern, self.backbone, self._by_slot())
        state = {f"words.{i:02d}": torch.tensor(ids) for i, ids in enumerate(self._by_slot())}
        facts = {
            "stack": [self.member.key],
            "loss": float(self.judge(self.words[None])[0]),
            "frozen_at": None,
            "seen": done * (self.recipe.batch + self.judge.rows),
            "words": found.source,
            "reads_back": reads_back(found, self.encoder, self.member.examples[:8]),
            "swaps": swaps,
        }
        return Found(self.member, state, facts)

    def step(self, number: int) -> dict[str, Any] | None:
        """One place; the swap that was kept, or None."""
        place = int(torch.randint(len(self.words), (1,), generator=self.random))
        chosen = self.best(place, self.gradient(self.rows.next())[place])
        wordings = self.words.repeat(1 + len(chosen), 1)
        wordings[1:, place] = chosen
        before, i, after = self.judge.best(wordings)
        if not after < before:
            return None
        old, self.words = int(self.words[place]), wordings[1 + i].clone()
        names = self.backbone.tokenizer.convert_ids_to_tokens([old, int(chosen[i])])
        swap = {"step": number, "place": place, "from": names[0], "to": names[1], "before": before, "after": after}
        log.info("%s step %d: %s -> %s, loss %.4f -> %.4f", self.member.key, number, *names, before, after)
        return swap

    def gradient(self, step: Step) -> Tensor:
        """Gradient of a batch's loss by the embeddings of the present words, ``(places, width)``."""
        weight = embeddings(self.backbone)
        shift = weight.new_zeros(len(self.words), weight.shape[1]).requires_grad_(True)
        with speaking(self.backbone, self.words[None], shift):
            loss = step_losses(self.backbone, [self.rows], [step], self.recipe, None).sum()
        (found,) = torch.autograd.grad(loss, shift)
        return found

    def best(self, place: int, gradient: Tensor) -> Tensor:
        """The candidates for a place by first-order gain, best first, ``(candidates,)``."""
        now = self.words[place]
        each = gains(embeddings(self.backbone), gradient, now).masked_fill(~self.usable, -torch.inf)
        each[now] = -torch.inf
        count = min(self.tuning.candidates, int(each.isfinite().sum()))
        return each.topk(count).indices

    def _by_slot(self) -> list[list[int]]:
        return [one.tolist() for one in self.words.cpu().split(self.sizes)]

    def _start(self, pattern: Pattern, own: Sequence[tuple[int, ...] | None]) -> list[list[int]]:
        sizes = [slot.count for slot in slots(pattern, self.backbone)]
        wanted = [size for size, ids in zip(sizes, own, strict=True) if ids is None]
        common = iter(self._common(sum(wanted)))
        return [list(ids) if ids else list(islice(common, size)) for size, ids in zip(sizes, own, strict=True)]

    def _common(self, count: int) -> list[int]:
        """The commonest words of the labelled rows that may be chosen; the first of the vocabulary where none is."""
        read = self.encoder.plain(self.member.examples[:COUNTED], self.member.inputs).ids
        counts = Counter(token for ids in read for token in ids if self.usable[token])
        ranked = sorted(counts, key=lambda token: (-counts[token], token)) or self.usable.nonzero().flatten().tolist()
        return list(islice(cycle(ranked), count))


def gains(embeddings: Tensor, gradient: Tensor, now: Tensor | int) -> Tensor:
    """How far the loss would fall, to first order, if another word stood there.

    Args:
        embeddings: of the vocabulary, ``(vocabulary, width)``.
        gradient: of the loss by the embedding at the place, ``(width,)``.
        now: the token that stands there.

    Returns:
        ``(vocabulary,)``, 0 at ``now``.
    """
    return (embeddings[now] - embeddings) @ gradient


def _spelt(pvp: PVP) -> list[str]:
    # words that name fields differ by row: no list of them could be kept out
    return [word for words in pvp.verbalizer.words.values() for word in words if "{" not in word]

"""Where soft tokens start (Lester et al. 2021, arXiv:2104.08691, section 3.2).

    a slot's own words     their embeddings, whatever ``init`` says
    init=vocabulary        embeddings of distinct tokens, drawn from the first 5,000 that may stand in a text
    init=words             those of ``text``, over again where there are more places
    init=labels            a label word's mean over its tokens, word by word; then, and on bare text, as ``vocabulary``
    init=random            uniform, as spread as the embeddings are

What stands for a token is what the word embedding puts out. On the meta device, where parameters are only counted, a
start has its shape alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle

import torch
from torch import Tensor

from promptlab.backbone.encode import Encoder
from promptlab.backbone.fragments import Fragment
from promptlab.backbone.marks import embedding_of, embeddings
from promptlab.backbone.slots import slots, started
from promptlab.backbone.vocabulary import usable_tokens
from promptlab.backbone.words import label_words
from promptlab.errors import SettingError, did_you_mean
from promptlab.language.task import PVP

INITS = ("vocabulary", "words", "labels", "random")
COMMON = 5000  # tokens that are drawn from: vocabularies list common ones first


@dataclass(frozen=True)
class Start:
    """How places without words of their own start.

    Args:
        name: of the tuning, for messages.
        n: places where a pattern has no slot.
        init: one of ``INITS``.
        text: what ``words`` reads.
    """

    name: str
    n: int
    init: str
    text: str

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            SettingError: no such start, or a text without use, or none where one is needed.
        """
        if self.init not in INITS:
            near = did_you_mean(self.init, INITS)
            raise SettingError(f"{self.name}: init={self.init}: no such start.{near} Write {', '.join(INITS)}.")
        if self.text and self.init != "words":
            raise SettingError(f"{self.name}: text= is for init=words, not {self.init}. Write init=words, or no text.")
        if self.init == "words" and not self.text.strip():
            raise SettingError(f"{self.name}: init=words has no words to start from. Write text=... too.")

    def vectors(self, encoder: Encoder, pvp: PVP | None, generator: torch.Generator) -> Tensor:
        """A member's soft tokens as they start, ``(places, embedding width)``.

        Args:
            encoder: of the backbone.
            pvp: what the member reads; None is bare text.
            generator: the member's own.

        Raises:
            SettingError: ``labels`` where rows bring their own label words.
        """
        module, table = embedding_of(encoder.backbone), embeddings(encoder.backbone)
        own = self._own(encoder, pvp)
        left = self._sources(encoder, pvp, own.count(None), generator)
        wanted = [next(left) if ids is None else ids for ids in own]
        bound = 3**0.5 * float(table.float().std()) if None in wanted else 0.0
        return torch.stack([_one(module, ids, table, bound, generator) for ids in wanted])

    def _own(self, encoder: Encoder, pvp: PVP | None) -> list[tuple[int, ...] | None]:
        """The token that each place has of its own, or None."""
        there = slots(pvp.pattern, encoder.backbone) if pvp else []
        if pvp is None or not there:
            return [None] * self.n
        each = zip(there, started(pvp.pattern, encoder), strict=True)
        found: list[list[tuple[int, ...] | None]] = [
            [None] * slot.count if ids is None else [(token,) for token in ids] for slot, ids in each
        ]
        return list(chain.from_iterable(found))

    def _sources(
        self, encoder: Encoder, pvp: PVP | None, places: int, generator: torch.Generator
    ) -> Iterator[tuple[int, ...] | None]:
        """Tokens whose mean each place starts from, or None for chance."""
        if not places or self.init == "random":
            return cycle([None])
        if self.init == "words":
            return cycle(self._text(encoder))
        drawn = _drawn(encoder, places, generator)
        return chain(self._labels(encoder, pvp), drawn) if self.init == "labels" else drawn

    def _text(self, encoder: Encoder) -> list[tuple[int, ...]]:
        return [(token,) for token in encoder.fragments.all([Fragment.of(self.text.strip(), "")])[0]]

    def _labels(self, encoder: Encoder, pvp: PVP | None) -> Iterator[tuple[int, ...]]:
        if pvp is None:
            return
        if pvp.verbalizer.per_example or not pvp.verbalizer.words:
            raise SettingError(
                f"{self.name}: init=labels starts from label words that all rows share, and there are none. "
                "Write init=vocabulary."
            )
        ids = label_words(encoder.backbone, pvp).ids  # (labels, words, pieces)
        for word in ids.swapaxes(0, 1).reshape(-1, ids.shape[-1]):  # every label's first word before any second
            if word[0] >= 0:
                yield tuple(word[word >= 0].tolist())


def _drawn(encoder: Encoder, places: int, generator: torch.Generator) -> Iterator[tuple[int, ...]]:
    common = usable_tokens(encoder.backbone, whole=False).nonzero()[0][:COMMON]
    order = torch.randperm(len(common), generator=generator).tolist()
    return cycle([(int(common[at]),) for at in order[:places]])


def _one(
    module: torch.nn.Module, ids: Sequence[int] | None, table: Tensor, bound: float, generator: torch.Generator
) -> Tensor:
    if ids is None:
        chance = torch.rand(table.shape[1], generator=generator, dtype=torch.float64) * 2 - 1
        return (chance * bound).to(table)
    with torch.no_grad():
        found: Tensor = module(torch.tensor([ids], device=table.device))
    return found[0].mean(0)

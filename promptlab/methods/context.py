"""The predictor that reads an instruction and demonstrations before every row, and learns nothing.

    for each row     its demonstrations: drawn once (order=seed), or those nearest to it (order=similar)
                     as many as fit (page.py), none cut
    causal           rows with the same demonstrations together: what they share is read once     (continuation.py)
    masked           every row read whole, since attention there runs both ways
    answer           log-score of each label's words

``facts`` say how many demonstrations the rows had, and a note where that is fewer than asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.continuation import continued
from promptlab.backbone.decode import answer
from promptlab.backbone.encode import Encoded, Encoder
from promptlab.backbone.score import Scores
from promptlab.backbone.words import RowWords, row_words
from promptlab.language.example import Example
from promptlab.language.task import PVP, Task
from promptlab.methods.method import Saved
from promptlab.methods.page import Kept, Page
from promptlab.methods.predict import Ensemble, Model, own_choices
from promptlab.methods.showing import Showing, alike, fewer, laid, row_of, spelt_row

_TOGETHER = 4  # rows that must share their demonstrations before those are read apart


class Read(NamedTuple):
    """Rows as they were read.

    Args:
        encoded: ids of each row with all that stands before it.
        words: what each row can be answered with.
        shown: numbers of the demonstrations before each row, in their order.
    """

    encoded: Encoded
    words: RowWords
    shown: list[Kept]


@dataclass
class InContext(Showing, Model):
    """The backbone after an instruction and demonstrations.

    Args:
        instruction: stands first; empty for none.
        rows: the demonstrations, the most wanted first; under ``similar`` all labelled rows.
        similar: shows each row those that are nearest to it, ``demonstrations`` of them.
        demonstrations: how many are asked for, as written; read under ``similar`` only.
        asked: how many that is.
        key: what decides their order on the page.
        chat: in the backbone's chat template.
        max_length: tokens a row may have with all that stands before it.
    """

    instruction: str = ""
    rows: Sequence[Example] = ()
    similar: bool = False
    demonstrations: int | str = 0
    asked: int = 0
    key: str = ""
    chat: bool = False
    max_length: int | None = None
    _known: np.ndarray | None = field(default=None, init=False, repr=False)  # vectors of ``rows``

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Log-scores of what each row can be answered with, ``(examples, labels)``; numbers as any model gives them."""
        read = self.read(examples)
        found = self.score(read)
        self._tell(read, found)
        return self.answers(found.labels if self.bias is None else found.labels - self.bias)

    def read(self, examples: Sequence[Example]) -> Read:
        """Lays out rows, each after its demonstrations.

        Raises:
            DataError: a row lacks a field or does not fit, or no demonstration does.
            BackboneError: the pattern or the chat template cannot be used.
        """
        pvp = self.pvp or self.task.pvps[0]
        page = Page(self.task, self.encoder, pvp, self.rows, self.instruction, self.chat, self.max_length)
        asked = PVP(page.pattern(), pvp.verbalizer)
        words = row_words(self.backbone, asked, examples, own_choices(self.task, examples))
        room = words.room(len(examples))
        shown = self.shown(page, examples, room)
        return Read(laid(page, examples, room, shown), words, shown)

    def score(self, read: Read) -> Scores:
        """Scores of rows as they were read."""
        if self.backbone.kind != "causal":
            return answer(self.backbone, read.encoded, read.words.ids, self.decoding)
        found = None
        for rows in _groups(read.shown):
            own = read.words.ids if read.words.fixed else read.words.ids[rows]
            part = continued(self.backbone, read.encoded.take(rows), own)
            if found is None:
                found = Scores(np.zeros((len(read.shown), part.labels.shape[1])), np.zeros(len(read.shown)))
            found.labels[rows], found.mass[rows] = part.labels, part.mass
        return found or Scores(np.zeros((0, len(self.task.labels))), np.zeros(0))

    def saved(self) -> Saved:
        """Its settings, and the rows it shows."""
        plain = ("instruction", "similar", "demonstrations", "asked", "key", "chat", "max_length", "decoding")
        config = {name: getattr(self, name) for name in plain}
        rows = list(map(spelt_row, self.rows))
        tensors = {} if self.bias is None else {"bias": self.bias}
        return Saved("in-context", config | {"pvp": self.pvp and self.pvp.name, "rows": rows}, tensors)

    def _tell(self, read: Read, found: Scores) -> None:
        if not read.shown:
            return
        self.facts["cut"] = float(np.mean(read.encoded.cut))
        self.facts["mass"] = float(found.mass.mean())
        if self.asked:
            self.facts["demonstrations"] = float(np.mean([len(one) for one in read.shown]))
            self.facts["notes"] = fewer(read.shown, self.asked)


@dataclass
class Contexts(Ensemble):
    """Several orders, subsets or patterns together; says what they were shown.

    Args:
        told: notes on the rows that were last asked about.
    """

    told: Sequence[str] = ()

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Mean of the members' scores, ``(examples, labels)``."""
        found = super().scores(examples)
        counts = [member.facts["demonstrations"] for member in self.members if "demonstrations" in member.facts]
        self.facts |= {"demonstrations": float(np.mean(counts))} if counts else {}
        lasting = [note for note in self.facts.get("notes", ()) if note not in self.told]
        self.told = [note for member in self.members for note in member.facts.get("notes", ())]
        self.facts["notes"] = list(dict.fromkeys([*lasting, *self.told]))
        return found


@dataclass
class Unchanging(Contexts):
    """The same for every job of a task, so that the rows of several seeds are read once.

    Args:
        last: the rows it was last asked about, and their scores.
    """

    last: tuple[list[Example], np.ndarray] | None = None

    def scores(self, examples: Sequence[Example]) -> np.ndarray:
        """Mean of the members' scores, ``(examples, labels)``."""
        if self.last is None or self.last[0] != list(examples):
            self.last = list(examples), super().scores(examples)
        return self.last[1].copy()


def _groups(shown: Sequence[Kept]) -> list[list[int]]:
    """Rows that share their demonstrations; what few rows share is not worth reading apart."""
    groups = list(alike(shown).values())
    few = sorted(row for rows in groups if len(rows) < _TOGETHER for row in rows)
    return [*(rows for rows in groups if len(rows) >= _TOGETHER), *([few] if few else [])]


def restore_in_context(
    task: Task, backbone: Backbone, config: dict[str, Any], tensors: dict[str, np.ndarray]
) -> InContext:
    """The predictor that was saved."""
    given = dict(config)
    rows = [row_of(row) for row in given.pop("rows")]
    return InContext(
        task, backbone, Encoder(backbone), task.pvp(given.pop("pvp")), bias=tensors.get("bias"), rows=rows, **given
    )

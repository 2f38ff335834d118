"""The predictor that writes a text for every row: the backbone as one member has it, or plain after demonstrations.

    row              the pattern up to {target}, after an instruction and demonstrations where there are some (page.py)
    texts            written many rows at a time                                           (backbone/generate.py)
    broken off       what was told is given back as ``done``, and only the other rows are written

A stack's members write one after the other, each over the backbone with its own tensors in it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoded, Encoder
from promptlab.backbone.generate import Decoding, generate
from promptlab.errors import SettingError
from promptlab.language.example import Example
from promptlab.language.task import PVP, Task
from promptlab.methods.method import Saved
from promptlab.methods.page import Kept, Page
from promptlab.methods.showing import Showing, fewer, laid, row_of, spelt_row
from promptlab.methods.standing import Standing, restored
from promptlab.progress import track

Told = Callable[[list[int], list[str]], None]
_PLAIN = ("instruction", "similar", "demonstrations", "asked", "key", "chat", "max_length")


@dataclass
class Writer(Showing, Standing):
    """Writes a text a row.

    Args:
        how: greedily, with beams, or by drawing; how long, and what ends a text.
        instruction: stands first; empty for none.
        rows: the demonstrations, the most wanted first; under ``similar`` all labelled rows.
        similar: shows each row those that are nearest to it, ``demonstrations`` of them.
        demonstrations: how many are asked for, as written; read under ``similar`` only.
        asked: how many that is.
        key: what decides their order on the page.
        chat: in the backbone's chat template.
        max_length: tokens a row may have with all that stands before it and what is written.
    """

    how: Decoding = field(default_factory=Decoding)
    instruction: str = ""
    rows: Sequence[Example] = ()
    similar: bool = False
    demonstrations: int | str = 0
    asked: int = 0
    key: str = ""
    chat: bool = False
    max_length: int | None = None
    _known: np.ndarray | None = field(default=None, init=False, repr=False)  # vectors of ``rows``
    _last: tuple[list[Example], list[str]] | None = field(default=None, init=False, repr=False)

    def texts(
        self, examples: Sequence[Example], told: Told | None = None, done: Mapping[int, str] | None = None
    ) -> list[str]:
        """A text a row.

        Args:
            examples: what is asked about.
            told: is shown numbers of rows and their texts whenever some are written.
            done: texts that were told before, by the number of their row, and are not written again.

        Raises:
            DataError: a row lacks a field or does not fit, or no demonstration does.
            BackboneError: the backbone cannot write, or not after this pattern.
        """
        known = dict(done or {})
        if self._last is None or self._last[0] != list(examples):
            with self.applied():
                self._last = list(examples), self._written(examples, told, known)
        elif told is not None and (rest := [row for row in range(len(examples)) if row not in known]):
            told(rest, [self._last[1][row] for row in rest])
        return list(self._last[1])

    def read(self, examples: Sequence[Example]) -> tuple[Encoded, list[Kept]]:
        """Rows as they are read, each after its demonstrations, and the numbers of these; raises as :meth:`texts`."""
        page = Page(self.task, self.encoder, self.asks, self.rows, self.instruction, self.chat, self.max_length)
        room = [self.how.max_tokens] * len(examples)
        shown = self.shown(page, examples, room)
        return laid(page, examples, room, shown), shown

    @property
    def asks(self) -> PVP:
        """The pattern it writes after."""
        return self.pvp or self.task.pvps[0]

    def saved(self) -> Saved:
        """Its settings and tensors, and the rows it shows."""
        config = {name: getattr(self, name) for name in _PLAIN}
        config |= {"pvp": self.asks.name, "tuning": self.spelt_tuning, "decoding": asdict(self.how)}
        return Saved("writer", config | {"rows": list(map(spelt_row, self.rows)), "facts": self.counts}, self.arrays)

    def _written(self, examples: Sequence[Example], told: Told | None, known: dict[int, str]) -> list[str]:
        encoded, shown = self.read(examples)
        self._tell(encoded, shown)
        rows = _missing(encoded, known, self.how.sample)
        with track(f"write {self.task.name}", total=len(rows)) as advance:

            def tell(numbers: list[int], texts: list[str]) -> None:
                new = [(rows[at], text) for at, text in zip(numbers, texts, strict=True) if rows[at] not in known]
                known.update(new)
                if told is not None and new:
                    told([row for row, _ in new], [text for _, text in new])
                advance(len(numbers))

            generate(self.backbone, encoded.take(rows), self.how, tell)
        return [known[row] for row in range(len(examples))]

    def _tell(self, encoded: Encoded, shown: Sequence[Kept]) -> None:
        self.facts["cut"] = float(np.mean(encoded.cut)) if encoded.cut else 0.0
        if self.asked and shown:
            self.facts["demonstrations"] = float(np.mean(list(map(len, shown))))
            lasting = [note for note in self.facts.get("notes", ()) if "demonstrations" not in note]
            self.facts["notes"] = [*lasting, *fewer(shown, self.asked)]


def _missing(encoded: Encoded, known: Mapping[int, str], sample: bool) -> list[int]:
    """Rows to write. What a row draws also follows from how many before it read the same, so those come along."""
    missing = [row for row in range(len(encoded)) if row not in known]
    if not sample:
        return missing
    read = {tuple(encoded.ids[row]) for row in missing}
    return [row for row, ids in enumerate(encoded.ids) if tuple(ids) in read]


def restore_writer(task: Task, backbone: Backbone, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> Writer:
    """The predictor that was saved.

    Raises:
        SettingError: the task asks for no text.
    """
    if not task.generates:
        raise SettingError(f"'{task.name}' asks for labels, and what was saved writes texts. Put its file back.")
    tuning, state = restored(backbone, config["tuning"], tensors, headed=False)
    plain = {name: config[name] for name in _PLAIN}
    return Writer(
        task, backbone, Encoder(backbone), task.pvp(config["pvp"]), tuning, state, dict(config["facts"]),
        how=Decoding(**config["decoding"]), rows=list(map(row_of, config["rows"])), **plain,
    )  # fmt: skip

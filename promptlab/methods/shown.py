"""What a predictor read, and what it thought: each pattern filled in, the words guessed at the mask, the labels.

    a member with a pattern     filled text, guesses, label probabilities, mass on label words
    anything else               the bare text and label probabilities

Made for reading; what it says comes from the same code that answers.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.errors import DataError, PromptlabError, SettingError, did_you_mean
from promptlab.language.example import Example
from promptlab.language.pattern import BORDER
from promptlab.language.task import PVP, Task
from promptlab.methods.calibrate import KINDS
from promptlab.methods.heard import Row, asked, by_label
from promptlab.methods.method import Job, Predictor, probabilities
from promptlab.methods.predict import Ensemble, Model
from promptlab.methods.screen import Line, plain, ranked, rows_lines, short
from promptlab.methods.zero_shot import ZeroShot

BARE = "bare text"


@dataclass(frozen=True, repr=False)
class Shown:
    """Texts as they were read. Iterating gives the rows of all texts, one a pattern and member.

    Args:
        texts: of each ``fields``, ``label`` and ``probabilities`` (None where nothing was learnt yet; of a regression
            ``label`` is the number, and there are no probabilities), ``patterns``.
    """

    texts: tuple[dict[str, Any], ...]

    def __iter__(self) -> Iterator[Row]:
        return (row for text in self.texts for row in text["patterns"])

    def __len__(self) -> int:
        return sum(len(text["patterns"]) for text in self.texts)

    def __str__(self) -> str:
        return "\n\n".join(plain(_lines(text)) for text in self.texts)

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        return {"texts": [{**text, "patterns": [_plain(row) for row in text["patterns"]]} for text in self.texts]}


def show(predictor: Predictor, examples: Sequence[Example], count: int = 5) -> Shown:
    """What a fitted predictor reads and answers.

    Args:
        predictor: of any method.
        examples: what it is asked about.
        count: guesses at the mask.
    """
    if not examples:
        return Shown(())
    columns = _numbered([_column(member, examples, count) for member in _members(predictor)])
    scores = predictor.scores(examples)
    return Shown(
        tuple(
            _text(example, rows, _answer(predictor.task, example, each))
            for example, each, *rows in zip(examples, scores, *columns, strict=True)
        )
    )


def show_untrained(
    task: Task,
    backbone: Backbone,
    examples: Sequence[Example],
    count: int = 5,
    patterns: str = "all",
    calibration: str = "none",
    unlabelled: Sequence[Example] = (),
) -> Shown:
    """What the plain backbone makes of a task's patterns; one that it cannot use says why.

    Args:
        task: what is asked.
        backbone: masked or causal.
        examples: what it is asked about.
        count: guesses at the mask.
        patterns: ``all``, ``first``, or names joined by ``+``; ``letters`` too.
        calibration: as zero-shot's.
        unlabelled: what ``calibration=batch`` averages over.

    Raises:
        PatternError: no such pattern.
        SettingError: no such calibration.
        DataError: a calibration that needs unlabelled rows and has none.
    """
    if calibration not in KINDS:
        near = did_you_mean(calibration, KINDS)
        raise SettingError(f"calibration={calibration}: no such kind.{near} Write {', '.join(KINDS)}.")
    if calibration == "batch" and not unlabelled:
        raise DataError(
            "calibration=batch needs unlabelled rows, and there are none. Write --data DIR or --unlabeled FILE."
        )
    if not examples:
        return Shown(())
    job = Job(task, (), unlabelled)
    columns = [_tried(job, calibration, backbone, pvp, examples, count) for pvp in task.select(patterns)]
    nothing = {"label": None, "probabilities": None}
    return Shown(tuple(_text(example, rows, nothing) for example, *rows in zip(examples, *columns, strict=True)))


def _answer(task: Task, example: Example, scores: np.ndarray) -> dict[str, Any]:
    if task.range is not None:
        return {"label": float(scores[0]), "probabilities": None}
    shares = by_label(task.choices(example), probabilities(scores[None])[0])
    return {"label": max(shares, key=lambda label: shares[label]), "probabilities": shares}


def _text(example: Example, rows: Sequence[Row], answer: dict[str, Any]) -> dict[str, Any]:
    return {"fields": dict(example.fields), **answer, "patterns": list(rows)}


def _members(predictor: Any) -> list[Any]:
    if not isinstance(predictor, Ensemble):
        return [predictor]
    return [inner for member in predictor.members for inner in _members(member)]


def _column(member: Predictor, examples: Sequence[Example], count: int) -> list[Row]:
    if isinstance(member, Model) and member.pvp:
        return asked(member, member.pvp, examples, count)
    scores, labels = member.scores(examples), member.task.labels
    texts = [BORDER.join(example.text(name) for name in member.task.inputs) for example in examples]
    numeric = member.task.range is not None
    rows: list[Row] = [
        {"pattern": BARE, "text": text, **({} if numeric else {"probabilities": by_label(labels, p)})}
        for text, p in zip(texts, probabilities(scores), strict=True)
    ]
    if isinstance(member, Model):
        cut = member.encoder.plain(examples, tuple(member.task.inputs)).cut
        rows = [{**row, "cut": each} for row, each in zip(rows, cut, strict=True)]
    return rows


def _numbered(columns: list[list[Row]]) -> list[list[Row]]:
    names, seen = [rows[0]["pattern"] for rows in columns], Counter[str]()
    for name, rows in zip(names, columns, strict=True):
        seen[name] += 1
        for row in rows if names.count(name) > 1 else []:
            row["member"] = seen[name]
    return columns


def _tried(
    job: Job, calibration: str, backbone: Backbone, pvp: PVP, examples: Sequence[Example], count: int
) -> list[Row]:
    """What zero-shot makes of one pattern, or why it cannot."""
    try:
        if backbone.kind == "causal" and not pvp.pattern.mask_last:
            raise PromptlabError("a field after the mask, which a causal model cannot read")
        [(_, predictor)] = ZeroShot(patterns=pvp.name, calibration=calibration).fit(backbone, None, [job])
        [member] = _members(predictor)
        return _column(member, examples, count)
    except PromptlabError as error:
        why = " ".join(str(error).split())
        return [{"pattern": pvp.name, "text": pvp.pattern.fill(example), "skipped": why} for example in examples]


def _plain(row: Row) -> Row:
    return {key: [list(pair) for pair in value] if key == "guesses" else value for key, value in row.items()}


def _lines(text: dict[str, Any]) -> Iterator[Line]:
    fields = (each if isinstance(each, str) else ", ".join(each) for each in text["fields"].values())
    yield [(short(BORDER.join(fields)), "")]
    if isinstance(text["label"], float):
        yield [(f"  {text['label']:.2f}", "")]
    if text["probabilities"]:
        yield [(f"  {ranked(text['probabilities'])}", "")]
    yield from rows_lines([row for row in text["patterns"] if row["pattern"] != BARE or row.get("cut")])

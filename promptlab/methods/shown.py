"""What a predictor read, and what it thought: each pattern filled in, the words guessed at the mask, the labels.

    a member with a pattern     filled text, guesses, label probabilities, mass on label words
    anything else               the bare text and label probabilities

Made for reading; what it says comes from the same code that answers.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.decode import answer
from promptlab.backbone.encode import Encoded
from promptlab.backbone.guess import guesses
from promptlab.backbone.score import Scores
from promptlab.backbone.words import RowWords, row_words
from promptlab.errors import DataError, PromptlabError, SettingError, did_you_mean
from promptlab.language.example import Example
from promptlab.language.pattern import BORDER
from promptlab.language.task import PVP, Task
from promptlab.methods.calibrate import KINDS
from promptlab.methods.method import Job, Predictor, probabilities
from promptlab.methods.predict import Ensemble, Model
from promptlab.methods.screen import Line, plain, ranked, rows_lines, short
from promptlab.methods.zero_shot import ZeroShot

BARE = "bare text"

Row = dict[str, Any]
"""``pattern`` and ``text``; then ``skipped`` (why), or ``probabilities`` by label (``uncalibrated`` too, where a
calibration moved them), and of a pattern what was ``read`` with the model's own tokens, ``guesses`` (word, share),
``words`` (``label``, ``word``, its ``pieces``, log-``score``), ``mass`` on them, whether the text was ``cut`` and
``cuts`` (``field``, tokens ``read`` ``of`` how many, ``until`` which words), and the ``member`` where several asked."""


@dataclass(frozen=True, repr=False)
class Shown:
    """Texts as they were read. Iterating gives the rows of all texts, one a pattern and member.

    Args:
        texts: of each ``fields``, ``label`` and ``probabilities`` (None where nothing was learnt yet), ``patterns``.
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
    found = []
    for example, p, *rows in zip(examples, probabilities(predictor.scores(examples)), *columns, strict=True):
        shares = _by_label(predictor.task.choices(example), p)
        found.append(
            _text(example, rows, {"label": max(shares, key=lambda label: shares[label]), "probabilities": shares})
        )
    return Shown(tuple(found))


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


def _text(example: Example, rows: Sequence[Row], answer: dict[str, Any]) -> dict[str, Any]:
    return {"fields": dict(example.fields), **answer, "patterns": list(rows)}


def _members(predictor: Predictor) -> list[Predictor]:
    if not isinstance(predictor, Ensemble):
        return [predictor]
    return [inner for member in predictor.members for inner in _members(member)]


def _column(member: Predictor, examples: Sequence[Example], count: int) -> list[Row]:
    if isinstance(member, Model) and member.pvp:
        return _asked(member, member.pvp, examples, count)
    scores, labels = member.scores(examples), member.task.labels
    texts = [BORDER.join(example.text(name) for name in member.task.inputs) for example in examples]
    rows: list[Row] = [{"pattern": BARE, "text": text, "probabilities": _by_label(labels, p)}
                       for text, p in zip(texts, probabilities(scores), strict=True)]  # fmt: skip
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


class _Heard(NamedTuple):
    encoded: Encoded
    words: RowWords
    scores: Scores


def _asked(model: Model, pvp: PVP, examples: Sequence[Example], count: int) -> list[Row]:
    choices = [model.task.choices(example) for example in examples]
    with model.tuning.applied(model.backbone, model.state) if model.tuning else nullcontext():
        heard = _heard(model, pvp, examples, choices)
        guessed = guesses(model.backbone, _one_mask(model, pvp, examples, heard), count)
        words = _words(model, pvp, examples, choices, heard)
    cuts = model.encoder.cuts(pvp.pattern, examples, heard.words.room(len(examples))) if _plainly(model) else None
    before = probabilities(heard.scores.labels)
    after = before if model.bias is None else probabilities(heard.scores.labels - model.bias)
    rows: list[Row] = []
    for i, (example, labels) in enumerate(zip(examples, choices, strict=True)):
        rows.append(
            {
                "pattern": pvp.name,
                "text": pvp.pattern.fill(example),
                "read": model.backbone.tokenizer.decode(heard.encoded.ids[i]),
                "guesses": guessed[i],
                "words": words[i],
                **({} if model.bias is None else {"uncalibrated": _by_label(labels, before[i])}),
                "probabilities": _by_label(labels, after[i]),
                "mass": float(heard.scores.mass[i]),
                "cut": bool(heard.encoded.cut[i]),
                "cuts": cuts[i] if cuts else [],
            }
        )
    return rows


def _plainly(model: Any) -> bool:
    """Whether the pattern is all that it reads."""
    return not (getattr(model, "instruction", "") or getattr(model, "rows", ()) or getattr(model, "chat", False))


def _heard(model: Any, pvp: PVP, examples: Sequence[Example], choices: Sequence[Sequence[str]]) -> _Heard:
    if hasattr(model, "read"):
        read = model.read(examples)
        return _Heard(read.encoded, read.words, model.score(read))
    words = row_words(model.backbone, pvp, examples, None if model.task.fixed else choices)
    encoded = model.encoder.cloze(pvp.pattern, examples, words.room(len(examples)))
    return _Heard(encoded, words, answer(model.backbone, encoded, words.ids, model.decoding))


def _one_mask(model: Model, pvp: PVP, examples: Sequence[Example], heard: _Heard) -> Encoded:
    """The rows with one mask, where the model would guess a whole word."""
    several = any(len(slots) > 1 for slots in heard.encoded.slots)
    return model.encoder.cloze(pvp.pattern, examples) if several and _plainly(model) else heard.encoded


def _words(
    model: Model, pvp: PVP, examples: Sequence[Example], choices: Sequence[Sequence[str]], heard: _Heard
) -> list[list[dict[str, Any]]]:
    """Each row's label words in pieces, with their scores before calibration."""
    spoken = [pvp.verbalizer.spoken(example, each) for example, each in zip(examples, choices, strict=True)]
    ids = heard.words.take(range(len(examples)))
    rows, choice, word = np.nonzero(ids[..., 0] >= 0)  # in the order of rows, choices, words
    alone = np.full((len(examples), int(np.bincount(rows).max()), 1, ids.shape[-1]), -1, dtype=ids.dtype)
    places = [int((rows[:at] == row).sum()) for at, row in enumerate(rows)]
    alone[rows, places, 0] = ids[rows, choice, word]
    scores = answer(model.backbone, heard.encoded, alone, model.decoding).labels
    found: list[list[dict[str, Any]]] = [[] for _ in examples]
    for row, c, w, place in zip(rows, choice, word, places, strict=True):
        pieces = [int(piece) for piece in ids[row, c, w] if piece >= 0]
        found[row].append(
            {
                "label": choices[row][c],
                "word": spoken[row][c][w],
                "pieces": model.backbone.tokenizer.convert_ids_to_tokens(pieces),
                "score": float(scores[row, place]),
            }
        )
    return found


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


def _by_label(labels: Sequence[str], shares: Any) -> dict[str, float]:
    return dict(zip(labels, map(float, shares), strict=False))  # rows with fewer answers are padded


def _plain(row: Row) -> Row:
    return {key: [list(pair) for pair in value] if key == "guesses" else value for key, value in row.items()}


def _lines(text: dict[str, Any]) -> Iterator[Line]:
    fields = (each if isinstance(each, str) else ", ".join(each) for each in text["fields"].values())
    yield [(short(BORDER.join(fields)), "")]
    if text["probabilities"]:
        yield [(f"  {ranked(text['probabilities'])}", "")]
    yield from rows_lines([row for row in text["patterns"] if row["pattern"] != BARE or row.get("cut")])

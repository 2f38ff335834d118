"""What a predictor read, and what it thought: each pattern filled in, the words guessed at the mask, the labels.

    a member with a pattern     filled text, guesses, label probabilities, mass on label words
    anything else               the bare text and label probabilities

Made for reading; what it says comes from the same code that answers.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.backbone.guess import guesses
from promptlab.backbone.score import score
from promptlab.backbone.words import label_words
from promptlab.errors import PromptlabError
from promptlab.language.example import Example
from promptlab.language.pattern import BORDER
from promptlab.language.task import PVP, Task
from promptlab.methods.method import Predictor, probabilities
from promptlab.methods.predict import Ensemble, Model

BARE = "bare text"
_WIDEST = 240  # characters of a text on the screen

Row = dict[str, Any]
"""``pattern`` and ``text``; then ``skipped`` (why), or ``probabilities`` by label, and of a pattern ``guesses`` (word,
probability), ``mass`` on label words, whether the text was ``cut``, and which ``member`` asked where several do."""


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
        return "\n\n".join("\n".join(_lines(text)) for text in self.texts)

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
    answers = probabilities(predictor.scores(examples))
    labels = predictor.task.labels
    return Shown(
        tuple(
            _text(example, rows, {"label": labels[int(p.argmax())], "probabilities": _by_label(labels, p)})
            for example, p, *rows in zip(examples, answers, *columns, strict=True)
        )
    )


def show_untrained(task: Task, backbone: Backbone, examples: Sequence[Example], count: int = 5) -> Shown:
    """What the plain backbone makes of every pattern of the task; one that it cannot use says why."""
    if not examples:
        return Shown(())
    encoder = Encoder(backbone)
    columns = [_tried(task, backbone, encoder, pvp, examples, count) for pvp in task.pvps]
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


def _asked(model: Model, pvp: PVP, examples: Sequence[Example], count: int) -> list[Row]:
    words = label_words(model.backbone, pvp)
    encoded = model.encoder.cloze(pvp.pattern, examples, words.pieces)
    with model.tuning.applied(model.backbone, model.state) if model.tuning else nullcontext():
        found, guessed = score(model.backbone, encoded, words.ids), guesses(model.backbone, encoded, count)
    scores = found.labels if model.bias is None else found.labels - model.bias
    return [
        {
            "pattern": pvp.name,
            "text": pvp.pattern.fill(example),
            "guesses": guessed[i],
            "probabilities": _by_label(model.task.labels, probabilities(scores)[i]),
            "mass": float(found.mass[i]),
            "cut": encoded.cut[i],
        }
        for i, example in enumerate(examples)
    ]


def _tried(
    task: Task, backbone: Backbone, encoder: Encoder, pvp: PVP, examples: Sequence[Example], count: int
) -> list[Row]:
    try:
        if backbone.kind == "causal" and not pvp.pattern.mask_last:
            raise PromptlabError("a field after the mask, which a causal model cannot read")
        return _asked(Model(task, backbone, encoder, pvp), pvp, examples, count)
    except PromptlabError as error:
        why = " ".join(str(error).split())
        return [{"pattern": pvp.name, "text": pvp.pattern.fill(example), "skipped": why} for example in examples]


def _by_label(labels: Sequence[str], shares: Any) -> dict[str, float]:
    return dict(zip(labels, map(float, shares), strict=True))


def _plain(row: Row) -> Row:
    return {key: [list(pair) for pair in value] if key == "guesses" else value for key, value in row.items()}


# on the screen


def _lines(text: dict[str, Any]) -> Iterator[str]:
    yield _short(BORDER.join(each if isinstance(each, str) else ", ".join(each) for each in text["fields"].values()))
    if text["probabilities"]:
        yield f"  {_ranked(text['probabilities'])}"
    rows = [row for row in text["patterns"] if row["pattern"] != BARE or row.get("cut")]
    width = max((len(_called(row)) for row in rows), default=0)
    for row in rows:
        yield from _row_lines(row, width)


def _called(row: Row) -> str:
    return f"{row['pattern']} #{row['member']}" if "member" in row else str(row["pattern"])


def _row_lines(row: Row, width: int) -> Iterator[str]:
    yield f"  {_called(row):<{width}}  {_short(row['text'])}"
    indent = " " * (width + 4)
    if "skipped" in row:
        yield f"{indent}skipped  {row['skipped']}"
    if "guesses" in row:
        yield f"{indent}guesses  " + "  ".join(f"{word} {_share(p)}" for word, p in row["guesses"])
    if "mass" in row:
        yield f"{indent}labels   {_ranked(row['probabilities'])}    mass on label words {_share(row['mass'])}"
    if row.get("cut"):
        yield f"{indent}cut      longer than the model reads, so the end of the text was left out"


def _ranked(shares: dict[str, float]) -> str:
    return "  ".join(f"{label} {_share(p)}" for label, p in sorted(shares.items(), key=lambda each: -each[1]))


def _share(p: float) -> str:
    return f"{p:.2f}".removeprefix("0")


def _short(text: str) -> str:
    """One line, its middle left out where it is long: patterns ask at either end."""
    line = " ".join(text.split())
    half = _WIDEST // 2
    return line if len(line) <= _WIDEST else f"{line[:half]} ... {line[-half:]}"

"""How a backbone reads a task's patterns: what ``check --backbone`` shows.

    a pattern     tokens of its own; of a row; how many rows are cut
    label words   how each splits; which labels' words begin with the same piece, so that one mask cannot part them
    a row's own   (candidates, words that name fields) the same, counted over the rows
    a text asked  ({target}) no words: tokens and cuts are those of what is read before it
    problem       why the pattern cannot be asked, in words

Nothing is refused here: what cannot be had stays empty.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from promptlab.errors import PromptlabError
from promptlab.language.example import Example
from promptlab.language.task import PVP, Task

_ROWS = 500  # rows that lengths, cuts and words are counted over
_EMPTY: dict[str, Any] = {
    "words": [],
    "collisions": [],
    "row_words": None,
    "tokens": None,
    "rows": 0,
    "row_tokens": None,
    "cut": None,
}


def examined(
    name: str, task: Task, backbone: Any, data: Path | None = None, patterns: str = "all"
) -> Iterator[dict[str, Any]]:
    """One object a pattern.

    Args:
        name: the file or task as written.
        task: what it holds.
        backbone: a loaded one.
        data: folder whose rows are counted; where it is left out the task's embedded rows are, if it has any.
        patterns: which, as ``Task.select`` reads them.
    """
    from promptlab.backbone.encode import Encoder

    encoder, rows = Encoder(backbone), _rows(task, data)
    for pvp in task.select(patterns):
        found: dict[str, Any] = {"file": name, "task": task.name, "pattern": pvp.name, **_EMPTY}
        problem = None
        asked = (_fixed_words, _row_words, _own_tokens, _lengths)
        for part in (_conditional, *((_source_tokens, _source_lengths) if task.generates else asked)):
            try:
                found |= part(encoder, pvp, task, rows)
            except PromptlabError as error:
                problem = problem or str(error)
        yield {**found, "problem": problem}


def _own(task: Task, pvp: PVP) -> bool:
    return not task.fixed or pvp.verbalizer.per_example


def _conditional(encoder: Any, pvp: PVP, task: Task, rows: Sequence[Example]) -> dict[str, Any]:
    """Refuses a pattern that no method asks."""
    from promptlab.methods.patterns import unconditional

    unconditional(task, [pvp])
    return {}


def _fixed_words(encoder: Any, pvp: PVP, task: Task, rows: Sequence[Example]) -> dict[str, Any]:
    from promptlab.backbone.words import report

    words = report(encoder.backbone, pvp)
    firsts = {(word["label"], word["pieces"][0]) for word in words if word["pieces"]}
    return {"words": words, "collisions": _collisions(firsts)}


def _collisions(firsts: set[tuple[str, str]]) -> list[dict[str, Any]]:
    """First pieces that words of several labels have in common."""
    pieces = sorted({piece for _, piece in firsts})
    shared = {piece: sorted(label for label, one in firsts if one == piece) for piece in pieces}
    return [{"piece": piece, "labels": labels} for piece, labels in shared.items() if len(labels) > 1]


def _row_words(encoder: Any, pvp: PVP, task: Task, rows: Sequence[Example]) -> dict[str, Any]:
    """Refuses what cannot be asked; counts over the rows where they have words of their own."""
    from promptlab.backbone.words import label_words, row_words

    if not _own(task, pvp):
        label_words(encoder.backbone, pvp)
        return {}
    if not rows:
        return {}
    choices = None if task.fixed else [task.choices(row) for row in rows]
    ids = row_words(encoder.backbone, pvp, rows, choices).take(range(len(rows)))
    lengths = (ids >= 0).sum(-1)
    there = lengths > 0
    alike = [_alike(row[..., 0].tolist()) for row in ids]
    counts = {"words": there.sum() / len(rows), "pieces": lengths.sum() / there.sum(), "longest": lengths.max()}
    return {"row_words": {**{key: float(value) for key, value in counts.items()}, "collisions": sum(alike) / len(rows)}}


def _alike(firsts: Sequence[Sequence[int]]) -> bool:
    """Whether two choices of a row have words that begin with the same piece (-1: no word)."""
    pieces = [{piece for piece in words if piece >= 0} for words in firsts]
    return any(one & two for one, two in combinations(pieces, 2))


def _own_tokens(encoder: Any, pvp: PVP, task: Task, rows: Sequence[Example]) -> dict[str, Any]:
    empty = Example({name: () if name == task.candidates else "" for name in task.inputs})
    return {"tokens": encoder.cloze(pvp.pattern, [empty], _pieces(encoder, pvp, task)).lengths[0]}


def _pieces(encoder: Any, pvp: PVP, task: Task) -> int:
    """Tokens of the longest label word; 1 where rows have words of their own, or a word has none."""
    from promptlab.backbone.words import report

    listed = [] if _own(task, pvp) else report(encoder.backbone, pvp)
    return max([1, *(len(word["pieces"]) for word in listed)])


def _lengths(encoder: Any, pvp: PVP, task: Task, rows: Sequence[Example]) -> dict[str, Any]:
    from promptlab.backbone.words import row_words

    if not rows:
        return {}
    room: int | list[int] = _pieces(encoder, pvp, task)
    if _own(task, pvp):
        choices = None if task.fixed else [task.choices(row) for row in rows]
        room = row_words(encoder.backbone, pvp, rows, choices).room(len(rows))
    encoded = encoder.cloze(pvp.pattern, rows, room)
    return {"rows": len(rows), "row_tokens": sum(encoded.lengths) / len(rows), "cut": sum(encoded.cut) / len(rows)}


def _source_tokens(encoder: Any, pvp: PVP, task: Task, rows: Sequence[Example]) -> dict[str, Any]:
    from promptlab.backbone.pairs import sources

    return {"tokens": sources(encoder, pvp.pattern, [Example(dict.fromkeys(task.inputs, ""))]).lengths[0]}


def _source_lengths(encoder: Any, pvp: PVP, task: Task, rows: Sequence[Example]) -> dict[str, Any]:
    from promptlab.backbone.pairs import sources

    if not rows:
        return {}
    read = sources(encoder, pvp.pattern, rows)
    return {"rows": len(rows), "row_tokens": sum(read.lengths) / len(rows), "cut": sum(read.cut) / len(rows)}


def _rows(task: Task, data: Path | None) -> Sequence[Example]:
    from promptlab.data.sources import read_splits

    if data is None and "builtin" not in (task.dataset or {}):
        return ()
    splits = read_splits(task, data)
    return (splits.test or splits.train)[:_ROWS]


def cells(row: Mapping[str, Any]) -> list[str]:
    """An object of ``examined`` as a line of the table."""
    numbers = ["" if row["tokens"] is None else str(row["tokens"])]
    numbers += ["", ""] if row["cut"] is None else [f"{row['row_tokens']:.0f}", f"{100 * row['cut']:.1f} %"]
    alike = "  ".join(f"{each['piece']}: {', '.join(each['labels'])}" for each in row["collisions"])
    own = row["row_words"]
    if own:
        alike = f"in {100 * own['collisions']:.1f} % of rows"
    return [row["file"], row["pattern"], *numbers, _words(row), alike, (row["problem"] or "").replace("\n", "; ")]


def _words(row: Mapping[str, Any]) -> str:
    own = row["row_words"]
    if own:
        return f"{own['words']:.1f} a row, {own['pieces']:.1f} pieces each, {own['longest']:.0f} at most"
    return "  ".join(f"{each['label']}={'+'.join(each['pieces']) or each['word']}" for each in row["words"])


HEADS = ("file", "pattern", "tokens", "a row's", "cut", "label words", "begin alike", "problem")

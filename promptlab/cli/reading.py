"""How a backbone reads a task's patterns: what ``check --backbone`` shows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from promptlab.errors import PromptlabError
from promptlab.language.example import Example
from promptlab.language.task import PVP, Task

_ROWS = 500  # rows that lengths and cuts are counted over


def examined(name: str, task: Task, backbone: Any, data: Path | None) -> Iterator[dict[str, Any]]:
    """One object a pattern.

    Args:
        name: the file or task as written.
        task: what it holds.
        backbone: a loaded one.
        data: folder whose rows are counted; only the pattern's own tokens are where it is left out.
    """
    from promptlab.backbone.encode import Encoder

    encoder, rows = Encoder(backbone), _rows(task, data)
    for pvp in task.pvps:
        words, fault = _words(backbone, pvp)
        found = {"file": name, "pattern": pvp.name, "words": words, "tokens": None, "row_tokens": None, "cut": None}
        try:
            found |= _lengths(encoder, pvp, task, rows)
        except PromptlabError as error:
            fault = fault or str(error)
        yield {**found, "problem": fault}


def _words(backbone: Any, pvp: PVP) -> tuple[list[dict[str, Any]], str | None]:
    from promptlab.backbone.words import label_words, report

    try:
        label_words(backbone, pvp)
    except PromptlabError as error:
        return report(backbone, pvp), str(error)
    return report(backbone, pvp), None


def _lengths(encoder: Any, pvp: PVP, task: Task, rows: Sequence[Example]) -> dict[str, Any]:
    empty = Example({name: "" for name in task.inputs})
    found: dict[str, Any] = {"tokens": encoder.cloze(pvp.pattern, [empty]).lengths[0]}
    if rows:
        encoded = encoder.cloze(pvp.pattern, rows)
        found |= {"row_tokens": sum(encoded.lengths) / len(rows), "cut": sum(encoded.cut) / len(rows)}
    return found


def _rows(task: Task, data: Path | None) -> Sequence[Example]:
    from promptlab.data.sources import read_splits

    if data is None:
        return ()
    splits = read_splits(task, data)
    return (splits.test or splits.train)[:_ROWS]


def cells(row: dict[str, Any]) -> list[str]:
    """An object of ``examined`` as a line of the table."""
    words = "  ".join(f"{each['label']}={'+'.join(each['pieces'])}" for each in row["words"])
    numbers = ["" if row["tokens"] is None else str(row["tokens"])]
    numbers += ["", ""] if row["cut"] is None else [f"{row['row_tokens']:.0f}", f"{100 * row['cut']:.1f} %"]
    return [row["file"], row["pattern"], *numbers, words, (row["problem"] or "").replace("\n", "; ")]


HEADS = ("file", "pattern", "tokens", "a row's", "cut", "label words", "problem")

"""What was shown, as lines for a screen: of (text, style) parts, so that a terminal may colour them.

    pattern   the text with its gap
    context   the instruction and the demonstrations that it was read after
    skipped   why it could not be asked; or
    read      how many tokens stood before a text, and
    wrote     the text
    guesses   the model's own words at the mask
    tokens    each label's words in pieces, with their scores
    before    label probabilities before calibration, where there is one
    labels    label probabilities, and the mass on label words
    cut       of each field that was cut: how much was read, and where it ended

A line is left out where there is nothing to tell.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from promptlab.language.pattern import BLANK

Line = list[tuple[str, str]]  # text and style
WIDEST = 240  # characters of a text on the screen


def plain(lines: Iterator[Line]) -> str:
    """Lines as a text without colours."""
    return "\n".join("".join(text for text, _ in line) for line in lines)


def rows_lines(rows: Sequence[Mapping[str, Any]], whole: bool = False) -> Iterator[Line]:
    """The lines of several rows, their patterns' names in one column.

    Args:
        rows: as ``show`` makes them.
        whole: leave long texts as they are.
    """
    width = max((len(called(row)) for row in rows), default=0)
    for row in rows:
        yield from _row_lines(row, width, whole)


def called(row: Mapping[str, Any]) -> str:
    """A row's pattern, with the number of its member where several ask it."""
    return f"{row['pattern']} #{row['member']}" if "member" in row else str(row["pattern"])


def _row_lines(row: Mapping[str, Any], width: int, whole: bool) -> Iterator[Line]:
    text = " ".join(row["text"].split()) if whole else short(row["text"])
    before, mask, after = text.partition(BLANK)
    yield [(f"  {called(row):<{width}}  ", "cyan"), (before, ""), (mask, "bold yellow"), (after, "")]
    for head, parts in _told(row):
        yield [(f"{' ' * (width + 4)}{head:<9}", "dim"), *parts]


def _told(row: Mapping[str, Any]) -> Iterator[tuple[str, Line]]:
    if row.get("context"):
        yield "context", [(short(" / ".join(row["context"])), "")]
    if "skipped" in row:
        yield "skipped", [(row["skipped"], "")]
    if "written" in row:
        yield "read", [(f"{row['tokens']} tokens", "dim")]
        yield "wrote", [(" ".join(row["written"].split()) or "(nothing)", "bold green")]
    if row.get("guesses"):
        yield "guesses", [("  ".join(f"{word} {share(p)}" for word, p in row["guesses"]), "")]
    if row.get("words"):
        yield "tokens", [("  ".join(map(_word, row["words"])), "")]
    if "uncalibrated" in row:
        yield "before", [(ranked(row["uncalibrated"]), ""), ("    without calibration", "dim")]
    if "mass" in row:
        yield "labels", list(_labels(row))
    if row.get("cut"):
        where = "; ".join(map(_cut, row.get("cuts", ()))) or "the end of the text was left out"
        yield "cut", [(f"longer than the model reads: {where}", "")]


def _labels(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for at, (label, p) in enumerate(_sorted(row["probabilities"])):
        yield f"{'  ' if at else ''}{label} {share(p)}", "" if at else "bold green"
    yield f"    mass on label words {share(row['mass'])}", "dim"


def _word(word: Mapping[str, Any]) -> str:
    return f"{word['label']}={'+'.join(word['pieces'])} {word['score']:.1f}"


def _cut(cut: Mapping[str, Any]) -> str:
    return f"{cut['read']} of {cut['of']} tokens of {cut['field']}, up to '{cut['until']}'"


def ranked(shares: Mapping[str, float]) -> str:
    """Labels with their probabilities, the likeliest first."""
    return "  ".join(f"{label} {share(p)}" for label, p in _sorted(shares))


def _sorted(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda each: -each[1])


def share(p: float) -> str:
    """A probability in two decimals, without the nought."""
    return f"{p:.2f}".removeprefix("0")


def short(text: str) -> str:
    """One line, its middle left out where it is long: patterns ask at either end."""
    line = " ".join(text.split())
    half = WIDEST // 2
    return line if len(line) <= WIDEST else f"{line[:half]} ... {line[-half:]}"

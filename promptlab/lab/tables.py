"""A table as text, and how its numbers are written."""

from collections.abc import Sequence
from dataclasses import dataclass

_HEADS = {
    "bleu": "BLEU", "nist": "NIST", "meteor": "METEOR", "rouge_l": "ROUGE-L", "cider": "CIDEr", "ter": "TER",
    "chrf": "chrF++", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L",
    "webnlg_bleu": "BLEU", "webnlg_meteor": "METEOR",
}  # fmt: skip
WIDEST = 60  # characters a column of Markdown is padded to at most
_WHOLE = ("nist", "cider")  # metrics that are no share of anything


@dataclass(frozen=True)
class Table:
    """What a terminal, Markdown and HTML all show.

    Args:
        caption: one line.
        heads: of the columns; the first names the rows.
        rows: texts, as many in each as heads.
        bold: (row, column) of cells that stand out.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: frozenset[tuple[int, int]] = frozenset()

    def right(self, column: int) -> bool:
        """Whether a column holds numbers, which stand to the right."""
        texts = [row[column] for row in self.rows if row[column]]
        return column > 0 and all(text[0].isdigit() or text[0] in "-–" for text in texts)


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, columns aligned; what is longer than ``WIDEST`` sticks out and pads no other."""
    body = [
        [_escaped(f"**{text}**" if text and (r, c) in table.bold else text) for c, text in enumerate(row)]
        for r, row in enumerate(table.rows)
    ]
    heads = [_escaped(head) for head in table.heads]
    widths = [min(WIDEST, max(3, *(len(row[c]) for row in [heads, *body]))) for c in range(len(heads))]
    right = [table.right(c) for c in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        padded = [text.rjust(w) if r else text.ljust(w) for text, w, r in zip(cells, widths, right, strict=True)]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)) + "|"
    return "\n".join([table.caption, "", line(heads), rule, *map(line, body)])


def cell_text(mean: float | None, sd: float | None) -> str:
    """A score over seeds, in per cent: ``85.9 ± 2.0``."""
    if mean is None:
        return "–"
    return f"{100 * mean:.1f}" + (f" ± {100 * sd:.1f}" if sd is not None else "")


def metric_head(name: str) -> str:
    """How a table calls a metric: ``BLEU``, ``BLEU seen``; of a name it does not know, the name."""
    bare, _, part = name.partition("/")
    return f"{_HEADS.get(bare, bare)} {part}".strip()


def metric_cell(name: str, mean: float | None, sd: float | None = None) -> str:
    """A metric's mean over seeds: in per cent, or as it is where it is no share (``8.59 ± 0.03``)."""
    if mean is None or is_share(name):
        return cell_text(mean, sd)
    return f"{mean:.2f}" + (f" ± {sd:.2f}" if sd is not None else "")


def is_share(name: str) -> bool:
    """Whether a metric is given in per cent."""
    return name.partition("/")[0] not in _WHOLE


def number_text(number: int) -> str:
    """A count of parameters: ``0``, ``768``, ``73.7 k``, ``22.7 M``."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)


def seconds_text(seconds: float) -> str:
    """Seconds, to what matters: ``0.21``, ``3.4``, ``128``."""
    return f"{seconds:.2f}" if seconds < 1 else f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"


def memory_text(size: int | None) -> str:
    """Bytes: ``640 MB``, ``1.9 GB``; a dash where nobody knows."""
    if size is None:
        return "–"
    return f"{size / 10**9:.1f} GB" if size >= 10**9 else f"{size / 10**6:.0f} MB"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

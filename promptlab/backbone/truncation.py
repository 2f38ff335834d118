"""Making rows fit: fields lose tokens from their ends, the longest first; nothing else is ever cut."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from promptlab.errors import DataError
from promptlab.language.grammar import Field


@dataclass
class Column:
    """The same piece of every row.

    Args:
        ids: token ids, one tuple a row.
        number: segment number of its tokens.
        field: the field it shows; None for text, masks and special tokens.
        mask: the label word goes here.
    """

    ids: list[tuple[int, ...]]
    number: int = 0
    field: Field | None = None
    mask: bool = False

    @property
    def cuttable(self) -> bool:
        """Whether it may be shortened."""
        return self.field is not None and not self.field.keep


def shares(lengths: Sequence[int], budget: int) -> list[int]:
    """How many tokens each of several texts keeps, so that together they have at most ``budget``.

    As if the longest lost one token at a time; odd tokens stay with what was longest, then with what comes last.
    """
    kept = list(lengths)
    order = sorted(range(len(kept)), key=lambda i: lengths[i])
    for done, i in enumerate(order):
        kept[i] = min(lengths[i], budget // (len(order) - done))
        budget -= kept[i]
    return kept


def fit(columns: list[Column], limit: int | Sequence[int], explain: Callable[[int, int], str]) -> list[bool]:
    """Cuts every row to its ``limit`` of tokens, in place.

    Args:
        columns: all pieces, each with ids for every row.
        limit: tokens a row may have; a number a row where rows differ.
        explain: from the row's number (from 0) and what of it cannot be cut, what to say where it does not fit.

    Returns:
        Whether each row was cut.

    Raises:
        DataError: of a row's fields at least one would be left without a token.
    """
    totals = [sum(map(len, row)) for row in zip(*(column.ids for column in columns), strict=True)]
    cuttable = [column for column in columns if column.cuttable]
    limits = [limit] * len(totals) if isinstance(limit, int) else limit
    for row, (total, most) in enumerate(zip(totals, limits, strict=True)):
        if total > most:
            lengths = [len(column.ids[row]) for column in cuttable]
            budget = most - (total - sum(lengths))
            kept = shares(lengths, budget)
            if budget < 0 or any(share < 1 <= length for share, length in zip(kept, lengths, strict=True)):
                raise DataError(explain(row, total - sum(lengths)))
            for column, share in zip(cuttable, kept, strict=True):
                column.ids[row] = column.ids[row][:share]
    return [total > most for total, most in zip(totals, limits, strict=True)]

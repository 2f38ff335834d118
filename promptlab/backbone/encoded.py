"""Rows of token ids before they are padded: what is read, where it answers, and on an encoder-decoder both halves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass
class Encoded:
    """Rows of token ids, unpadded.

    Args:
        ids: token ids of each row.
        segments: segment number of each token; None where the model has one segment.
        slots: positions whose hidden states answer; empty for bare text.
        cut: whether the row lost tokens.
        replies: what the decoder reads of each row, on an encoder-decoder; ``slots`` are then places in it.
    """

    ids: list[list[int]]
    segments: list[list[int]] | None
    slots: list[list[int]]
    cut: list[bool]
    replies: list[list[int]] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return list(map(len, self.ids))

    def take(self, rows: Iterable[int]) -> "Encoded":
        """The chosen rows, in the order given."""
        chosen = list(rows)
        return Encoded(
            [self.ids[row] for row in chosen],
            None if self.segments is None else [self.segments[row] for row in chosen],
            [self.slots[row] for row in chosen],
            [self.cut[row] for row in chosen],
            None if self.replies is None else [self.replies[row] for row in chosen],
        )

    def followed(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> "Encoded":
        """Rows that answer at their last place, with tokens behind it: a slot there, and at each of the tokens.

        Args:
            rows: numbers of rows, in any order, as often as wanted.
            tokens: what follows each; behind the decoder's own beginning on an encoder-decoder.
        """
        found = self.take(rows)
        grown = found.ids if found.replies is None else found.replies
        grown = [[*own, *after] for own, after in zip(grown, tokens, strict=True)]
        slots = [list(range(last, last + len(after) + 1)) for (last,), after in zip(found.slots, tokens, strict=True)]
        if found.replies is not None:
            return replace(found, replies=grown, slots=slots)
        segments = found.segments
        if segments is not None:
            segments = [own + own[-1:] * len(after) for own, after in zip(segments, tokens, strict=True)]
        return replace(found, ids=grown, segments=segments, slots=slots)

    @staticmethod
    def joined(parts: Sequence["Encoded"]) -> "Encoded":
        """Rows of several sets, at least one, one after the other."""
        first = parts[0]
        return Encoded(
            [row for part in parts for row in part.ids],
            None if first.segments is None else [row for part in parts for row in part.segments or []],
            [row for part in parts for row in part.slots],
            [row for part in parts for row in part.cut],
            None if first.replies is None else [row for part in parts for row in part.replies or []],
        )

"""Rows that go on with a text: what is read, and what is to be written (Li & Liang 2021, arXiv:2101.00190, section 3).

    causal             row up to {target}, then the text          a slot at each place whose next token is the text's
    encoder-decoder    the row in the encoder, the text in the decoder, behind what a decoder reads first
    the text           its own tokens, then the end token; a space before {target} belongs to it
    loss               cross-entropy at the slots: the text's tokens and the end token, nothing else

The end token itself is never read. Ids are those of row and text tokenised as one, wherever no token would cross the
border between them, and no text can spell a special token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoded, Encoder, sound
from promptlab.backbone.fragments import WORD, Fragment, Fragments
from promptlab.backbone.layout import at_mask, gapped
from promptlab.backbone.reply import end_ids
from promptlab.backbone.specials import specials_of
from promptlab.errors import DataError
from promptlab.language.example import Example
from promptlab.language.pattern import Pattern

__all__ = ["Pairs", "end_ids", "pairs", "sources", "targets"]
_SIGN = "("  # before a text that stands right after a slot: it begins a word there


@dataclass
class Pairs:
    """Rows with the texts that follow.

    Args:
        encoded: the rows, each with a slot for every token of its text, the end token included.
        targets: what each slot should say.
    """

    encoded: Encoded
    targets: list[list[int]]

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row, those that a decoder reads included."""
        replies = self.encoded.replies or [[]] * len(self)
        return [len(ids) + len(reply) for ids, reply in zip(self.encoded.ids, replies, strict=True)]

    def take(self, rows: Sequence[int]) -> "Pairs":
        """The chosen rows, in the order given."""
        return Pairs(self.encoded.take(rows), [self.targets[row] for row in rows])


def sources(
    encoder: Encoder,
    pattern: Pattern,
    examples: Sequence[Example],
    room: int | Sequence[int] = 0,
    max_length: int | None = None,
) -> Encoded:
    """What the model reads before it writes; :meth:`promptlab.backbone.encode.Encoder.source` says all.

    Text behind ``{target}`` is not read on a causal backbone (``layout.after_gap`` says which).
    """
    return encoder.source(pattern, examples, room, max_length)


def targets(
    backbone: Backbone,
    pattern: Pattern,
    texts: Sequence[str],
    space: bool | None = None,
    fragments: Fragments | None = None,
) -> list[list[int]]:
    """Token ids of texts as they stand after the row, closed by the end token.

    Args:
        backbone: causal, or an encoder-decoder, whose decoder begins a text of its own.
        pattern: with a ``{target}``.
        texts: white space around them is left out.
        space: whether a space stands before them on a causal backbone; None for what the pattern has.
        fragments: of the backbone's tokenizer, where texts may have been met before.

    Raises:
        DataError: a text is empty, or nothing of it can be read; names the row.
        BackboneError: no token ends a text.
    """
    blank, before = _border(backbone, pattern) if space is None else (space, _border(backbone, pattern)[1])
    end = end_ids(backbone)[0]
    wanted = [Fragment.of(" " * blank + sound(text.strip()), before) for text in texts]
    found = (fragments or Fragments(backbone.tokenizer)).all(wanted)
    for row, (text, ids) in enumerate(zip(texts, found, strict=True), 1):
        if not text.strip() or not ids:
            raise DataError(f"row {row}: the text to be written is empty. Write one, or leave the row out.")
    return [[*ids, end] for ids in found]


def pairs(
    encoder: Encoder,
    pattern: Pattern,
    examples: Sequence[Example],
    texts: Sequence[str],
    max_length: int | None = None,
) -> Pairs:
    """Rows for learning to write.

    Args:
        encoder: lays rows out; with marks where soft tokens stand, if it is a tuning's.
        pattern: with a ``{target}``.
        examples: what is read.
        texts: what is to be written, one a row.
        max_length: tokens a row may have, its text included on a causal backbone; at most, and by default, what the
            backbone reads.

    Raises:
        DataError: a text is empty or too long, or a row does not fit beside it; names the row.
        BackboneError: a backbone that cannot write, or not after this pattern.
        PatternError: the pattern asks for a label word.
    """
    asked = encoder.source(pattern, examples[:1], 0, max_length)  # refuses what no row of this pattern can do
    said = targets(encoder.backbone, pattern, texts, fragments=encoder.fragments)
    _check_lengths(encoder, said, len(asked.replies[0]) if asked.replies else 0, max_length)
    read = encoder.source(pattern, examples, list(map(len, said)), max_length)
    return Pairs(read.followed(range(len(said)), [ids[:-1] for ids in said]), said)


def _border(backbone: Backbone, pattern: Pattern) -> tuple[bool, str]:
    """Whether a space belongs to the text, and the character before it."""
    if backbone.kind == "seq2seq":
        return False, ""
    space, before = at_mask(gapped(pattern), specials_of(backbone).parts)
    return space, _SIGN if before == WORD and not space else before


def _check_lengths(encoder: Encoder, said: Sequence[Sequence[int]], begun: int, max_length: int | None) -> None:
    most, name = encoder.backbone.max_length, encoder.backbone.name
    if begun:  # an encoder-decoder's decoder has places of its own
        most -= begun - 1
    elif max_length is not None:
        most = min(most, max_length)
    for row, ids in enumerate(said, 1):
        if len(ids) > most:
            raise DataError(
                f"row {row}: the text to be written is {len(ids)} tokens long, and {name} has room for {most}. "
                "Shorten it, or leave the row out."
            )

"""Examples into rows of token ids: each field is tokenised once, and patterns are laid around the ids.

    for each piece of the pattern: ids for all rows at once           (fragments.py: one tokenizer call a data set)
    cut what is too long from the ends of the longest fields          (truncation.py: arithmetic on lengths)
    put special tokens, texts, fields and masks in a row              the mask's positions are known, not searched for

The ids are those of the filled pattern tokenised whole, wherever no token would cross the border of a slot, and no text
can spell a special token. Around the mask that means: as the words on both sides are read beside a word of text.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, takewhile
from typing import Any

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encoded import Encoded
from promptlab.backbone.fragments import WORD, Fragment, Fragments
from promptlab.backbone.layout import Laid, gapped, lay_out, until_mask
from promptlab.backbone.reply import asking, beginning
from promptlab.backbone.specials import specials_of
from promptlab.backbone.truncation import Column, fit
from promptlab.errors import BackboneError, DataError, PatternError
from promptlab.language.example import Example
from promptlab.language.grammar import Field, Mask, Part, Sep, Soft, Text, Token
from promptlab.language.pattern import Pattern

__all__ = ["Encoded", "Encoder", "sound"]
_LAST = 6  # tokens that say where a field was cut


class Encoder:
    """Lays patterns around examples for one backbone; remembers the ids of every text it has seen.

    Args:
        backbone: whose tokens they become.
    """

    def __init__(self, backbone: Backbone):
        self.backbone, self.taken = backbone, 0  # positions of a row that are not for its tokens
        self.specials = specials_of(backbone)
        self.fragments = Fragments(backbone.tokenizer)

    def cloze(
        self,
        pattern: Pattern,
        examples: Sequence[Example],
        pieces: int | Sequence[int] = 1,
        max_length: int | None = None,
    ) -> Encoded:
        """Examples in a pattern.

        A masked backbone gets ``pieces`` mask tokens, and they are its slots. A causal one gets the text before the
        mask and answers at its last token; a space before the mask is the label word's. An encoder-decoder answers at
        the last token of its decoder's beginning (reply.py).

        Args:
            pattern: with a ``{mask}``.
            examples: what fills the fields.
            pieces: tokens of the longest label word, or of each row's longest; room for them is kept free on a causal
                backbone too.
            max_length: tokens a row may have; at most, and by default, what the backbone reads.

        Raises:
            DataError: a row lacks a field, or does not fit although its fields are cut.
            BackboneError: a causal backbone and a field after the mask, or a special token it does not have.
            PatternError: the pattern generates.
        """
        if pattern.generates:
            raise PatternError("a pattern with {target} generates text, so no label word answers it. Write {mask}.")
        return self._asked(pattern, examples, pieces, max_length, writes=False)

    def source(
        self,
        pattern: Pattern,
        examples: Sequence[Example],
        room: int | Sequence[int] = 0,
        max_length: int | None = None,
    ) -> Encoded:
        """What is read before a text is written.

        A causal backbone reads up to ``{target}``, whose space belongs to the text; an encoder-decoder reads the whole
        row without it, and its decoder begins with what it reads before any text.

        Args:
            pattern: with a ``{target}``.
            examples: what fills the fields.
            room: tokens that are kept free behind the row on a causal backbone; a number a row where they differ.
            max_length: tokens a row may have, the room included; at most, and by default, what the backbone reads.

        Raises:
            DataError: a row lacks a field, or does not fit although its fields are cut.
            BackboneError: a causal backbone and a field after the target, or a masked one.
            PatternError: the pattern asks for a label word.
        """
        if not pattern.generates:
            raise PatternError(f"pattern '{pattern.name}' asks for a label word and not for a text. Write {{target}}.")
        if self.backbone.kind == "masked":
            raise BackboneError(
                f"{self.backbone.name} fills in masks and writes no text. Write a causal model (GPT-2, Llama) or an "
                "encoder-decoder (T5, BART)."
            )
        if self.backbone.kind == "causal":
            until_mask(pattern, self.backbone.name)
        return self._asked(gapped(pattern), examples, room, max_length, writes=True)

    def _asked(
        self,
        pattern: Pattern,
        examples: Sequence[Example],
        pieces: int | Sequence[int],
        max_length: int | None,
        writes: bool,
    ) -> Encoded:
        columns, limits = self._laid(pattern, examples, pieces, max_length, writes)
        encoded = self._rows(columns, examples, limits, f"pattern '{pattern.name}'")
        if self.backbone.kind == "masked":
            encoded.slots = _positions(columns)
        elif self.backbone.kind == "causal":
            encoded.slots = [[len(ids) - 1] for ids in encoded.ids]
        else:
            begun = beginning(self.backbone, writes)
            encoded.replies = [begun] * len(encoded)
            encoded.slots = [[len(begun) - 1]] * len(encoded)
        return encoded

    def shown(self, pattern: Pattern) -> Pattern:
        """The pattern as a person is to see it."""
        return pattern

    def cuts(
        self,
        pattern: Pattern,
        examples: Sequence[Example],
        pieces: int | Sequence[int] = 1,
        max_length: int | None = None,
    ) -> list[list[dict[str, Any]]]:
        """Where rows are cut: each ``field`` that lost tokens, how many are ``read``, ``of`` how many, ``until`` where.

        Args:
            pattern: as :meth:`cloze`, as the others.
            examples: what fills the fields.
            pieces: tokens of the longest label word, or of each row's.
            max_length: tokens a row may have.

        Raises:
            DataError, BackboneError, PatternError: as :meth:`cloze`.
        """
        columns, limits = self._laid(gapped(pattern), examples, pieces, max_length, pattern.generates)
        whole = [list(map(len, column.ids)) for column in columns]
        self._rows(columns, examples, limits, f"pattern '{pattern.name}'")
        found: list[list[dict[str, Any]]] = [[] for _ in examples]
        for column, lengths in zip(columns, whole, strict=True):
            for row, (ids, length) in enumerate(zip(column.ids, lengths, strict=True)):
                if column.field and len(ids) < length:
                    until = self.backbone.tokenizer.decode(list(ids)[-_LAST:]).strip()
                    found[row].append({"field": column.field.name, "read": len(ids), "of": length, "until": until})
        return found

    def _laid(
        self,
        pattern: Pattern,
        examples: Sequence[Example],
        pieces: int | Sequence[int],
        max_length: int | None,
        writes: bool = False,
    ) -> tuple[list[Column], list[int]]:
        """All pieces of the rows, uncut, and the tokens that each row may have."""
        causal = self.backbone.kind == "causal"
        parts = until_mask(pattern, self.backbone.name) if causal else pattern.parts
        layout = lay_out(parts, self.specials.parts)
        room = [pieces] * len(examples) if isinstance(pieces, int) else list(pieces)
        columns = self._columns(layout, examples, self._gaps(room, writes), ends=not causal)
        most = self._limit(max_length)
        return columns, [most - length if causal else most for length in room]

    def _gaps(self, room: Sequence[int], writes: bool) -> list[tuple[int, ...]]:
        """What stands in each row where the answer is asked for."""
        if self.backbone.kind == "masked":
            return [(self._mask_id(),) * length for length in room]
        return [() if writes or self.backbone.kind == "causal" else asking(self.backbone)] * len(room)

    def plain(self, examples: Sequence[Example], inputs: Sequence[str], max_length: int | None = None) -> Encoded:
        """Bare fields, as the tokenizer itself would join them: one text, or two with the model's separators.

        Where the model has none, or is causal, a newline parts them. An empty row holds the beginning-of-text token.
        The decoder of an encoder-decoder reads no more than what stands before any text.

        Args:
            examples: what is read.
            inputs: names of the fields, in order.
            max_length: tokens a row may have; at most, and by default, what the backbone reads.

        Raises:
            DataError: a row lacks a field.
        """
        parts: Sequence[Part] = [part for name in inputs for part in (Sep(), Field(name))][1:]
        columns = self._columns(lay_out(parts, self.specials.parts), examples, masks=[], ends=True)
        encoded = self._rows(columns, examples, [self._limit(max_length)] * len(examples), "the bare text")
        if self.backbone.kind == "seq2seq":
            encoded.replies = [beginning(self.backbone, writes=True)] * len(encoded)
        return encoded

    def _limit(self, max_length: int | None) -> int:
        most = self.backbone.max_length - self.taken
        return most if max_length is None else min(max_length, most)

    def _mask_id(self) -> int:
        if self.backbone.tokenizer.mask_token_id is None:
            raise BackboneError(f"the tokenizer of {self.backbone.name} has no mask token. Write a masked backbone.")
        return self.backbone.tokenizer.mask_token_id

    def _columns(
        self, layout: list[list[Laid]], examples: Sequence[Example], masks: Sequence[tuple[int, ...]], ends: bool
    ) -> list[Column]:
        frame, columns = self.specials.frame(len(layout)), []
        for run, segment, number in zip(frame.runs, layout, frame.numbers, strict=False):
            columns += _special(run, len(examples))
            shown = [_shown(part, examples) for part in segment]
            befores = _neighbours(shown, slice(-1, None), len(examples))
            afters = _neighbours(shown[::-1], slice(0, 1), len(examples))[::-1]
            for part, *around in zip(segment, shown, befores, afters, strict=True):
                if isinstance(part, Mask):
                    columns.append(Column(list(masks), number, mask=True))
                elif isinstance(part, Token):
                    columns.append(Column([self._token_ids(part)] * len(examples), number))
                else:
                    there = [part.ids] * len(examples) if isinstance(part, Soft) else None
                    ids = there or self.fragments.all(map(Fragment.of, *around))
                    columns.append(Column(ids, number, part if isinstance(part, Field) else None))
        return columns + (_special(frame.runs[-1], len(examples)) if ends else [])

    def _token_ids(self, part: Token) -> tuple[int, ...]:
        """The token, after what its tokenizer makes of the space before it: nothing, or a token of its own."""
        found, tokenizer = self._token_id(part.name), self.backbone.tokenizer
        read, base = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (f"x {part.name}", "x"))
        alone = read[: len(base)] == base and read[len(base) :][-1:] == [found]
        return (*read[len(base) : -1], found) if part.space and alone else (found,)

    def _token_id(self, name: str) -> int:
        tokenizer = self.backbone.tokenizer
        found = tokenizer.convert_tokens_to_ids(name)
        if found is None or (found == tokenizer.unk_token_id and name != tokenizer.unk_token):
            raise BackboneError(
                f"{self.backbone.name} has no token '{name}', which {{token:{name}}} asks for. Write one of its own."
            )
        return found

    def _rows(self, columns: list[Column], examples: Sequence[Example], limits: list[int], where: str) -> Encoded:
        cut = fit(columns, limits, lambda row, fixed: self._too_long(columns, row, fixed, limits[row], where))
        ids = [list(chain.from_iterable(row)) for row in zip(*(column.ids for column in columns), strict=True)]
        for row, found in enumerate(ids):
            found += [] if any(token >= 0 for token in found) else self._start(row, where)
        return Encoded(ids, _numbers(columns) if self.specials.numbered else None, [[] for _ in examples], cut)

    def _too_long(self, columns: list[Column], row: int, fixed: int, limit: int, where: str) -> str:
        kept = {column.field.name: len(column.ids[row]) for column in columns if column.field and column.field.keep}
        listed = ", ".join(f"{name} {length}" for name, length in kept.items())
        return (
            f"row {row + 1}: {where} takes {fixed} tokens{f' (kept whole: {listed})' if kept else ''} beside the text "
            f"that may be cut, and a row has {limit}: nothing of that text would be read. Shorten "
            f"{'the kept fields, leave out :keep,' if kept else 'the pattern,'} or allow a larger max_length "
            f"({self.backbone.name} reads {self.backbone.max_length} at most)."
        )

    def _start(self, row: int, where: str) -> list[int]:
        if self.specials.start is None:
            raise DataError(
                f"row {row + 1}: nothing of {where} is left to read, and {self.backbone.name} has no token that begins "
                "a text. Leave the empty row out, or write text into the pattern before {mask}."
            )
        return [self.specials.start]


def _special(run: Iterable[tuple[int, int]], rows: int) -> list[Column]:
    return [Column([(token,)] * rows, number) for token, number in run]


def _shown(part: Laid, examples: Sequence[Example]) -> list[str]:
    if isinstance(part, Text):
        return [part.text] * len(examples)
    if not isinstance(part, Field):
        return [" " * part.space + WORD] * len(examples)
    texts = []
    for row, example in enumerate(examples, 1):
        try:
            texts.append(" " * part.space + sound(part.read(example)))
        except DataError as error:
            raise DataError(f"row {row}: {error}") from None
    return texts


def _neighbours(shown: list[list[str]], edge: slice, rows: int) -> list[list[str]]:
    # for each part and row, the edge of the nearest text that is there, looking back; empty where there is none
    nearest, found = [""] * rows, []
    for texts in shown:
        found.append(nearest)
        nearest = [text[edge] or near for text, near in zip(texts, nearest, strict=True)]
    return found


def sound(text: str) -> str:
    """The text without half characters."""
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, as cut JSON has them: no tokenizer takes it
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _positions(columns: list[Column]) -> list[list[int]]:
    before = list(takewhile(lambda column: not column.mask, columns))
    masks = columns[len(before)].ids
    starts = [sum(len(column.ids[row]) for column in before) for row in range(len(masks))]
    return [list(range(start, start + len(mask))) for start, mask in zip(starts, masks, strict=True)]


def _numbers(columns: list[Column]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in columns[0].ids]
    for column in columns:
        for row, ids in zip(rows, column.ids, strict=True):
            row += [column.number] * len(ids)
    return rows

"""What stands before a row: an instruction, demonstrations, and how many of them fit (Brown et al. 2020, 2005.14165).

    instruction, blank line, demonstration, blank line, ..., the row up to its mask           causal backbones
    the same parted by the model's own separator                                            masked backbones
    user: instruction, demonstration   assistant: its word   ...   user: the row   assistant:         chat

A demonstration is the pattern filled with a labelled row and its label's first word, or its first text. As many are
shown as fit beside the row, the most wanted first; none is ever cut. A row may claim half of what the model reads; of a
longer one the text is cut, and one demonstration always stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from promptlab.backbone.chat import as_template, between
from promptlab.backbone.encode import Encoded, Encoder, sound
from promptlab.backbone.layout import until_mask
from promptlab.errors import BackboneError, DataError
from promptlab.language.example import Example
from promptlab.language.grammar import Field, Mask, Part, Sep, Soft, Target, Text
from promptlab.language.pattern import Pattern
from promptlab.language.task import PVP, Task

BLANK_LINE = "\n\n"
Kept = tuple[int, ...]


@dataclass
class Page:
    """A pattern with what stands before it.

    Args:
        task: says which choices a labelled row has.
        encoder: of the backbone that reads.
        pvp: the pattern, and the words that answer the demonstrations.
        rows: labelled rows that may be shown.
        instruction: stands first; empty for none.
        chat: in the backbone's chat template.
        max_length: tokens a row may have with all that stands before it.
    """

    task: Task
    encoder: Encoder
    pvp: PVP
    rows: Sequence[Example] = ()
    instruction: str = ""
    chat: bool = False
    max_length: int | None = None
    _costs: dict[Kept, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.chat and self.encoder.backbone.kind != "causal":
            name = self.encoder.backbone.name
            raise BackboneError(f"chat=true: {name} fills in masks and holds no conversation. Leave chat out.")

    def pattern(self, shown: Kept = ()) -> Pattern:
        """The pattern after the rows of those numbers, in their order."""
        own = self.pvp.pattern
        parts = self._conversation(shown) if self.chat else self._text(shown)
        return Pattern(own.name, own.source, tuple(_spaced(parts)), own.when)

    def read(self, examples: Sequence[Example], shown: Kept = (), room: int | Sequence[int] = 1) -> Encoded:
        """Rows after the same demonstrations.

        Args:
            examples: what is asked about.
            shown: numbers of the demonstrations.
            room: tokens of the longest label word, or of each row's longest; of a text, as many as may be written.
        """
        read = self.encoder.source if self.pvp.pattern.generates else self.encoder.cloze
        encoded = read(self.pattern(shown), examples, room, self.max_length)
        return as_template(self.encoder.backbone, encoded) if self.chat else encoded

    def fitting(self, wanted: Sequence[Kept], alone: Sequence[int], room: Sequence[int]) -> list[Kept]:
        """Which demonstrations each row is shown.

        Args:
            wanted: numbers of labelled rows for each row asked about, the most wanted first.
            alone: tokens of each row without demonstrations, before it is cut.
            room: tokens of the label word: masks, which count among ``alone``, or kept free behind a causal row.

        Raises:
            DataError: not even the shortest demonstration fits.
        """
        frame, causal = self._cost(()), self.encoder.backbone.kind == "causal"
        return [
            self._fit(each, frame + (0 if causal else word - 1), length, self.limit - (word if causal else 0), at)
            for at, (each, length, word) in enumerate(zip(wanted, alone, room, strict=True), 1)
        ]

    @property
    def limit(self) -> int:
        """Tokens a row may have."""
        most = self.encoder.backbone.max_length
        return most if self.max_length is None else min(most, self.max_length)

    def _fit(self, wanted: Kept, frame: int, alone: int, limit: int, at: int) -> Kept:
        claimed = min(alone - frame, max(limit // 2 - frame, 1))
        spare, kept = limit - frame - claimed, []
        for row in wanted:
            if (cost := self._adds(row)) <= spare:
                spare -= cost
                kept.append(row)
        if kept or not wanted:
            return tuple(kept)
        shortest = min(wanted, key=self._adds)
        if frame + self._adds(shortest) + 1 > limit:
            raise DataError(
                f"row {at}: no demonstration fits: the shortest takes {self._adds(shortest)} tokens, and a "
                f"row has {limit}, {frame} of them for the pattern and the instruction. Write a larger max_length "
                f"({self.encoder.backbone.name} reads {self.encoder.backbone.max_length} at most), shorter labelled "
                "rows, or the method zero-shot."
            )
        return (shortest,)

    def _adds(self, row: int) -> int:
        """Tokens that a demonstration adds to a row."""
        return self._cost((row,)) - self._cost(())

    def _cost(self, shown: Kept) -> int:
        if shown not in self._costs:
            self._costs[shown] = self._measured(shown)
        return self._costs[shown]

    def _measured(self, shown: Kept) -> int:
        blank = Example(dict.fromkeys(self.task.inputs, ""))
        try:
            return self.read([blank], shown).lengths[0]
        except DataError:  # longer than anything the backbone reads
            return self.encoder.backbone.max_length + 1

    def _text(self, shown: Kept) -> list[Part]:
        border = Sep() if self.encoder.specials.parts else Text(BLANK_LINE)
        parts: list[Part] = [Text(self.instruction), border] if self.instruction else []
        for row in shown:
            parts += [*self._filled(row, self.pvp.pattern.parts), border]
        return [*parts, *self.pvp.pattern.parts]

    def _conversation(self, shown: Kept) -> list[Part]:
        frames = between(self.encoder.backbone, len(shown))
        asked = until_mask(self.pvp.pattern, self.encoder.backbone.name)[:-1]
        parts: list[Part] = [*frames[0], *([Text(self.instruction + BLANK_LINE)] if self.instruction else [])]
        for row, (question, answer) in zip(shown, zip(frames[1::2], frames[2::2], strict=False), strict=True):
            parts += [*_ended(self._filled(row, asked)), *question, Text(self._word(row)), *answer]
        return [*parts, *_ended(asked), *frames[-1], Target() if self.pvp.pattern.generates else Mask()]

    def _filled(self, row: int, parts: Sequence[Part]) -> list[Part]:
        return [shown for part in parts for shown in _filled(part, self.rows[row], lambda: self._word(row))]

    def _word(self, row: int) -> str:
        example = self.rows[row]
        if self.pvp.pattern.generates:
            return written(example, row + 1)[0]
        try:
            choices = self.task.choices(example)
            return self.pvp.verbalizer.spoken(example, choices)[self.task.gold(example)][0]
        except DataError as error:
            raise DataError(f"labelled row {row + 1}: {error}") from None


def written(example: Example, row: int) -> tuple[str, ...]:
    """The right texts of a labelled row, at least one.

    Args:
        example: of a task that asks for texts.
        row: its number, for the message.

    Raises:
        DataError: it has none, or an empty one.
    """
    if not example.right or not all(map(str.strip, example.right)):
        found = "an empty text" if example.right else "no text"
        raise DataError(f"labelled row {row}: {found} to write. Write one, or leave the row out.")
    return example.right


def _filled(part: Part, example: Example, word: Callable[[], str]) -> list[Part]:
    match part:
        case Field():
            return [Text(" " * part.space + sound(part.read(example)))]
        case Mask(space) | Target(space):
            return [Text(" " * space + sound(word()))]
        case Soft(words=None):
            return []
        case Soft(words=words, space=space):
            return [Text(" " * space + (words or ""))]
        case _:
            return [part]


def _spaced(parts: Sequence[Part]) -> list[Part]:
    """The same parts, where a slot takes a space before it as its own, as it does in a pattern."""
    found: list[Part] = []
    for part in parts:
        before = found[-1] if found else None
        if isinstance(part, Field | Mask | Target) and isinstance(before, Text) and before.text.endswith(" "):
            found[-1], part = Text(before.text[:-1]), replace(part, space=True)
        found.append(part)
    return found


def _ended(parts: Sequence[Part]) -> list[Part]:
    """A message without white space at its end."""
    if parts and isinstance(last := parts[-1], Text):
        return [*parts[:-1], Text(last.text.rstrip())]
    return list(parts)

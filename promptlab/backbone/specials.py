"""Where a tokenizer puts tokens of its own: read off what it does to ``a`` and to the pair ``a``, ``b``.

    BERT      [CLS] a [SEP]      [CLS] a [SEP] b [SEP]          segments 0 0 0 1 1
    RoBERTa   <s> a </s>         <s> a </s> </s> b </s>         one segment
    Llama     <s> a              <s> a <s> b
    GPT-2     a                  a b                            nothing parts a pair

So no class name decides anything.
"""

from dataclasses import dataclass
from typing import Any

from promptlab.backbone.backbone import Backbone
from promptlab.errors import BackboneError

_ROLES = ("bos", "eos", "sep", "cls", "mask")  # not pad: where it is the unknown token, texts cannot do without it


@dataclass(frozen=True)
class Frame:
    """Special tokens around segments of text.

    Args:
        runs: ``runs[i]`` stands before segment i, the last one after the last segment; each holds
            (id, segment number) of its tokens.
        numbers: segment number of each segment's text.
    """

    runs: tuple[tuple[tuple[int, int], ...], ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Specials:
    """A backbone's special tokens.

    Args:
        single: around one segment.
        pair: around two.
        parts: whether two texts are two segments; otherwise a newline parts them.
        numbered: whether the model tells segments apart by number (``token_type_ids``).
        start: what a row holds that would be empty; None where the tokenizer has no such token.
    """

    single: Frame
    pair: Frame
    parts: bool
    numbered: bool
    start: int | None

    def frame(self, segments: int) -> Frame:
        """The frame around so many segments; each after the second is parted from the one before as the second is."""
        if segments == 1:
            return self.single
        (before, between, after), (first, rest) = self.pair.runs, self.pair.numbers
        return Frame((before, *[between] * (segments - 1), after), (first, *[rest] * (segments - 1)))


def specials_of(backbone: Backbone) -> Specials:
    """Finds the special tokens of a backbone.

    Raises:
        BackboneError: the tokenizer changes a text where it stands between special tokens.
    """
    tokenizer = backbone.tokenizer
    single, pair = _frame(backbone, "a"), _frame(backbone, "a", "b")
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return Specials(
        single,
        pair,
        parts=backbone.kind != "causal" and bool(pair.runs[1]),
        numbered=(getattr(backbone.model.config, "type_vocab_size", None) or 0) > 1,
        start=start,
    )


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that no text may be read as: all special ones but the unknown token's, unless it has another role too."""
    marked = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    roles = {getattr(tokenizer, f"{role}_token_id") for role in _ROLES} - {None}
    return frozenset((marked | set(tokenizer.all_special_ids)) - {tokenizer.unk_token_id} | roles)


def _frame(backbone: Backbone, *texts: str) -> Frame:
    plain = {"padding": False, "truncation": False}
    whole = backbone.tokenizer(*texts, return_token_type_ids=True, **plain)
    tokens = list(zip(whole["input_ids"], whole["token_type_ids"], strict=True))
    runs, numbers, at = [], [], 0
    for text in texts:
        bare = backbone.tokenizer(text, add_special_tokens=False, **plain)["input_ids"]
        found = next((i for i in range(at, len(tokens)) if whole["input_ids"][i : i + len(bare)] == bare), None)
        if found is None or not bare:
            raise BackboneError(
                f"the tokenizer of {backbone.name} reads '{text}' differently between its special tokens "
                f"({whole['input_ids']}) and alone ({bare}), so patterns cannot be laid out. Write another backbone."
            )
        runs.append(tuple(tokens[at:found]))
        numbers.append(tokens[found][1])
        at = found + len(bare)
    return Frame((*runs, tuple(tokens[at:])), tuple(numbers))

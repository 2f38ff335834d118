"""Where a text ends: at the model's end tokens, at a newline, or at an empty line.

    an end token                         known by its number
    a newline, an empty line             looked for in the text, whenever a token has been written that holds a newline
    the text                             up to there, without special tokens and the white space around it

So the vocabulary is looked through once a backbone, and text is put together at newlines alone. White space before a
text is no part of it: a text that begins after an empty line has not ended there.
"""

import re
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.decoding import Decoding
from promptlab.backbone.pairs import end_ids

_ENDS = {"line": re.compile(r"\n"), "blank": re.compile(r"\n[^\S\n]*\n"), "none": re.compile(r"(?!)")}
_NEWLINES: "WeakKeyDictionary[Backbone, frozenset[int]]" = WeakKeyDictionary()


class Stops:
    """What ends a text.

    Args:
        backbone: that writes it.
        how: its settings.

    Raises:
        BackboneError: no token of the backbone ends a text.
    """

    def __init__(self, backbone: Backbone, how: Decoding):
        self.tokenizer, self.ends = backbone.tokenizer, end_ids(backbone)
        self.breaks = frozenset[int]() if how.stop == "none" else newlines(backbone)
        self.end = _ENDS[how.stop]

    def after(self, ids: Sequence[int]) -> bool:
        """Whether a text ends with the last of its tokens."""
        return ids[-1] in self.ends or (ids[-1] in self.breaks and bool(self.end.search(self._decoded(ids))))

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say up to their end."""
        whole = self._decoded(ids[:-1] if ids[-1] in self.ends else ids)
        return self.end.split(whole, maxsplit=1)[0].rstrip()

    def mask(self, vocabulary: int, device: torch.device, breaks: bool = True) -> Tensor:
        """Which tokens may end a text, ``(vocabulary,)``; with ``breaks``, those that hold a newline too."""
        may = torch.zeros(vocabulary, dtype=torch.bool)
        may[[one for one in (*self.ends, *(self.breaks if breaks else ())) if one < vocabulary]] = True
        return may.to(device)

    def _decoded(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.lstrip()


def newlines(backbone: Backbone) -> frozenset[int]:
    """The tokens that hold a newline."""
    if backbone not in _NEWLINES:
        raw = backbone.tokenizer.backend_tokenizer
        texts = raw.decode_batch([[one] for one in range(raw.get_vocab_size())], skip_special_tokens=False)
        _NEWLINES[backbone] = frozenset(one for one, text in enumerate(texts) if "\n" in text)
    return _NEWLINES[backbone]

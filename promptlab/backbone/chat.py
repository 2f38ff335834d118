"""A conversation in a backbone's own chat template, as parts of a pattern.

    fill the template with messages that are placeholders     user, assistant, user, ..., assistant
    cut the text at the placeholders                          what the template says before, between and after them
    its special tokens become {token:...} slots               so that no text can spell one
    the row begins as the template says                       what the encoder sets before other rows is left out

What the template says of its own (a system message) stays. The last answer is asked for where the template puts it, not
after its generation prompt, so that it stands as the answers before it do.
"""

import re
from collections.abc import Sequence

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoded
from promptlab.backbone.specials import special_ids, specials_of
from promptlab.errors import BackboneError
from promptlab.language.grammar import Part, Text, Token

_HELD = "placeholder{}of"  # plain letters, which no template changes


def between(backbone: Backbone, answers: int) -> list[tuple[Part, ...]]:
    """What stands around the messages user, assistant, ..., user, up to the last answer: ``2 * answers + 2`` pieces.

    Args:
        backbone: whose tokenizer has the template.
        answers: how many answers of the assistant stand before the last question.

    Raises:
        BackboneError: the tokenizer has no chat template, or one that changes messages or refuses them.
    """
    held = [_HELD.format(i) for i in range(2 * answers + 2)]
    messages = [{"role": "assistant" if i % 2 else "user", "content": one} for i, one in enumerate(held)]
    pieces, rest = [], _rendered(backbone, messages)
    for one in held:
        before, found, rest = rest.partition(one)
        if not found:
            raise BackboneError(f"the chat template of {backbone.name} changes its messages. Leave out chat=true.")
        pieces.append(before)
    return [_parts(backbone, piece) for piece in pieces]


def _rendered(backbone: Backbone, messages: Sequence[dict[str, str]]) -> str:
    if not backbone.tokenizer.chat_template:
        raise BackboneError(
            f"chat=true: the tokenizer of {backbone.name} has no chat template. Leave chat out, or write a backbone "
            "that was trained on instructions."
        )
    try:
        text: str = backbone.tokenizer.apply_chat_template(list(messages), tokenize=False)
    except Exception as error:  # a template is somebody's program, and may raise anything
        raise BackboneError(
            f"chat=true: the chat template of {backbone.name} refuses a conversation of {len(messages)} messages "
            f"({error}). Leave chat out."
        ) from error
    return text


def _parts(backbone: Backbone, text: str) -> tuple[Part, ...]:
    names = backbone.tokenizer.convert_ids_to_tokens(sorted(special_ids(backbone.tokenizer)))
    spelt = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pieces = re.split(f"({spelt})", text) if spelt else [text]
    return tuple(Token(piece) if i % 2 else Text(piece) for i, piece in enumerate(pieces) if piece)


def as_template(backbone: Backbone, encoded: Encoded) -> Encoded:
    """Rows without the special tokens that the encoder has set before them."""
    own = len(specials_of(backbone).single.runs[0])
    segments = encoded.segments and [row[own:] for row in encoded.segments]
    slots = [[slot - own for slot in row] for row in encoded.slots]
    return Encoded([row[own:] for row in encoded.ids], segments, slots, encoded.cut)

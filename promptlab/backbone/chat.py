"""A conversation in a backbone's own chat template, as parts of a pattern.

    fill the template with messages that are placeholders     user, assistant, user, ..., and the assistant's beginning
    cut the text at the placeholders                          what the template says before, between and after them
    its special tokens become {token:...} slots               so that no text can spell one
    the row's own beginning-of-text token is left out         the encoder sets it

What the template says of its own (a system message) stays.
"""

import re
from collections.abc import Sequence
from typing import Any

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.specials import special_ids, specials_of
from promptlab.errors import BackboneError
from promptlab.language.grammar import Part, Text, Token

_HELD = "placeholder{}of"  # plain letters, which no template changes


def between(backbone: Backbone, answers: int) -> list[tuple[Part, ...]]:
    """What stands around the messages user, assistant, ..., user: ``2 * answers + 2`` pieces.

    Args:
        backbone: whose tokenizer has the template.
        answers: how many answers of the assistant stand before the last question.

    Raises:
        BackboneError: the tokenizer has no chat template, or one that changes messages or refuses them.
    """
    held = [_HELD.format(i) for i in range(2 * answers + 1)]
    messages = [{"role": "assistant" if i % 2 else "user", "content": one} for i, one in enumerate(held)]
    pieces, rest = [], _rendered(backbone, messages)
    for one in held:
        before, found, rest = rest.partition(one)
        if not found:
            raise BackboneError(f"the chat template of {backbone.name} changes its messages. Leave out chat=true.")
        pieces.append(before)
    listed = [_parts(backbone, piece) for piece in [*pieces, rest]]
    return [_without_start(backbone, listed[0]), *listed[1:]]


def _rendered(backbone: Backbone, messages: Sequence[dict[str, str]]) -> str:
    if not backbone.tokenizer.chat_template:
        raise BackboneError(
            f"chat=true: the tokenizer of {backbone.name} has no chat template. Leave chat out, or write a backbone "
            "that was trained on instructions."
        )
    try:
        text: str = backbone.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
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


def _without_start(backbone: Backbone, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    run: Any = specials_of(backbone).single.runs[0]
    own = backbone.tokenizer.convert_ids_to_tokens([token for token, _ in run])
    begins = parts[:1] and isinstance(parts[0], Token) and parts[0].name in own
    return parts[1:] if begins else parts

"""One text a row, a token at a time: the likeliest, or a drawn one. Rows leave the batch when their text has ended."""

from collections.abc import Sequence

import torch
from torch import Tensor

from promptlab.backbone.decoding import Decoding
from promptlab.backbone.sampling import allow, drawn, stacked
from promptlab.backbone.steps import Steps
from promptlab.backbone.stops import Stops


def stepped(steps: Steps, how: Decoding, stops: Stops, numbers: Sequence[Tensor]) -> list[list[int]]:
    """The text of each row, in token ids with the one that ends it.

    Args:
        steps: what is read, and what follows from it.
        how: the settings.
        stops: what ends a text.
        numbers: what each row draws at each step, ``(max_tokens,)``; none where nothing is drawn.
    """
    logits = steps.first()
    steps.spread(1)
    going, found = list(range(len(logits))), list[list[int]]([] for _ in range(len(logits)))
    written = torch.empty(len(going), 0, dtype=torch.long, device=logits.device)
    at, ending = stacked(numbers, logits.device) if how.sample else None, stops.mask(logits.shape[1], logits.device)
    while True:
        scores, step = allow(logits, written, how, ending), written.shape[1]
        tokens = scores.argmax(-1) if at is None else drawn(scores, how, at[:, step])
        for row, token in zip(going, tokens.tolist(), strict=True):
            found[row].append(token)
        stay = [place for place, row in enumerate(going) if not stops.after(found[row])]
        if not stay or step + 1 == how.max_tokens:
            return found
        written = torch.cat([written, tokens[:, None]], 1)
        if len(stay) < len(going):
            kept = torch.tensor(stay, device=logits.device)
            going, written, tokens = [going[place] for place in stay], written[kept], tokens[kept]
            at = None if at is None else at[kept]
            steps.keep(kept)
        logits = steps.next(tokens)

"""Beam search, by the rule of transformers' ``generate`` with ``early_stopping=False``.

    each row follows k texts; the first step starts from one of them
    a step    the 2k best continuations of them all (more where several tokens end a text), by summed log-probability
              those among the first k that end are kept, worth sum / tokens ** length_penalty; the k best so far
              the k best that do not end go on
    a row is done when its k-th kept text is worth more than its best open one would be if it ended now
    at ``max_tokens`` everything ends; a row's text is its best kept one

Rows are done each by itself and leave. Texts that end at a newline are ended as by an end token.
"""

import torch
from torch import Tensor

from promptlab.backbone.decoding import Decoding
from promptlab.backbone.sampling import allow
from promptlab.backbone.steps import Steps
from promptlab.backbone.stops import Stops

_NEVER = -1e9  # as generate has it: what is worth this is no text, yet can be counted on with


def followed(steps: Steps, how: Decoding, stops: Stops) -> list[list[int]]:
    """The best text of each row, in token ids with the one that ends it.

    Args:
        steps: what is read, and what follows from it.
        how: the settings.
        stops: what ends a text.
    """
    logits = steps.first()
    rows, vocabulary = logits.shape
    search, going = Search(_wide(logits), how, stops), list(range(rows))
    found: list[list[int]] = [[] for _ in going]
    steps.spread(how.beams)
    logits = logits.repeat_interleave(how.beams, 0)
    while True:
        scores = allow(_wide(logits).log_softmax(-1), search.so_far, how, search.ending)
        origin, tokens = search.step(scores.view(len(going), how.beams, vocabulary))
        done = search.done()
        for at in (at for at, is_done in enumerate(done) if is_done):
            found[going[at]] = search.best(at)
        stay = [at for at, is_done in enumerate(done) if not is_done]
        if not stay:
            return found
        steps.order(_sequences(origin, torch.arange(len(going), device=origin.device)))
        if len(stay) < len(going):
            going, kept = [going[at] for at in stay], torch.tensor(stay, device=logits.device)
            search.keep(kept)
            steps.keep(_sequences(torch.arange(how.beams, device=kept.device), kept))
            tokens = tokens[kept]
        logits = steps.next(tokens.flatten())


class Search:
    """The texts of a batch's rows: those that go on, and those that have ended.

    Args:
        like: a number format and a device, ``(rows, vocabulary)``.
        how: the settings.
        stops: what ends a text.
    """

    def __init__(self, like: Tensor, how: Decoding, stops: Stops):
        rows, vocabulary = like.shape
        self.how, self.stops, self.length = how, stops, 0
        self.open = like.new_full((rows, how.beams, how.max_tokens), -1, dtype=torch.long)
        self.scores = like.new_full((rows, how.beams), _NEVER)
        self.scores[:, 0] = 0
        self.ended, self.worth = self.open.clone(), torch.full_like(self.scores, _NEVER)
        self.kept = torch.zeros_like(self.scores, dtype=torch.bool)
        self.ends = stops.mask(vocabulary, like.device, breaks=False)
        self.ending = stops.mask(vocabulary, like.device)
        spare = len(stops.ends) + bool(stops.breaks)
        self.candidates = min(max(2, 1 + spare), vocabulary) * how.beams

    @property
    def so_far(self) -> Tensor:
        """Tokens of the texts that go on, ``(sequences, tokens)``."""
        return self.open[..., : self.length].flatten(0, 1)

    def step(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Every row's texts grow by a token.

        Args:
            scores: log-probabilities of the next one, ``(rows, beams, vocabulary)``.

        Returns:
            For each text that goes on, which of its row's texts it continues, and with which token, ``(rows, beams)``.
        """
        best, at = (scores + self.scores[..., None]).flatten(1).topk(self.candidates)
        origin, tokens = at // scores.shape[-1], at % scores.shape[-1]
        texts = _picked(self.open, origin)
        texts[..., self.length] = tokens
        self.length += 1
        over = self._over(texts, tokens)
        self._keep_ended(texts, best, over)
        self.scores, chosen = (best + over * _NEVER).topk(self.how.beams)
        self.open = _picked(texts, chosen)
        return origin.gather(1, chosen), tokens.gather(1, chosen)

    def done(self) -> list[bool]:
        """Which rows have their text."""
        if self.length == self.how.max_tokens:
            return [True] * len(self.open)
        hoped = self.scores[:, 0] / self.length**self.how.length_penalty
        done: list[bool] = (self.kept.all(1) & (hoped <= self.worth.min(1).values)).tolist()
        return done

    def best(self, row: int) -> list[int]:
        """A row's best text."""
        ids: list[int] = self.ended[row, 0].tolist()
        return [one for one in ids if one >= 0]

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows alone."""
        for name in ("open", "scores", "ended", "worth", "kept"):
            setattr(self, name, getattr(self, name)[rows])

    def _over(self, texts: Tensor, tokens: Tensor) -> Tensor:
        """Which candidates end here, ``(rows, candidates)``."""
        if self.length == self.how.max_tokens:
            return torch.ones_like(tokens, dtype=torch.bool)
        over = self.ends[tokens]
        broken = (self.ending[tokens] & ~over).nonzero().tolist() if self.stops.breaks else []
        for row, at in broken:
            over[row, at] = self.stops.after(texts[row, at, : self.length].tolist())
        return over

    def _keep_ended(self, texts: Tensor, scores: Tensor, over: Tensor) -> None:
        over = over & (torch.arange(over.shape[1], device=over.device) < self.how.beams)
        worth = scores / self.length**self.how.length_penalty + ~over * _NEVER
        self.worth, chosen = torch.cat([self.worth, worth], 1).topk(self.how.beams)
        self.ended = _picked(torch.cat([self.ended, texts], 1), chosen)
        self.kept = torch.cat([self.kept, over], 1).gather(1, chosen)


def _picked(texts: Tensor, at: Tensor) -> Tensor:
    """Texts ``(rows, picked, tokens)`` of ``(rows, texts, tokens)``."""
    return texts.gather(1, at[..., None].expand(-1, -1, texts.shape[-1]))


def _sequences(beams: Tensor, rows: Tensor) -> Tensor:
    """Numbers of sequences: those of a row's texts, ``(rows, beams)`` or ``(beams,)``, in these rows."""
    return (rows[:, None] * beams.shape[-1] + beams).flatten()


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits

"""What language-model training asks of rows: masked words, or every next token; and what a model answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.batches import Batch, by_length, pad
from promptlab.backbone.device import token_budget
from promptlab.backbone.encode import Encoded
from promptlab.backbone.passages import Passages, Row
from promptlab.backbone.predict import judge
from promptlab.training.masking import Masking

JUDGED = 0.15  # share of words that held-out rows are asked for, whatever the training's


class Question(NamedTuple):
    """A row as the model reads it.

    Args:
        ids: ``(tokens,)``.
        asked: where it is to answer, ``(tokens,)`` bool.
        said: what it should say at every place, ``(tokens,)``.
    """

    ids: np.ndarray
    asked: np.ndarray
    said: np.ndarray


class Asked(NamedTuple):
    """A padded batch of questions: where it is asked ``(rows, tokens)`` and for which ids ``(places,)``."""

    batch: Batch
    places: Tensor
    ids: Tensor


@dataclass(frozen=True)
class Asker:
    """Turns rows of a corpus into questions.

    Args:
        backbone: masked models fill in words, causal ones say the next.
        passages: the corpus.
        rate: share of a masked model's tokens.
    """

    backbone: Backbone
    passages: Passages
    rate: float = JUDGED

    def questions(self, rows: Sequence[int] | np.ndarray, random: np.random.Generator) -> list[Question]:
        """One a row."""
        return [self._question(self.passages.row(int(row)), random) for row in rows]

    def batches(self, questions: Sequence[Question]) -> Iterator[Asked]:
        """Questions of like length together, under the device's token budget."""
        for numbers in by_length([len(one.ids) for one in questions], token_budget(self.backbone.device)):
            yield self._batch([questions[number] for number in numbers])

    def judged(self, rows: np.ndarray) -> dict[str, float]:
        """Loss (nats an answer) and accuracy on rows, the same words asked every time."""
        questions = Asker(self.backbone, self.passages).questions(rows, np.random.default_rng(0))
        found = [judge(self.backbone, *asked) for asked in self.batches(questions)]
        places = max(1, sum(int(one.asked.sum()) for one in questions))
        return {"loss": sum(loss for loss, _ in found) / places, "accuracy": sum(right for _, right in found) / places}

    def _question(self, row: Row, random: np.random.Generator) -> Question:
        if self.backbone.kind == "masked":
            masking = Masking(self.backbone.tokenizer.mask_token_id, self.backbone.vocab, self.rate)
            return Question(*masking(row, random), row.ids)
        asked = np.zeros(len(row.ids), dtype=bool)
        asked[:-1] = row.text[1:]
        return Question(row.ids, asked, np.append(row.ids[1:], 0))

    def _batch(self, questions: Sequence[Question]) -> Asked:
        ids = [one.ids.tolist() for one in questions]
        numbered = (getattr(self.backbone.config, "type_vocab_size", None) or 0) > 1
        segments = [[0] * len(one) for one in ids] if numbered else None
        batch = pad(Encoded(ids, segments, [[]] * len(ids), [False] * len(ids)), range(len(ids)), self.backbone)
        places = np.zeros(tuple(batch.attention.shape), dtype=bool)
        for at, one in enumerate(questions):
            places[at, : len(one.asked)] = one.asked
        said = np.concatenate([one.said[one.asked] for one in questions])
        device = self.backbone.device
        return Asked(batch, torch.from_numpy(places).to(device), torch.from_numpy(said).to(device))

"""Demonstrations that resemble the row that is asked about (KATE: Liu et al. 2022, arXiv:2101.06804).

    vector of a text   = mean of the backbone's last hidden states, length 1
    nearest of a row   = labelled rows with the greatest cosine
    k a class          the k nearest of each class; total:N the N nearest of all
    on the page        the nearest stands last, beside the row

Every row so has demonstrations of its own, and nothing but the instruction is shared between rows.
"""

from collections.abc import Sequence

import numpy as np

from promptlab.backbone.encode import Encoder
from promptlab.backbone.score import pooled
from promptlab.language.example import Example
from promptlab.methods.demonstrations import by_turns, number_of


def vectors(encoder: Encoder, examples: Sequence[Example], inputs: Sequence[str]) -> np.ndarray:
    """One vector of length 1 a row, ``(rows, width)``."""
    found = pooled(encoder.backbone, encoder.plain(examples, tuple(inputs)), "mean")
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def nearest(
    asked: np.ndarray, known: np.ndarray, rows: Sequence[Example], shots: int | str, classes: Sequence[str]
) -> list[list[int]]:
    """Numbers of the labelled rows to show for each row asked about, the nearest first.

    Args:
        asked: vectors of the rows asked about, ``(asked, width)``.
        known: vectors of the labelled rows, ``(rows, width)``.
        rows: the labelled rows.
        shots: as for :func:`promptlab.methods.demonstrations.drawn`.
        classes: the labels; empty where rows bring their own candidates.
    """
    number, total = number_of(shots)
    found = []
    for cosines in asked @ known.T:
        order = np.argsort(-cosines, kind="stable").tolist()
        chosen = set(by_turns(order, rows, number, total, () if total else classes))
        found.append([row for row in order if row in chosen])
    return found

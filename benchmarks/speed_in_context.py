"""In-context learning against the plain way: the whole prompt of each row, every position through the head.

Both sides score the same ids; the plain side is spared their making.
"""

import time

import numpy as np
import torch

from promptlab.backbone.backbone import Backbone
from promptlab.methods.in_context import InContextLearning
from promptlab.methods.method import Job


def in_context(backbone: Backbone, job: Job, demonstrations: int = 4) -> None:
    """Rows a second of both, their ratio, and the greatest difference of their scores."""
    method = InContextLearning(demonstrations=demonstrations)
    [(_, predictor)] = method.fit(backbone, None, [job])
    [member] = predictor.members
    predictor.scores(job.queries[:4])  # what is read only once (tokens of the demonstrations) is not counted as a row
    began = time.perf_counter()
    ours = predictor.scores(job.queries)
    seconds = time.perf_counter() - began
    read = member.read(job.queries)
    began = time.perf_counter()
    theirs = plain(backbone, read.encoded.ids, read.words.ids[0, :, 0, 0])
    bare = time.perf_counter() - began
    rows, tokens = len(job.queries), np.mean(read.encoded.lengths)
    print(
        f"in-context, {rows} rows of {tokens:.0f} tokens: {rows / seconds:.1f} rows/s, plain {rows / bare:.1f} rows/s"
    )
    print(f"that is {bare / seconds:.1f} x; scores differ by {np.abs(ours - theirs).max():.1e} at most", flush=True)


def plain(backbone: Backbone, rows: list[list[int]], words: np.ndarray) -> np.ndarray:
    """Log-probability of each one-token word after each row, ``(rows, words)``."""
    found = []
    for ids in rows:
        with torch.inference_mode():
            logits = backbone.model(input_ids=torch.tensor([ids], device=backbone.device), use_cache=False).logits
        found.append(logits[0, -1].float().log_softmax(-1)[words.tolist()].double().cpu().numpy())
    return np.stack(found)

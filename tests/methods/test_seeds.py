"""Seeds of a comparison share what does not depend on the seed."""

from contextlib import contextmanager

import numpy as np
import pytest

from promptlab.methods.method import Job
from promptlab.methods.probe import Probe
from promptlab.methods.zero_shot import ZeroShot


@contextmanager
def counting(backbone):
    """Rows that go through the encoder."""
    rows = []
    handle = backbone.body.register_forward_pre_hook(
        lambda module, inputs, named: rows.append(len(inputs[0] if inputs else named["input_ids"])), with_kwargs=True
    )
    try:
        yield rows
    finally:
        handle.remove()


def jobs(task, reviews, seeds=3):
    queries = [one.unlabelled() for one in reviews[16:]]
    return [
        Job(task, reviews[seed : 16 - seed], [one.unlabelled() for one in reviews], queries=queries, seed=seed)
        for seed in range(seeds)
    ]


def test_zero_shot_reads_the_test_rows_once_for_all_seeds(tiny_bert, reviews_task, reviews):
    with counting(tiny_bert) as rows:
        each = [
            found.scores(job.queries) for job, found in ZeroShot().fit(tiny_bert, None, jobs(reviews_task, reviews))
        ]
    assert sum(rows) == len(reviews) - 16
    assert all(np.array_equal(each[0], one) for one in each)


def test_zero_shot_answers_other_rows_anew(tiny_bert, reviews_task, reviews):
    [(job, found)] = ZeroShot().fit(tiny_bert, None, jobs(reviews_task, reviews, seeds=1))
    first, other = found.scores(job.queries), found.scores(reviews[:3])
    assert other.shape == (3, 2)
    first[:] = 0  # what was handed out is the caller's
    assert found.scores(job.queries).any()
    assert found.scores(reviews[:3]) == pytest.approx(other, abs=1e-6)


def test_batch_calibration_belongs_to_each_seeds_own_rows(tiny_bert, reviews_task, reviews):
    method = ZeroShot(calibration="batch")
    own = [
        Job(reviews_task, (), rows, queries=reviews[:4]) for rows in (reviews[:8], reviews[8:16])
    ]  # fmt: skip
    one, other = (found.scores(job.queries) for job, found in method.fit(tiny_bert, None, own))
    assert not np.allclose(one, other)


def test_the_probe_reads_each_text_once_for_all_seeds_and_keeps_none(tiny_bert, reviews_task, reviews):
    with counting(tiny_bert) as rows:
        found = [
            (predictor, predictor.scores(job.queries))
            for job, predictor in Probe().fit(tiny_bert, None, jobs(reviews_task, reviews))
        ]
    assert sum(rows) == len({one.text("text") for one in reviews})
    kept = found[0][0].keep()
    assert kept.known is None
    assert kept.scores(reviews[16:]) == pytest.approx(found[0][1], abs=1e-5)

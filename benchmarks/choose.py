"""Chooses learning rates and lengths on imdb, mnli and cola, never on a reported task.

    python benchmarks/choose.py --backbone FOLDER --data FOLDER "prompt+full:lr=1e-5|3e-5" "finetune+lora:lr=1e-3|4e-3"

One line a system: mean accuracy a task over seeds, and over tasks. Texts are cut at 48 tokens to keep it short.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from promptlab import load_task
from promptlab.backbone.backbone import load_backbone
from promptlab.data.fewshot import sample
from promptlab.data.sources import read_splits
from promptlab.methods.method import Job
from promptlab.registry import METHODS, TUNINGS
from promptlab.spec import parse_systems, settled


def jobs_of(name: str, data: Path, seeds: int, limit: int, pool: int) -> list[Job]:
    """One job a seed."""
    task = load_task(name)
    splits, jobs = read_splits(task, data), []
    for seed in range(seeds):
        drawn = sample(task, splits, 16, seed, limit)
        jobs.append(Job(task, drawn.train, drawn.unlabeled[:pool], queries=drawn.test, seed=seed))
    return jobs


def accuracies(system, backbone, jobs) -> list[float]:
    """Accuracy of each job's predictor on its queries."""
    method = METHODS.build(system.method.name, system.method.settings)
    tuning = TUNINGS.build(*(system.tuning.name, system.tuning.settings) if system.tuning else ("full", {}))
    found = []
    for job, predictor in method.fit(backbone, tuning if method.learns else None, jobs):
        gold = [job.task.labels.index(example.label) for example in job.queries]
        found.append(float((predictor.scores(job.queries).argmax(1) == gold).mean()))
    return found


def main() -> None:
    """Runs every system on every task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="+")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", default="imdb,mnli,cola")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--limit", type=int, default=150)
    parser.add_argument("--pool", type=int, default=500)
    options = parser.parse_args()
    backbone = replace(load_backbone(options.backbone), max_length=48)
    tasks = {
        name: jobs_of(name, options.data, options.seeds, options.limit, options.pool)
        for name in options.tasks.split(",")
    }
    for system in map(settled, parse_systems(options.systems)):
        start, means = time.monotonic(), {}
        for name, jobs in tasks.items():
            means[name] = float(np.mean(accuracies(system, backbone, jobs)))
        each = "  ".join(f"{name} {mean:.3f}" for name, mean in means.items())
        print(
            f"{system!s:60} {each}  mean {np.mean(list(means.values())):.3f}  {time.monotonic() - start:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Chooses learning rates and lengths on imdb, mnli and cola, never on a reported task.

    python benchmarks/choose.py --backbone FOLDER --data FOLDER "prompt+full:lr=1e-5|3e-5" "finetune+lora:lr=1e-3|4e-3"

One line a system: mean accuracy a task over seeds, and over tasks. Texts are cut at 48 tokens to keep it short.
Systems that differ in their learning rate alone are members of one stack.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
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


def groups(systems) -> list[list]:
    """Systems in groups that differ in ``lr`` alone."""
    found: dict = {}
    for system in systems:
        method, tuning = system.method, system.tuning
        others = sorted(pair for pair in tuning.settings.items() if pair[0] != "lr") if tuning else []
        found.setdefault(str((method, tuning and tuning.name, others)), []).append(system)
    return list(found.values())


def accuracies(systems: Sequence, backbone, jobs: Sequence[Job]) -> Iterator[list[float]]:
    """Accuracy of each job's predictor on its queries, a list a system."""
    first = systems[0]
    method = METHODS.build(first.method.name, first.method.settings)
    tuning = TUNINGS.build(*(first.tuning.name, first.tuning.settings) if first.tuning else ("full", {}))
    rates = [system.tuning.settings.get("lr") if system.tuning else None for system in systems]
    each = {
        id(job): (at, job)
        for at, rate in enumerate(rates)
        for job in (replace(one, settings={"lr": rate} if rate else {}) for one in jobs)
    }
    found: list[list[float]] = [[] for _ in systems]
    asked = [job for _, job in each.values()]
    for job, predictor in method.fit(backbone, tuning if method.learns else None, asked):
        gold = [job.task.labels.index(example.label) for example in job.queries]
        found[each[id(job)][0]].append(float((predictor.scores(job.queries).argmax(1) == gold).mean()))
    yield from found


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
    for systems in groups(list(map(settled, parse_systems(options.systems)))):
        start, means = time.monotonic(), [dict[str, float]() for _ in systems]
        for name, jobs in tasks.items():
            for one, each in zip(means, accuracies(systems, backbone, jobs), strict=True):
                one[name] = float(np.mean(each))
        seconds = time.monotonic() - start
        for system, one in zip(systems, means, strict=True):
            each = "  ".join(f"{name} {mean:.3f}" for name, mean in one.items())
            mean = np.mean(list(one.values()))
            print(f"{system!s:60} {each}  mean {mean:.3f}  {seconds:.0f} s for {len(systems)}", flush=True)


if __name__ == "__main__":
    main()

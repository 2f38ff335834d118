"""Chooses how long PET's student trains, and on how many rows, on imdb, mnli and cola: one ensemble teaches them all.

    python benchmarks/choose_student.py --backbone FOLDER --data FOLDER 120x600 60x600 60x300

One line a task and seed, then the means: accuracy of a student of so many steps and rows. Texts
are cut at 48 tokens to keep it short.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from choose import jobs_of

from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.backbone.encode import Encoder
from promptlab.methods.ensemble import Trainer
from promptlab.methods.members import pool_of
from promptlab.methods.method import Job
from promptlab.methods.patterns import usable
from promptlab.methods.pet import Pet
from promptlab.methods.teach import answers, question
from promptlab.registry import TUNINGS

Size = tuple[int, int]


def accuracies(backbone: Backbone, job: Job, sizes: list[Size]) -> Iterator[float]:
    """Accuracy of a student of each size, all taught by one ensemble."""
    settings = replace(Pet(repetitions=1), pool=max(rows for _, rows in sizes)).settled()
    trainer = Trainer(settings, backbone, TUNINGS.build("lora"), Encoder(backbone))
    pvps, _ = usable(job.task, backbone, settings.patterns)
    trained = trainer.train(trainer.members(job, pvps, "pet"), job, "members")
    taught = question(trainer, job, trained, trainer.weights(job, pvps), pool_of(job, settings.pool))
    gold = [job.task.labels.index(example.label) for example in job.queries]
    for steps, rows in sizes:
        own = replace(trainer, settings=replace(settings, student_steps=steps))
        part = replace(taught, pool=taught.pool[:rows], soft=taught.soft[:rows])
        _, student = next(answers(own, [part]))
        yield float((student.scores(job.queries).argmax(1) == gold).mean())


def main() -> None:
    """Runs every size on every task and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+", help="STEPSxROWS")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", default="imdb,mnli,cola")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=200)
    options = parser.parse_args()
    backbone = replace(load_backbone(options.backbone), max_length=48)
    sizes = [tuple(map(int, size.split("x"))) for size in options.sizes]
    found = []
    print("task, seed  " + "  ".join(options.sizes), flush=True)
    for name in options.tasks.split(","):
        for job in jobs_of(name, options.data, options.seeds, options.limit, max(rows for _, rows in sizes)):
            found.append(list(accuracies(backbone, job, sizes)))
            print(f"{name} {job.seed}  " + "  ".join(f"{each:.3f}" for each in found[-1]), flush=True)
    print("mean  " + "  ".join(f"{each:.3f}" for each in np.mean(found, 0)))


if __name__ == "__main__":
    main()

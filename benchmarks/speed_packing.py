"""A step over rows laid end to end against one over padded rows; the losses are the same but for rounding."""

import time
from dataclasses import replace

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.methods.members import cloze_member, head_member
from promptlab.methods.method import Job
from promptlab.training.loop import train
from promptlab.training.member import Member, Recipe
from promptlab.tuning.lora import Lora

ROUNDS, STEPS = 4, 15


def packing(backbone: Backbone, job: Job) -> None:
    """Seconds a step of a PET member (8 rows through a pattern) and of its student (16 rows, soft labels)."""
    encoder, pool = Encoder(backbone), list(job.unlabelled)[:600]
    soft = np.full((len(pool), len(job.task.labels)), 1 / len(job.task.labels))
    student = replace(head_member(job, "student"), examples=pool, targets=soft)
    asked = [(cloze_member(job, job.task.pvps[0], "member"), 8, "a member"), (student, 16, "the student")]
    for member, batch, name in asked:
        packed, padded = [], []
        for _ in range(ROUNDS):  # in turn, so that what else the machine does falls on both
            packed.append(seconds(backbone, member, Recipe(STEPS, batch), encoder))
            padded.append(seconds(backbone, member, Recipe(STEPS, batch, packed=False), encoder))
        one, other = min(packed), min(padded)
        print(f"{name}: {one:.3f} s a step packed, {other:.3f} s padded: {other / one:.2f} x", flush=True)


def seconds(backbone: Backbone, member: Member, recipe: Recipe, encoder: Encoder) -> float:
    """Of one step."""
    began = time.perf_counter()
    list(train(backbone, Lora(), [member], recipe, encoder))
    return (time.perf_counter() - began) / recipe.steps

"""Methods on tasks that ask for a text: what they train, and what they show.

    finetune       each right text of a row is a training row of its own; cross-entropy of its tokens in the pattern
                   (Li & Liang 2021, arXiv:2101.00190, section 3), whatever tensors the tuning lets learn
    zero-shot      the backbone as it is, after the task's instruction
    in-context     the same, after demonstrations: rows with their first text      (Brown et al. 2020, 2005.14165)

One pattern writes a row's one text, for texts cannot be averaged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.backbone.generate import Decoding
from promptlab.backbone.layout import after_gap
from promptlab.errors import BackboneError, DataError, SettingError
from promptlab.language.task import PVP, Task
from promptlab.methods.demonstrations import asked_for, drawn
from promptlab.methods.members import rates
from promptlab.methods.method import Job
from promptlab.methods.page import written
from promptlab.methods.patterns import left_out, refuse_slots, unconditional
from promptlab.methods.writer import Writer
from promptlab.training.loop import train
from promptlab.training.member import Member, Recipe
from promptlab.tuning.tuning import Tuning


def writing(task: Task, backbone: Backbone, choice: str, learns: bool) -> tuple[PVP, list[str]]:
    """The pattern that writes, and the notes a row should carry.

    Args:
        task: that asks for a text.
        backbone: causal, or an encoder-decoder where something learns.
        choice: ``first``, or a pattern's name.
        learns: whether the method trains.

    Raises:
        BackboneError: the backbone cannot write, or not after this pattern.
        SettingError: several patterns, or one for some rows only.
    """
    able = ("causal", "seq2seq") if learns else ("causal",)
    if backbone.kind not in able:
        other = ", or another causal or encoder-decoder one" if learns else ", or another causal one"
        why = "is an encoder-decoder, which nothing but finetune asks for texts"
        why = "fills in masks and writes no text" if backbone.kind == "masked" else why
        raise BackboneError(f"{task.name} asks for a text, and {backbone.name} {why}. Write --backbone smollm2{other}.")
    chosen = task.select("all" if choice == "first" else choice)
    good = [pvp for pvp in chosen if backbone.kind != "causal" or pvp.pattern.mask_last]
    if not good:
        raise BackboneError(
            f"{task.name}: a causal backbone reads only what stands before {{target}}, so '{chosen[0].name}' cannot "
            "be used. Write a pattern whose {target} comes after every field."
        )
    if len(good) > 1 and choice != "first":
        raise SettingError(
            f"{task.name}: patterns={choice} is {len(good)} patterns, and texts cannot be averaged. Write one, as "
            f"patterns={good[0].name}."
        )
    (pvp,) = unconditional(task, good[:1])
    left = after_gap(pvp.pattern) if backbone.kind == "causal" else ""
    return pvp, [f"pattern '{pvp.name}': a causal backbone does not read '{left}', after the text"] if left else []


@dataclass(frozen=True)
class Training:
    """How writers are trained.

    Args:
        steps: updates; None follows the number of labelled rows.
        batch: rows a step.
        smoothing: share of a target token that is spread over the vocabulary.
        patterns: ``first``, or a pattern's name.
        budget: tokens of a stack's step; None takes the device's.
    """

    steps: int | None
    batch: int
    smoothing: float
    patterns: str
    budget: int | None


def train_writers(
    backbone: Backbone, tuning: Tuning, jobs: Sequence[Job], how: Training, decoding: Sequence[Decoding]
) -> Iterator[tuple[Job, Writer]]:
    """Trains a writer a job, side by side where the tuning allows.

    Args:
        backbone: causal, or an encoder-decoder.
        tuning: which tensors learn.
        jobs: of one task, with as many labelled rows each.
        how: of all.
        decoding: of each job.

    Raises:
        BackboneError, SettingError: as :func:`writing`.
        DataError: a labelled row has no text, or does not fit.
    """
    task, encoder = jobs[0].task, Encoder(backbone)
    pvp, notes = writing(task, backbone, how.patterns, learns=True)
    notes = [*notes, *left_out([pvp], backbone, tuning)]
    members = [text_member(job, pvp, f"finetune/{pvp.name}") for job in jobs]
    recipe = Recipe(
        steps=how.steps or usual_steps(len(jobs[0].labelled)), batch=how.batch, budget=how.budget,
        smoothing=how.smoothing,
    )  # fmt: skip
    trained = train(backbone, tuning, members, recipe, encoder, f"finetune {task.name}")
    for job, member, done, written_so in zip(jobs, members, trained, decoding, strict=True):
        facts = {**done.facts, "examples_seen": done.facts["seen"], "notes": [*notes, *done.notes]}
        facts["texts"] = len(member.examples)
        yield job, Writer(task, backbone, encoder, pvp, tuning, done.state, facts, how=written_so)


def usual_steps(rows: int) -> int:
    """Updates where none were set: 100 for 50 labelled rows or fewer, two a row, at most 1000."""
    return max(100, min(1000, 2 * rows))


def text_member(job: Job, pvp: PVP, key: str) -> Member:
    """A member that learns the job's rows through a pattern; each right text of a row is a row of its own.

    Raises:
        DataError: there is no labelled row, or one has no text.
    """
    if not job.labelled:
        raise DataError(
            f"{job.task.name}: finetune learns from rows with their texts, and there are none. Give -k 1 or more."
        )
    each = [(example, text) for row, example in enumerate(job.labelled, 1) for text in written(example, row)]
    return Member(
        key=f"{job.task.name}/{key}/seed{job.seed}", examples=[example for example, _ in each], targets=np.empty(0),
        labels=0, inputs=tuple(job.task.inputs), texts=[text for _, text in each], pattern=pvp.pattern, **rates(job),
    )  # fmt: skip


def shown_writer(
    job: Job, encoder: Encoder, patterns: str, decoding: Decoding, instruction: str, **page: Any
) -> Writer:
    """The plain backbone after an instruction, and after demonstrations where ``page`` says how many.

    Args:
        job: whose labelled rows may be shown.
        encoder: of a causal backbone.
        patterns: ``first``, or a pattern's name.
        decoding: how it writes.
        instruction: stands first; empty for none.
        page: ``chat``, ``max_length``; and ``demonstrations``, ``similar`` to show labelled rows.

    Raises:
        BackboneError, SettingError: as :func:`writing`.
        DataError: a labelled row has no text.
    """
    pvp, notes = writing(job.task, encoder.backbone, patterns, learns=False)
    refuse_slots([pvp], encoder.backbone, "in-context" if "demonstrations" in page else "zero-shot")
    found = {**page, "instruction": instruction, "how": decoding, "facts": {"notes": notes}}
    if (shots := page.get("demonstrations")) is not None:
        for row, example in enumerate(job.labelled, 1):
            written(example, row)
        key = f"{job.seed}/0"
        chosen = range(len(job.labelled)) if page["similar"] else drawn(job.labelled, shots, key)
        found |= {
            "rows": [job.labelled[row] for row in chosen], "key": key, "asked": asked_for(shots, len(job.labelled), 0)
        }  # fmt: skip
    return Writer(job.task, encoder.backbone, encoder, pvp, **found)

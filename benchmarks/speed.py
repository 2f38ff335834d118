"""What the house costs over its parts done bare, as ratios in one run.

    python benchmarks/speed.py --backbone FOLDER --data FOLDER scoring memory pet ipet

scoring   label scores of mr's test rows  against  the bare encoder's forward over the same padded rows
memory    the process's peak while scoring 500 and all of mr's test rows  against  the bare encoder's over the same rows
pet       PET end to end (4 patterns x 3 repetitions, lora, 16 shots, 1,000 unlabelled, student, all test rows)  against
          the same passes, forward or forward and backward, over the same padded rows with plain PyTorch; and against
          its members trained one after the other
ipet      two generations after the first, without the student  against  3 x PET's ensemble, timed to its last soft
          label, on the same pool (4 patterns x 1 repetition, lora, 16 shots, 1,000 unlabelled)

The padded rows are those the run itself gave its encoder, written down by a hook, so both sides see the same.
"""

import argparse
import ctypes
import gc
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch

from promptlab import load_task
from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.backbone.device import peak_memory_bytes, reset_peak
from promptlab.backbone.encode import Encoder
from promptlab.backbone.score import score
from promptlab.backbone.words import label_words
from promptlab.data.fewshot import sample
from promptlab.data.sources import read_splits
from promptlab.methods.ipet import Ipet
from promptlab.methods.method import Job
from promptlab.methods.pet import Pet
from promptlab.methods.teach import answers
from promptlab.tuning.lora import Lora


@contextmanager
def noted(backbone: Backbone):
    """Writes down what the encoder is called with, and whether gradients are wanted."""
    passes: list[tuple[dict, bool]] = []

    def note(module, inputs, named):
        whole = dict(zip(["input_ids", "attention_mask", "token_type_ids"], inputs, strict=False)) | named
        passes.append(({key: one for key, one in whole.items() if torch.is_tensor(one)}, torch.is_grad_enabled()))

    handle = backbone.body.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield passes
    finally:
        handle.remove()


def replay(backbone: Backbone, passes: list[tuple[dict, bool]]) -> None:
    """The same passes over the bare encoder: no head, no learnt part, no optimiser."""
    for inputs, learns in passes:
        if not learns:
            with torch.inference_mode():
                backbone.body(**inputs)
            continue
        ids = inputs["input_ids"]
        embedded = backbone.model.get_input_embeddings()(ids).detach().requires_grad_(True)
        rest = {key: value for key, value in inputs.items() if key != "input_ids"}
        backbone.body(inputs_embeds=embedded, **rest).last_hidden_state.sum().backward()


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def scoring(backbone: Backbone, job: Job, rounds: int = 3) -> None:
    """Scoring against the bare forward."""
    pvp, encoder = job.task.pvps[0], Encoder(backbone)
    words = label_words(backbone, pvp)
    encoded = encoder.cloze(pvp.pattern, job.queries, words.pieces)
    with noted(backbone) as passes:
        score(backbone, encoded, words.ids)
    ours, bare = [], []
    for _ in range(rounds):
        ours.append(seconds(lambda: score(backbone, encoded, words.ids)))
        bare.append(seconds(lambda: replay(backbone, passes)))
    ratio = median(ours) / median(bare)
    print(f"scoring {len(encoded)} rows {median(ours):.2f} s, bare {median(bare):.2f} s: {ratio:.2f} x", flush=True)


def memory(backbone: Backbone, job: Job) -> None:
    """Peak memory of scoring over the bare forward's, for few rows and for many."""
    pvp, encoder = job.task.pvps[0], Encoder(backbone)
    words = label_words(backbone, pvp)
    for rows in (500, len(job.queries)):
        encoded = encoder.cloze(pvp.pattern, job.queries[:rows], words.pieces)
        with noted(backbone) as passes:
            score(backbone, encoded, words.ids)
        ours = peak(lambda encoded=encoded: score(backbone, encoded, words.ids))
        bare = peak(lambda passes=passes: replay(backbone, passes))
        print(f"memory, {rows} rows: scoring {ours:.0f} MB above before, bare {bare:.0f} MB", flush=True)


def peak(work: Callable[[], object]) -> float:
    """Most memory held during a call above what was held before it, MB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # glibc gives back what earlier calls have freed
    reset_peak()
    before = peak_memory_bytes() or 0
    work()
    return ((peak_memory_bytes() or 0) - before) / 1e6


def pet(backbone: Backbone, job: Job) -> None:
    """PET against its parts done bare, and against members in turn."""

    def run(budget: int | None) -> None:
        method = Pet(repetitions=3, pool=1000, budget=budget)
        for one, predictor in method.fit(backbone, Lora(), [job]):
            predictor.scores(one.queries)

    with noted(backbone) as passes:
        whole = seconds(lambda: run(None))
    bare = seconds(lambda: replay(backbone, passes))
    turns = seconds(lambda: run(1))
    learning = sum(learns for _, learns in passes)
    print(f"pet end to end {whole:.0f} s; its {len(passes)} passes ({learning} with backward) bare {bare:.0f} s")
    print(f"that is {whole / bare:.2f} x")
    print(f"members one after the other: {turns:.0f} s: the stack takes {whole / turns:.2f} x")


def ipet(backbone: Backbone, job: Job) -> None:
    """Generations against as many ensembles of PET and one student, all on one pool."""
    shared = {"repetitions": 1, "pool": 1000}
    spent: list[float] = []

    def run(method: Pet) -> float:
        return seconds(lambda: [predictor.keep() for _, predictor in method.fit(backbone, Lora(), [job])])

    def timed(*given):
        began = time.perf_counter()
        found = list(answers(*given))
        spent.append(time.perf_counter() - began)
        return iter(found)

    with patch("promptlab.methods.pet.answers", timed):
        whole = run(Pet(**shared))
    student, ensemble = spent[0], whole - spent[0]
    generations = 2
    ours = run(Ipet(**shared, generations=generations))
    allowed = (generations + 1) * ensemble + student
    print(
        f"pet's ensemble {ensemble:.0f} s, its student {student:.0f} s; ipet, {generations} generations, {ours:.0f} s"
    )
    print(f"that is {(ours - student) / (allowed - student):.2f} x {generations + 1} ensembles, beside one student")


def main() -> None:
    """Runs the chosen measurements on mr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="+", choices=["scoring", "memory", "pet", "ipet"])
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    task, backbone = load_task("mr"), load_backbone(options.backbone)
    drawn = sample(task, read_splits(task, options.data), 16, seed=0)
    job = Job(task, drawn.train, drawn.unlabeled, queries=drawn.test)
    for name in options.which:
        {"scoring": scoring, "memory": memory, "pet": pet, "ipet": ipet}[name](backbone, job)


if __name__ == "__main__":
    main()

"""What the house costs over its parts done bare, as ratios in one run.

    python benchmarks/speed.py --backbone FOLDER --data FOLDER scoring memory candidates packing pet ipet

scoring   label scores of mr's test rows  against  the bare encoder's forward over the same padded rows
memory    the process's peak while scoring 500 and all of mr's test rows  against  the bare encoder's over the same rows
candidates  200 rows, 4 labels of 1 to 3 pieces, the likeliest piece first  against  a loop of one row and one label at
          a time over plain transformers, its head at the masks only; equal scores
packing   a step over rows laid end to end  against  one over padded rows (speed_packing.py)
pet       PET end to end (4 patterns x 3 repetitions, lora, 16 shots, 1,000 unlabelled, student, all test rows)  against
          the same passes, forward or forward and backward, over the same padded rows with plain PyTorch; and against
          its members trained one after the other
ipet      two generations after the first, without the student  against  3 x PET's ensemble, timed to its last soft
          label, on the same pool (4 patterns x 1 repetition, lora, 16 shots, 1,000 unlabelled)
in-context  4 demonstrations a class before each of --rows test rows  against  each row's whole prompt, one at a time,
          every position through the head (causal backbones: --backbone smollm2; speed_in_context.py)

The padded rows are those the run itself gave its encoder, written down by a hook, so both sides see the same.
"""

import argparse
import ctypes
import gc
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import torch
from speed_in_context import in_context
from speed_packing import packing

from promptlab import Task, load_task
from promptlab.backbone.ask import ask
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


WORDS = {"one": "great", "two": "very dull", "three": "not so bad", "also two": "quite good"}


def candidates(backbone: Backbone, job: Job, rows: int = 200) -> None:
    """Words of several pieces against a loop of one row and one label."""
    task = Task.from_parts(["{text} It was {mask}."], WORDS)
    pvp, examples = task.pvps[0], job.queries[:rows]
    words = label_words(backbone, pvp).ids[:, 0]
    pieces = [word[word >= 0].tolist() for word in words]
    assert {len(one) for one in pieces} == {1, 2, 3}, pieces
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        found["ours"] = ask(Encoder(backbone), pvp, examples).labels

    def loop() -> None:
        found["loop"] = np.array([[one_by_one(backbone, e.text("text"), word) for word in pieces] for e in examples])

    ask(Encoder(backbone), pvp, examples[:8])  # the first pass of a process is slower
    fast, slow = median(seconds(ours) for _ in range(3)), seconds(loop)
    apart = np.abs(found["ours"] - found["loop"]).max()
    tokens = np.mean(Encoder(backbone).cloze(pvp.pattern, examples).lengths)
    print(f"candidates, {len(examples)} rows of {tokens:.0f} tokens: {fast:.2f} s, loop {slow:.2f} s")
    print(f"that is {slow / fast:.1f} x; scores are {apart:.1g} apart at most", flush=True)


@torch.inference_mode()
def one_by_one(backbone: Backbone, text: str, pieces: list[int]) -> float:
    """A word's score as anybody would write it, for a BERT: fill the likeliest mask, and again."""
    tokenizer, total = backbone.tokenizer, 0.0
    masks = " ".join([tokenizer.mask_token] * len(pieces))
    inputs = tokenizer(f"{text} It was {masks}.", return_tensors="pt").to(backbone.device)
    places = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero()[:, 0].tolist()
    waiting = dict(zip(places, pieces, strict=True))
    while waiting:
        states = backbone.model.bert(**inputs).last_hidden_state[0, list(waiting)]
        log_p = backbone.model.cls(states).log_softmax(-1)
        each = {place: log_p[i, piece].item() for i, (place, piece) in enumerate(waiting.items())}
        best = max(each, key=lambda place: each[place])
        total += each[best]
        inputs["input_ids"][0, best] = waiting.pop(best)
    return total


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
    """Runs the chosen measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "which", nargs="+", choices=["scoring", "memory", "candidates", "packing", "pet", "ipet", "in-context"]
    )
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--task", default="mr", help="another task's rows in mr's place")
    parser.add_argument("--data", type=Path, help="a folder of rows, for tasks that do not come with promptlab")
    parser.add_argument("--rows", type=int, default=200, help="of in-context")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    task, backbone = load_task(options.task), load_backbone(options.backbone, dtype=options.dtype)
    drawn = sample(task, read_splits(task, options.data), 16, seed=0)
    job = Job(task, drawn.train, drawn.unlabeled, queries=drawn.test)
    for name in options.which:
        few = replace(job, queries=job.queries[: options.rows])
        parts = {
            "scoring": scoring, "memory": memory, "candidates": candidates, "packing": packing, "pet": pet,
            "ipet": ipet, "in-context": in_context,
        }  # fmt: skip
        parts[name](backbone, few if name == "in-context" else job)


if __name__ == "__main__":
    main()

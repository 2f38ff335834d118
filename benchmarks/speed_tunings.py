"""What tunings cost: against PEFT, side by side against in turn, two passes against plain rows, and attaching them.

    python benchmarks/speed_tunings.py lora prefix stack adamix attach

lora     steps with a classification head on a BERT-base-shaped model (random weights), 8 reviews each, against PEFT's
prefix   over the same padded rows; each side in a process of its own, seconds a step (median) and peak memory
stack    16 members of 4 rows, 32 tokens, on mini: one stack against 16 in turn
adamix   a step of AdaMix against one plain forward and backward over twice its rows
attach   every tuning on a 24-layer, 1024-wide model: seconds until its tensors stand
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

from promptlab import load_task, sample_shots
from promptlab.backbone.anatomy import anatomy_of
from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.backbone.batches import pad
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.methods.members import cloze_member, head_member
from promptlab.methods.method import Job
from promptlab.registry import TUNINGS
from promptlab.training.loop import owners, step_losses, train
from promptlab.training.member import Recipe, Rows

STEPS, BATCH = 12, 8


def reviews() -> Job:
    """16 labelled reviews a class."""
    task = load_task("reviews")
    labelled, unlabelled, _ = sample_shots(task, shots=16, seed=0)
    return Job(task, labelled, unlabelled, seed=0)


def base_shaped(folder: Path) -> None:
    """A BERT-base of random weights with mini's tokenizer."""
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig()).save_pretrained(folder)
    load_backbone("mini").tokenizer.save_pretrained(folder)


def ours(folder: str, name: str, packed: bool) -> list[float]:
    """Seconds of each step, by the library's own loop."""
    backbone, job = load_backbone(folder, device="cpu"), reviews()
    marks = [time.perf_counter()]
    handle = backbone.body.register_forward_pre_hook(lambda *_: marks.append(time.perf_counter()))
    recipe = Recipe(STEPS + 1, BATCH, pool="cls", packed=packed)
    list(train(backbone, TUNINGS.build(name, SETTINGS[name]), [head_member(job, "one")], recipe, Encoder(backbone)))
    handle.remove()
    return [after - before for before, after in pairwise(marks[3:])]


SETTINGS: dict[str, dict[str, Any]] = {"lora": {"r": 8}, "prefix": {"n": 10, "init": "random"}}


def pefts(folder: str, name: str) -> list[float]:
    """The same by PEFT in a plain loop."""
    import peft

    model = BertForSequenceClassification.from_pretrained(folder, num_labels=2)
    config = {
        "lora": lambda: peft.LoraConfig("SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"]),
        "prefix": lambda: peft.PrefixTuningConfig("FEATURE_EXTRACTION", num_virtual_tokens=10),
    }[name]()
    body: Any = peft.get_peft_model(model if name == "lora" else model.bert, config)
    learnt = [one for one in body.parameters() if one.requires_grad]
    if name == "prefix":  # a classifier of PEFT's with a prefix does not run on today's transformers
        learnt += list(model.classifier.requires_grad_(True).parameters())
    optimiser, found = torch.optim.AdamW(learnt, lr=1e-3), []
    rows = Rows(head_member(reviews(), "one"), Recipe(STEPS + 1, BATCH), *_reading(folder))
    for _ in range(STEPS + 1):
        step, began = rows.next(), time.perf_counter()
        inputs = pad(step.rows, range(len(step.rows)), rows.backbone).inputs
        said = body(**inputs)
        scores = said.logits if name == "lora" else model.classifier(said.last_hidden_state[:, 0])
        torch.nn.functional.cross_entropy(scores, step.targets).backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        found.append(time.perf_counter() - began)
    return found[2:]


def _reading(folder: str) -> tuple[Any, Encoder]:
    """Enough of a backbone to lay out rows, without a second copy of its weights."""
    mini = load_backbone("mini", device="cpu")
    return SimpleNamespace(device=torch.device("cpu"), tokenizer=mini.tokenizer), Encoder(mini)


def against_peft(name: str) -> None:
    """Both sides, each in a process of its own, twice in turn."""
    with tempfile.TemporaryDirectory() as folder:
        base_shaped(Path(folder))
        found: dict[str, list[tuple[float, float]]] = {}
        for side in ("packed", "padded", "peft") * 2:
            said = subprocess.run(
                [sys.executable, __file__, "--side", side, folder, name], capture_output=True, text=True
            )
            if said.returncode:
                raise SystemExit(said.stderr)
            found.setdefault(side, []).append(tuple(json.loads(said.stdout.splitlines()[-1])))
    for side, runs in found.items():
        seconds, memory = (min(one) for one in zip(*runs, strict=True))
        print(f"{name}, {side}: {seconds:.3f} s a step, peak {memory:.2f} GB", flush=True)


def one_side(side: str, folder: str, name: str) -> None:
    """Seconds and gigabytes as JSON."""
    steps = pefts(folder, name) if side == "peft" else ours(folder, name, side == "packed")
    print(json.dumps([median(steps), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))


def stack() -> None:
    """Members side by side against one after the other."""
    backbone, job = replace(load_backbone("mini", device="cpu"), max_length=32), reviews()
    for batch in (4, 8, 16):
        members = [cloze_member(job, job.task.pvps[0], f"member{i}") for i in range(16)]
        took = {}
        for budget, name in ((1, "in turn"), (10**9, "one stack"), (None, "the default")) * 2:
            began = time.perf_counter()
            list(train(backbone, TUNINGS.build("lora"), members, Recipe(8, batch, budget=budget), Encoder(backbone)))
            took[name] = min(took.get(name, 1e9), time.perf_counter() - began)
        ratios = ", ".join(f"{name} {took['in turn'] / one:.2f} x" for name, one in took.items())
        print(f"16 members, batch {batch}: in turn {took['in turn']:.2f} s; {ratios}", flush=True)


def adamix() -> None:
    """Two passes in one batch against as many plain rows."""
    backbone, job = load_backbone("mini", device="cpu"), reviews()
    tuning, recipe, encoder = TUNINGS.build("adamix"), Recipe(1, BATCH, packed=False), Encoder(backbone)
    rows = Rows(cloze_member(job, job.task.pvps[0], "one"), recipe, backbone, encoder)
    steps = [rows.next() for _ in range(STEPS)]

    def mixed() -> None:
        with tuning.begin(encoder, [job.task.pvps[0]], [generator("one")]) as learnt:
            for step in steps:
                learnt.route(owners([step]))
                step_losses(backbone, [rows], [step], recipe, None, tuning).sum().backward()

    def plain() -> None:
        handle = backbone.model.get_input_embeddings().register_forward_hook(lambda m, i, y: y.requires_grad_())
        for step in steps:
            twice = pad(step.rows.take([*range(BATCH)] * 2), range(2 * BATCH), backbone)
            backbone.body(**twice.inputs).last_hidden_state[:, 0].square().mean().backward()
        handle.remove()

    took = {work.__name__: min(_seconds(work) for _ in range(3)) for work in (mixed, plain, mixed, plain)}
    print(f"adamix: {took['mixed']:.2f} s, plain over twice the rows {took['plain']:.2f} s: "
          f"{took['mixed'] / took['plain']:.2f} x", flush=True)  # fmt: skip


def attach() -> None:
    """Every tuning on a large model."""
    model: Any = BertForMaskedLM(BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16,
                                            intermediate_size=4096)).eval().requires_grad_(False)  # fmt: skip
    backbone: Backbone = replace(load_backbone("mini", device="cpu"), model=model)
    vars(backbone)["anatomy"] = anatomy_of(model)
    for entry in TUNINGS:
        if entry.name in ("full", "top", "words"):
            continue
        tuning = TUNINGS.build(entry.name)

        def put(tuning: Any = tuning) -> None:
            with tuning.begin(tuning.reading(Encoder(backbone)), [None], [generator("one")]):
                pass

        print(f"{entry.name}: {min(_seconds(put) for _ in range(2)):.3f} s", flush=True)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Runs the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+")
    parser.add_argument("--side")
    options = parser.parse_args()
    if options.side:
        return one_side(options.side, *options.parts)
    for part in options.parts:
        against_peft(part) if part in SETTINGS else {"stack": stack, "adamix": adamix, "attach": attach}[part]()
    return None


if __name__ == "__main__":
    main()

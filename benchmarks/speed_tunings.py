"""What tunings cost: against PEFT, side by side against in turn, two passes against plain rows, and attaching them.

    python benchmarks/speed_tunings.py lora prefix stack adamix attach [--device cuda]

lora     steps with a classification head on a BERT-base-shaped model, 8 reviews each, against PEFT's over the same
prefix   padded rows; each side in a process of its own, seconds a step and peak memory
stack    16 members of 4 rows, 32 tokens, 6 layers, 384 wide: one stack against 16 in turn
adamix   a step of AdaMix against one plain forward and backward over twice its rows
attach   every tuning on a 24-layer, 1024-wide model: seconds until its tensors stand

Weights are random, all in single precision. On a CUDA device rows are padded on both sides, more steps are counted, and
memory is the device's.
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
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertForSequenceClassification

from promptlab import load_task, sample_shots
from promptlab.backbone.anatomy import anatomy_of
from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.backbone.batches import pad
from promptlab.backbone.catalog import ASSETS, MINI
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.methods.members import cloze_member, head_member
from promptlab.methods.method import Job
from promptlab.registry import TUNINGS
from promptlab.training.loop import owners, step_losses, train
from promptlab.training.member import Recipe, Rows

BATCH = 8
SETTINGS: dict[str, dict[str, Any]] = {"lora": {"r": 8}, "prefix": {"n": 10, "init": "random"}}
SMALL = "{}/small"
MINI_SHAPED = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}


def reviews() -> Job:
    """16 labelled reviews a class."""
    task = load_task("reviews")
    labelled, unlabelled, _ = sample_shots(task, shots=16, seed=0)
    return Job(task, labelled, unlabelled, seed=0)


def write_shaped(folder: Path, sizes: dict[str, int]) -> Path:
    """A BERT of random weights with mini's tokenizer."""
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(**sizes)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(ASSETS / MINI).save_pretrained(folder)
    return folder


def load(folder: Path | str, device: str) -> Backbone:
    """In single precision."""
    return load_backbone(str(folder), device=device, dtype="float32")


def counted(device: str) -> tuple[int, int]:
    """Steps before the clock starts, and steps under it: on a CUDA device they are short and the first ones slow."""
    return (30, 100) if device == "cuda" else (2, 11)


def settled(device: str) -> float:
    """The time when all that was asked of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def ours(folder: str, name: str, packed: bool, device: str) -> float:
    """Seconds a step, by the library's own loop: what more steps take longer."""
    backbone, job, (warm, under) = load(folder, device), reviews(), counted(device)
    took = []
    for steps in (warm, warm, warm + under):
        recipe = Recipe(steps, BATCH, pool="cls", packed=packed)
        began = settled(device)
        list(train(backbone, TUNINGS.build(name, SETTINGS[name]), [head_member(job, "one")], recipe, Encoder(backbone)))
        took.append(settled(device) - began)
    return (took[2] - took[1]) / under


def pefts(folder: str, name: str, device: str) -> float:
    """The same by PEFT in a plain loop."""
    import peft

    model = BertForSequenceClassification.from_pretrained(folder, num_labels=2).to(device)
    config = {
        "lora": lambda: peft.LoraConfig("SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"]),
        "prefix": lambda: peft.PrefixTuningConfig("FEATURE_EXTRACTION", num_virtual_tokens=10),
    }[name]()
    body: Any = peft.get_peft_model(model if name == "lora" else model.bert, config)
    learnt = [one for one in body.parameters() if one.requires_grad]
    if name == "prefix":  # a classifier of PEFT's with a prefix does not run on today's transformers
        learnt += list(model.classifier.requires_grad_(True).parameters())
    optimiser, (warm, under), began = torch.optim.AdamW(learnt, lr=1e-3), counted(device), 0.0
    reading = replace(load(SMALL.format(folder), "cpu"), device=torch.device(device))  # lays out rows, and no more
    rows = Rows(head_member(reviews(), "one"), Recipe(warm + under, BATCH), reading, Encoder(reading))
    for at in range(warm + under):
        began = settled(device) if at == warm else began
        step = rows.next()
        inputs = pad(step.rows, range(len(step.rows)), rows.backbone).inputs
        said = body(**inputs)
        scores = said.logits if name == "lora" else model.classifier(said.last_hidden_state[:, 0])
        torch.nn.functional.cross_entropy(scores, step.targets.to(device)).backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        optimiser.zero_grad()
    return (settled(device) - began) / under


def against_peft(name: str, device: str) -> None:
    """Both sides, each in a process of its own, twice in turn."""
    sides = ("padded", "peft") if device == "cuda" else ("packed", "padded", "peft")
    with tempfile.TemporaryDirectory() as folder:
        write_shaped(Path(folder), {})
        write_shaped(Path(SMALL.format(folder)), {**MINI_SHAPED, "num_hidden_layers": 1})
        found: dict[str, list[tuple[float, float]]] = {}
        for side in sides * 2:
            asked = [sys.executable, __file__, "--device", device, "--side", side, folder, name]
            said = subprocess.run(asked, capture_output=True, text=True)
            if said.returncode:
                raise SystemExit(said.stderr)
            found.setdefault(side, []).append(tuple(json.loads(said.stdout.splitlines()[-1])))
    for side, runs in found.items():
        seconds, memory = (min(one) for one in zip(*runs, strict=True))
        print(f"{name}, {side}: {1000 * seconds:.1f} ms a step, peak {memory:.2f} GB", flush=True)


def one_side(side: str, folder: str, name: str, device: str) -> None:
    """Seconds and gigabytes as JSON."""
    seconds = pefts(folder, name, device) if side == "peft" else ours(folder, name, side == "packed", device)
    held = torch.cuda.max_memory_allocated() / 1024 if device == "cuda" else _resident()
    print(json.dumps([seconds, held / 2**20]))


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def stack(device: str) -> None:
    """Members side by side against one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        backbone, job = replace(load(write_shaped(Path(folder), MINI_SHAPED), device), max_length=32), reviews()
    for batch in (4, 8, 16):
        members = [cloze_member(job, job.task.pvps[0], f"member{i}") for i in range(16)]
        took: dict[str, float] = {}
        for budget, name in ((1, "in turn"), (10**9, "one stack"), (None, "the default")) * 3:
            began = settled(device)
            list(train(backbone, TUNINGS.build("lora"), members, Recipe(8, batch, budget=budget), Encoder(backbone)))
            took[name] = min(took.get(name, 1e9), settled(device) - began)
        ratios = ", ".join(f"{name} {took['in turn'] / one:.2f} x" for name, one in took.items())
        print(f"16 members, batch {batch}: in turn {took['in turn']:.2f} s; {ratios}", flush=True)


def adamix(device: str) -> None:
    """Two passes in one batch against as many plain rows."""
    with tempfile.TemporaryDirectory() as folder:
        backbone, job = load(write_shaped(Path(folder), MINI_SHAPED), device), reviews()
    tuning, recipe, encoder = TUNINGS.build("adamix"), Recipe(1, BATCH, packed=False), Encoder(backbone)
    rows = Rows(cloze_member(job, job.task.pvps[0], "one"), recipe, backbone, encoder)
    steps = [rows.next() for _ in range(12)]

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

    took = {work.__name__: min(_seconds(work, device) for _ in range(3)) for work in (mixed, plain, mixed, plain)}
    print(f"adamix: {took['mixed']:.2f} s, plain over twice the rows {took['plain']:.2f} s: "
          f"{took['mixed'] / took['plain']:.2f} x", flush=True)  # fmt: skip


def attach(device: str) -> None:
    """Every tuning on a large model."""
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    model: Any = BertForMaskedLM(BertConfig(**large)).eval().requires_grad_(False).to(device)
    with tempfile.TemporaryDirectory() as folder:
        backbone = replace(load(write_shaped(Path(folder), MINI_SHAPED), device), model=model)
    vars(backbone)["anatomy"] = anatomy_of(model)
    for entry in TUNINGS:
        if entry.name in ("full", "top", "words"):
            continue
        tuning = TUNINGS.build(entry.name)

        def put(tuning: Any = tuning) -> None:
            with tuning.begin(tuning.reading(Encoder(backbone)), [None], [generator("one")]):
                pass

        print(f"{entry.name}: {min(_seconds(put, device) for _ in range(2)):.3f} s", flush=True)


def _seconds(work: Callable[[], object], device: str) -> float:
    began = settled(device)
    work()
    return settled(device) - began


def main() -> None:
    """Runs the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--side")
    options = parser.parse_args()
    if options.side:
        return one_side(options.side, *options.parts, options.device)
    parts: dict[str, Callable[[str], None]] = {"stack": stack, "adamix": adamix, "attach": attach}
    for part in options.parts:
        against_peft(part, options.device) if part in SETTINGS else parts[part](options.device)
    return None


if __name__ == "__main__":
    main()

"""Learning to write: tokens a second against a bare forward and backward of the same model on the same batches.

    python benchmarks/speed_writing.py --data FOLDER [--tuning lora prefix] [--steps 10]

The library's own loop trains on e2e's first --rows rows. A hook writes down what it gives the model; the other side
calls the same model with the same batches as anybody would, ids as labels, its weights frozen, gradients asked of the
word embeddings' output, so that both run all of the backward but the weights' own gradients. Sides take turns; the best
of --rounds counts.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from promptlab import load_task
from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.backbone.encode import Encoder
from promptlab.data.sources import read_splits
from promptlab.methods.method import Job
from promptlab.methods.writing import text_member, writing
from promptlab.registry import TUNINGS
from promptlab.training.loop import train
from promptlab.training.member import Member, Recipe


def settled(backbone: Backbone) -> float:
    """The time when all that was asked of the device is done."""
    if backbone.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def ours(backbone: Backbone, member: Member, name: str, recipe: Recipe) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of the steps, and what the model was called with."""
    passes: list[dict[str, Any]] = []
    handle = backbone.body.register_forward_pre_hook(lambda _, __, named: passes.append(named), with_kwargs=True)
    began = settled(backbone)
    list(train(backbone, TUNINGS.build(name), [member], recipe, Encoder(backbone)))
    took = settled(backbone) - began
    handle.remove()
    return took, passes


def bare(backbone: Backbone, passes: list[dict[str, Any]]) -> float:
    """Seconds of the same batches in a plain loop."""
    embedding = backbone.model.get_input_embeddings()
    began = settled(backbone)
    for inputs in passes:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        given = embedding(ids).detach().requires_grad_(True)
        labels = ids.masked_fill(mask == 0, -100)
        rest = {key: value for key, value in inputs.items() if key not in ("input_ids", "inputs_embeds")}
        backbone.model(inputs_embeds=given, labels=labels, **rest).loss.backward()
    return settled(backbone) - began


def compared(backbone: Backbone, member: Member, name: str, steps: int, batch: int, rounds: int) -> None:
    """Both sides over the same batches, padded."""
    recipe = Recipe(steps, batch, packed=False)
    _, passes = ours(backbone, member, name, recipe)  # the first pass of a process is slower
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(rounds):
        times["ours"].append(ours(backbone, member, name, recipe)[0])
        times["bare"].append(bare(backbone, passes))
    tokens = sum(int(one["attention_mask"].sum()) for one in passes)
    one, other = min(times["ours"]), min(times["bare"])
    print(f"{name}: {tokens / one:.0f} tokens/s, bare {tokens / other:.0f}: {other / one:.2f} x", flush=True)


def main() -> None:
    """Runs every tuning that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--data", type=Path, required=True, help="a folder that holds e2e's rows")
    parser.add_argument("--tuning", nargs="+", default=["lora", "prefix"])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    task, backbone = load_task("e2e"), load_backbone(options.backbone, dtype=options.dtype)
    job = Job(task, read_splits(task, options.data).train[: options.rows], [])
    member = text_member(job, writing(task, backbone, "first", learns=True)[0], "speed")
    for name in options.tuning:
        compared(backbone, member, name, options.steps, options.batch, options.rounds)


if __name__ == "__main__":
    main()

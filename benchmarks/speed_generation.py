"""Texts written in batches against one input at a time: rows a second as ratios in one run.

    python benchmarks/speed_generation.py --data FOLDER --limit 100 [--few 20]

The first --limit inputs of e2e's test rows in the task's first pattern, greedy and with --beams beams, up to
--max-tokens tokens, nothing but the end token ending a text. Three sides read the same ids:

batched    all rows, as ``generate`` sorts and batches them
alone      the same code, one row at a time
theirs     transformers' ``generate``, one row at a time, with its cache

With --few, so many of the inputs, evenly spaced, are written one at a time: what counts is rows a second. A side's
first texts are written before its time is taken. Rounding may part texts in single precision, so how many are alike is
said, not demanded; --dtype float64 with a small model makes them equal.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from promptlab import load_task
from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.backbone.encode import Encoded, Encoder
from promptlab.backbone.generate import Decoding, generate
from promptlab.backbone.pairs import end_ids, sources
from promptlab.data.sources import read_splits

WARM = 2


def alone(backbone: Backbone, encoded: Encoded, how: Decoding) -> list[str]:
    """Our own texts, one row at a time."""
    return [generate(backbone, encoded.take([row]), how)[0] for row in range(len(encoded))]


def theirs(backbone: Backbone, encoded: Encoded, how: Decoding) -> list[str]:
    """Texts of transformers' ``generate``, one row at a time."""
    ends, texts = list(end_ids(backbone)), []
    options = {
        "do_sample": False, "num_beams": how.beams, "max_new_tokens": how.max_tokens, "eos_token_id": ends,
        "pad_token_id": ends[0], "length_penalty": how.length_penalty, "early_stopping": False,
    }  # fmt: skip
    if how.beams == 1:
        options = {name: value for name, value in options.items() if name not in ("length_penalty", "early_stopping")}
    for row, ids in enumerate(encoded.ids):
        given = {"input_ids": torch.tensor([ids], device=backbone.device)}
        begun = len(ids)
        if encoded.replies is not None:
            given["decoder_input_ids"] = torch.tensor([encoded.replies[row]], device=backbone.device)
            begun = len(encoded.replies[row])
        given["attention_mask"] = torch.ones_like(given["input_ids"])
        with torch.inference_mode():
            written = backbone.model.generate(**given, **options)[0, begun:].tolist()
        written = written[:-1] if written[-1] in ends else written
        texts.append(backbone.tokenizer.decode(written, skip_special_tokens=True).strip())
    return texts


def timed(write: Callable[..., list[str]], backbone: Backbone, encoded: Encoded, how: Decoding):
    """Texts, and seconds they took."""
    write(backbone, encoded.take(range(min(WARM, len(encoded)))), how)
    began = time.perf_counter()
    texts = write(backbone, encoded, how)
    return texts, time.perf_counter() - began


def compared(backbone: Backbone, encoded: Encoded, how: Decoding, few: int) -> None:
    """All three sides, with one number of beams."""
    some = range(0, len(encoded), -(-len(encoded) // few))
    kind, rows = "greedy" if how.beams == 1 else f"beams of {how.beams}", len(encoded)
    ours, batched = timed(generate, backbone, encoded, how)
    tokens = sum(map(len, backbone.tokenizer(ours, add_special_tokens=False)["input_ids"]))
    print(f"{kind}: batched {rows / batched:.2f} rows/s, {tokens / batched:.0f} tokens/s", flush=True)
    for name, write in (("alone", alone), ("theirs", theirs)):
        texts, seconds = timed(write, backbone, encoded.take(some), how)
        alike = sum(ours[row] == text for row, text in zip(some, texts, strict=True))
        rate = len(some) / seconds
        print(
            f"{kind}: {name} {rate:.2f} rows/s; batched is {rows / batched / rate:.2f} x; "
            f"{alike} of {len(some)} texts are the same",
            flush=True,
        )


def main() -> None:
    """Runs both ways of writing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--data", type=Path, required=True, help="a folder that holds e2e/test.jsonl")
    parser.add_argument("--task", default="e2e")
    parser.add_argument("--limit", type=int, default=100, help="inputs")
    parser.add_argument("--few", type=int, help="inputs written one at a time; all of them where not given")
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    backbone, task = load_backbone(options.backbone, dtype=options.dtype), load_task(options.task)
    examples = read_splits(task, options.data).test[: options.limit]
    how = Decoding(max_tokens=options.max_tokens, stop="none")
    encoded = sources(Encoder(backbone), task.pvps[0].pattern, examples, room=options.max_tokens)
    print(f"{options.backbone}, {len(encoded)} inputs of {sum(encoded.lengths) / len(encoded):.0f} tokens", flush=True)
    for beams in dict.fromkeys((1, options.beams)):
        compared(backbone, encoded, replace(how, beams=beams), options.few or len(encoded))


if __name__ == "__main__":
    main()

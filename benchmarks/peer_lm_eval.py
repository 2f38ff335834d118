"""In-context learning against lm-evaluation-harness, on the same prompts, weights, number format and threads.

    python benchmarks/peer_lm_eval.py --peer PYTHON --data FOLDER

k = 4 demonstrations a class before each of --rows test rows of mr. --peer is a Python that has torch, transformers and
lm_eval; the harness runs there (peer_lm_eval_side.py) while this process waits, and is no dependency. It is given the
prompts and label words as text and the model as a folder of safetensors, and scores them by ``HFLM.loglikelihood`` at
each batch size of --batches; its best counts. ``auto`` is the harness's own search for the largest batch that fits,
from --most rows down, and its time counts. Both sides tokenize within the time and read four rows before it. Ours is
timed before and after the peer, and the slower of the two counts.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from promptlab import load_task
from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.data.fewshot import sample
from promptlab.data.sources import read_splits
from promptlab.methods.context import InContext
from promptlab.methods.in_context import InContextLearning
from promptlab.methods.method import Job

SIDE = Path(__file__).with_name("peer_lm_eval_side.py")


def handed_over(folder: Path, backbone: Backbone, ids: list[list[int]], words: list[int], options) -> None:
    """Writes the model and what it is asked for."""
    backbone.model.save_pretrained(folder / "model")
    backbone.tokenizer.save_pretrained(folder / "model")

    def text(tokens: list[int]) -> str:
        return backbone.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    asked = {
        "prompts": [text(row) for row in ids],
        "words": [text([word]) for word in words],
        "ids": [[[row, [word]] for word in words] for row in ids],
        "batches": options.batches.split(","),
        "most": options.most,
        "threads": torch.get_num_threads(),
        "dtype": str(backbone.model.dtype).removeprefix("torch."),
    }
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")


def timed(member: InContext, job: Job) -> tuple[float, np.ndarray]:
    """Seconds and scores of all rows."""
    began = time.perf_counter()
    scores = member.scores(job.queries)
    return time.perf_counter() - began, scores


def main() -> None:
    """Runs both sides and prints rows a second, their ratio, and how far the scores are apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="a Python that has lm_eval")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", default="smollm2")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--demonstrations", type=int, default=4, help="a class")
    parser.add_argument("--batches", default="1,8,auto")
    parser.add_argument("--most", type=int, default=16, help="rows from which the harness's auto searches downwards")
    options = parser.parse_args()

    task, backbone = load_task("mr"), load_backbone(options.backbone, device="cpu", dtype="float32")
    drawn = sample(task, read_splits(task, options.data), 16, seed=0)
    job = Job(task, drawn.train, drawn.unlabeled, queries=drawn.test[: options.rows])
    [(_, predictor)] = InContextLearning(demonstrations=options.demonstrations).fit(backbone, None, [job])
    [member] = predictor.members
    read = member.read(job.queries)
    ids, words = read.encoded.ids, read.words.ids
    if not read.words.single or words.shape[2] > 1:
        sys.exit(f"The label words of {task.name} have several tokens under {backbone.name}.")

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        handed_over(folder, backbone, ids, words[0, :, 0, 0].tolist(), options)
        member.scores(job.queries[:4])  # as the peer: what is read only once is not counted as a row
        before, ours = timed(member, job)
        subprocess.run([options.peer, str(SIDE), str(folder)], check=True)
        after, _ = timed(member, job)
        answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))

    rows, seconds = len(ids), max(before, after)
    print(
        f"in-context, {rows} rows of {np.mean([len(row) for row in ids]):.0f} tokens, "
        f"{torch.get_num_threads()} threads: "
        f"{rows / seconds:.2f} rows/s (before the peer {rows / before:.2f}, after it {rows / after:.2f})"
    )
    for one in answers["runs"]:
        apart = np.abs(ours - np.array(one["scores"])).max()
        print(
            f"lm_eval {answers['version']}, batch {one['batch']}: {rows / one['seconds']:.2f} rows/s; "
            f"scores differ by {apart:.1e} at most"
        )
    other = answers["other_ids"]
    print("token ids agree in all prompts" if not other else f"token ids differ in {len(other)} prompts: {other[:10]}")
    best = min(answers["runs"], key=lambda one: one["seconds"])
    print(f"that is {best['seconds'] / seconds:.1f} x its best, batch {best['batch']}", flush=True)


if __name__ == "__main__":
    main()

"""The harness's part of peer_lm_eval.py, run by the peer's own Python; knows nothing of promptlab.

Reads asked.json: prompts, label words, the token ids that are expected. At each batch size it loads the model and
scores four rows, then all by HFLM.loglikelihood. Writes answers.json: seconds and log-likelihoods of each, and the
prompts whose ids differ.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM


def requests(prompts: list[str], words: list[str]) -> list[Instance]:
    """One a prompt and word."""
    pairs = [(prompt, word) for prompt in prompts for word in words]
    return [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]


def run(folder: Path, asked: dict, batch: str) -> tuple[dict, HFLM]:
    """Seconds and scores at one batch size."""
    model = HFLM(
        pretrained=str(folder / "model"), dtype=asked["dtype"], device="cpu", max_batch_size=asked["most"],
        batch_size=batch if batch == "auto" else int(batch),
    )  # fmt: skip
    prompts, words = asked["prompts"], asked["words"]
    model.batch_size_per_gpu, own = min(4, asked["most"]), model.batch_size_per_gpu  # auto would search here already
    model.loglikelihood(requests(prompts[:4], words), disable_tqdm=True)
    model.batch_size_per_gpu = own
    began = time.perf_counter()
    found = model.loglikelihood(requests(prompts, words), disable_tqdm=True)
    seconds = time.perf_counter() - began
    each = [score for score, _ in found]
    scores = [each[start : start + len(words)] for start in range(0, len(each), len(words))]
    return {"batch": batch, "seconds": seconds, "scores": scores}, model


def main() -> None:
    """Answers what the folder asks."""
    folder = Path(sys.argv[1])
    asked = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    torch.set_num_threads(asked["threads"])
    runs = []
    for batch in asked["batches"]:
        done, model = run(folder, asked, batch)
        runs.append(done)
    other = [
        row
        for row, (prompt, wanted) in enumerate(zip(asked["prompts"], asked["ids"], strict=True))
        if [list(model._encode_pair(prompt, word)) for word in asked["words"]] != wanted
    ]
    answers = {"version": version("lm_eval"), "runs": runs, "other_ids": other}
    (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    main()

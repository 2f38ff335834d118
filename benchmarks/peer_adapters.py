"""A step of a bottleneck with a classification head on a BERT-base-shaped model, against the adapters library's.

    python benchmarks/peer_adapters.py --peer PYTHON [houlsby pfeiffer parallel]

PYTHON is the interpreter of an environment with torch and adapters, whose transformers is an older one. Both sides read
the same random weights and the same padded batches of 8 reviews, learn bottlenecks 48 wide and a head, and run in
processes of their own, twice in turn; seconds a step, and peak memory. Ours with rows packed, the default, and padded.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from speed_tunings import BATCH, SETTINGS, counted, load, one_side, reviews, write_shaped

from promptlab.backbone.batches import pad
from promptlab.backbone.encode import Encoder
from promptlab.methods.members import head_member
from promptlab.training.member import Recipe, Rows

SIDE = Path(__file__).with_name("peer_adapters_side.py")
SETTINGS |= {name: {"r": 48} for name in ("houlsby", "pfeiffer", "parallel")}


def write_batches(folder: Path) -> None:
    """What our loop would give the model, padded, with the labels."""
    backbone, steps = load(folder, "cpu"), sum(counted("cpu"))
    rows = Rows(head_member(reviews(), "one"), Recipe(steps, BATCH), backbone, Encoder(backbone))
    found = []
    for _ in range(steps):
        step = rows.next()
        found.append((dict(pad(step.rows, range(len(step.rows)), backbone).inputs), step.targets))
    torch.save(found, folder / "batches.pt")


def asked(side: str, folder: Path, name: str, peer: str) -> list[float]:
    """Seconds a step and gigabytes."""
    ours = [sys.executable, __file__, "--side", side, "--folder", str(folder), name]
    command = [peer, str(SIDE), str(folder), name, str(counted("cpu")[0])] if side == "adapters" else ours
    said = subprocess.run(command, capture_output=True, text=True)
    if said.returncode:
        raise SystemExit(said.stderr)
    return json.loads(said.stdout.splitlines()[-1])


def main() -> None:
    """Runs both sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["houlsby", "pfeiffer"])
    parser.add_argument("--peer")
    parser.add_argument("--side")
    parser.add_argument("--folder")
    options = parser.parse_args()
    if options.side:
        return one_side(options.side, options.folder, options.names[0], "cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = write_shaped(Path(name), {})
        write_batches(folder)
        for one in options.names:
            found: dict[str, list[list[float]]] = {}
            for side in ("packed", "padded", "adapters") * 2:
                found.setdefault(side, []).append(asked(side, folder, one, options.peer))
            for side, runs in found.items():
                seconds, memory = (min(each) for each in zip(*runs, strict=True))
                print(f"{one}, {side}: {1000 * seconds:.0f} ms a step, peak {memory:.2f} GB", flush=True)
    return None


if __name__ == "__main__":
    main()

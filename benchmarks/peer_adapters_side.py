"""The adapters library's part of peer_adapters.py, run by the peer's own Python; knows nothing of promptlab.

    python peer_adapters_side.py FOLDER NAME WARM

FOLDER holds a BERT and batches.pt; NAME is a kind of bottleneck. Prints seconds a step after the first WARM, and the
process's peak memory in gigabytes.
"""

import json
import resource
import sys
import time
from pathlib import Path

import adapters
import torch
from transformers import BertForSequenceClassification

KINDS = {
    "houlsby": adapters.DoubleSeqBnConfig(reduction_factor=16),
    "pfeiffer": adapters.SeqBnConfig(reduction_factor=16),
    "parallel": adapters.ParBnConfig(reduction_factor=16),
}


def main(folder: str, name: str, warm: str) -> None:
    """A plain loop."""
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=2)
    adapters.init(model)
    model.add_adapter("one", config=KINDS[name])
    model.train_adapter("one")
    model.classifier.requires_grad_(True)
    learnt = [one for one in model.parameters() if one.requires_grad]
    optimiser, began = torch.optim.AdamW(learnt, lr=1e-3), 0.0
    batches = torch.load(Path(folder) / "batches.pt")
    for at, (inputs, targets) in enumerate(batches):
        began = time.perf_counter() if at == int(warm) else began
        torch.nn.functional.cross_entropy(model(**inputs).logits, targets).backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        optimiser.zero_grad()
    seconds = (time.perf_counter() - began) / (len(batches) - int(warm))
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))


if __name__ == "__main__":
    main(*sys.argv[1:])

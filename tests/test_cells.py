"""Every cell of the grid works on a tiny backbone, or is refused with the reason that the grid gives."""

from dataclasses import replace

import numpy as np
import pytest
from transformers import T5Config

from promptlab.backbone.backbone import load_backbone
from promptlab.errors import BackboneError, SettingError
from promptlab.hub import Origin, load_predictor, save_predictor
from promptlab.language.task import Task
from promptlab.methods.chosen import choose
from promptlab.methods.method import Job
from promptlab.registry import HEADS, KINDS, METHODS, NAMED, NOT_YET, TUNINGS, aliases, cells, refusal
from promptlab.spec import parse_system
from promptlab.training.curves import Kept, tracking

FAMILY = {"masked": "bert", "causal": "gpt2"}
TASK = Task.from_parts(
    patterns=["{text} It was {mask}.", "{text} All in all, it was {mask}."],
    verbalizer={"negative": "terrible", "positive": "great"},
)
PET = "repetitions=1,steps=3,batch=4,student_steps=3,student_batch=8,pool=8"
SHORT = {
    "prompt": "steps=3,batch=4", "finetune": "steps=3,batch=4", "pet": PET, "ipet": f"generations=1,{PET}",
    "in-context": "demonstrations=1",
}  # fmt: skip
SMALL = {"prefix": "n=3", "soft": "n=3", "prelayer": "n=3", "words": "n=2,candidates=4", "top": "layers=1"}
ALL = list(cells())
VALID = [cell for cell in ALL if not cell.refused and cell.kind in FAMILY]


def named(cell):
    return f"{cell.system}-{cell.kind}"


def short(cell):
    """The cell's system, three steps long."""
    system = parse_system(cell.system)
    method = parse_system(f"{cell.method}:{SHORT[cell.method]}").method if cell.method in SHORT else system.method
    method = replace(method, settings={**method.settings, **system.method.settings})
    small = SMALL.get(cell.tuning)
    return f"{method}+{system.tuning}" + (f":{small}" if small else "") if system.tuning else str(method)


def losses(kept):
    """First and last loss of every training; members of later generations begin anew."""
    runs = {}
    for step, values in kept.rows:
        for name, value in values.items():
            if name.endswith("/loss"):
                runs.setdefault(name, [])
                runs[name] += [[]] if step == 0 else []
                runs[name][-1].append(value)
    return [(run[0], run[-1]) for each in runs.values() for run in each]


def heads_of(predictor):
    """What answers: label words, or a head."""
    models = getattr(predictor, "members", [predictor])
    return {"cloze" if getattr(model, "pvp", None) else "head" for model in models}


@pytest.mark.parametrize("cell", VALID, ids=named)
def test_a_valid_cell_learns_in_three_steps_and_answers_alike_when_it_is_loaded(tiny, reviews, tmp_path, cell):
    backbone, chosen = tiny(FAMILY[cell.kind]), choose(short(cell))
    pool = [example.unlabelled() for example in reviews[20:28]]
    with tracking(Kept()) as kept:
        [(_, found)] = chosen.method.fit(backbone, chosen.tuning, [Job(TASK, reviews[:4], pool)])
        predictor = found.keep()
    scores = predictor.scores(reviews[30:])
    trained = losses(kept)
    if chosen.tuning is None or cell.tuning == "words":
        assert trained == []
    else:
        assert trained
        assert [(first, last) for first, last in trained if not last < first] == []
    if chosen.tuning:
        assert heads_of(predictor) == {cell.head}
    needed = backbone if chosen.method.needs_backbone else None
    save_predictor(tmp_path / "it", predictor, needed, Origin(chosen.system, chosen.settings))
    again = load_predictor(tmp_path / "it", needed).predictor
    assert np.array_equal(again.scores(reviews[30:]), scores)

"""Every cell of the grid works on a tiny backbone, or is refused with the reason that the grid gives."""

import re

import numpy as np
import pytest
import torch
from torch import log_softmax

from promptlab.errors import BackboneError, SettingError
from promptlab.hub import Origin, load_predictor, save_predictor
from promptlab.language.task import Task
from promptlab.methods.chosen import choose
from promptlab.methods.method import Job
from promptlab.registry import HEADS, KINDS, METHODS, NAMED, TUNINGS, TWO_ROWS, Entry, aliases, cells, refusal
from promptlab.spec import Spec, System, parse_spec, parse_system
from promptlab.training.curves import Kept, tracking

FAMILY = {"masked": "bert", "causal": "gpt2", "seq2seq": "bart"}
TASK = Task.from_parts(
    patterns=["{text} It was {mask}.", "{text} All in all, it was {mask}."],
    verbalizer={"negative": "terrible", "positive": "great"},
)
MEMBERS = "repetitions=1,steps=3,batch=24,student_steps=3,student_batch=8,pool=8,head_lr=1e-3,warmup=0"
SHORT = {
    "prompt": "steps=3,batch=4", "finetune": "steps=3,batch=4,head_lr=1e-3", "pet": MEMBERS,
    "ipet": f"{MEMBERS},generations=1", "in-context": "demonstrations=1",
}  # fmt: skip
SMALL = {
    "full": "lr=2e-4", "top": "layers=1", "words": "n=2,candidates=4", "soft": "n=3", "prefix": "n=3",
    "prelayer": "n=3", "unipelt": "adapter_r=4,n=3",
    "adamix-lora": "experts=2,lr=2e-3",  # four, met at random, want more than three steps
}  # fmt: skip
ALL = list(cells())
SLOW = [
    cell
    for cell in ALL
    if cell.system.startswith("ipet:student=false")  # what ipet and pet's ensemble do, again
    or (
        cell.kind == "seq2seq" and cell.method in ("pet", "ipet") and cell.tuning != "lora"
    )  # finetune and prompt, again
]
VALID = [cell for cell in ALL if not cell.refused]


def named(cell):
    return f"{cell.system}-{cell.kind}"


def short(cell):
    """The cell's system, three small steps long, each over all rows of a member."""
    system = parse_system(cell.system)
    more = parse_spec(f"{cell.method}:{SHORT[cell.method]}").settings if cell.method in SHORT else {}
    method = Spec(cell.method, {**system.method.settings, **more})
    rate = {} if cell.tuning == "words" else {"lr": "1e-3"}
    small = parse_spec(f"{cell.tuning}:{SMALL[cell.tuning]}").settings if cell.tuning in SMALL else {}
    return str(System(method, cell.tuning and Spec(cell.tuning, {**rate, **small})))


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


def of_words(predictor, rows):
    """The loss of labelled rows under the words that a search has found."""
    chances = log_softmax(torch.tensor(predictor.scores(rows)), -1)
    return float(-chances[range(len(rows)), [TASK.labels.index(row.label) for row in rows]].mean())


def falls(swaps, found):
    """Whether every swap brought the loss of the rows down, the last to that of what was found."""
    each = all(swap["after"] < swap["before"] for swap in swaps)
    return len(swaps) > 0 and each and swaps[0]["before"] > found == pytest.approx(swaps[-1]["after"], abs=1e-4)


def heads_of(predictor):
    """What answers: label words, or a head."""
    models = getattr(predictor, "members", [predictor])
    return {"cloze" if getattr(model, "pvp", None) else "head" for model in models}


def walked():
    for cell in VALID:
        yield pytest.param(cell, FAMILY[cell.kind], id=named(cell), marks=[pytest.mark.slow] * (cell in SLOW))
        left = cell.method in ("pet", "ipet") or not METHODS.entry(cell.method).trait("needs_backbone", True)
        if cell.kind == "seq2seq" and cell.tuning != "bitfit" and not left:  # T5 has no biases
            yield pytest.param(cell, "t5", id=f"{named(cell)}-t5", marks=[pytest.mark.slow] * (cell.head == "head"))


@pytest.mark.parametrize(("cell", "family"), list(walked()))
def test_a_valid_cell_learns_in_three_steps_and_answers_alike_when_it_is_loaded(tiny, reviews, tmp_path, cell, family):
    backbone, chosen = tiny(family), choose(short(cell))
    pool = [example.unlabelled() for example in reviews[20:28]]
    with tracking(Kept()) as kept:
        [(_, found)] = chosen.method.fit(backbone, chosen.tuning, [Job(TASK, reviews[:4], pool)])
        predictor = found.keep()
    scores = predictor.scores(reviews[30:])
    trained = losses(kept)
    if chosen.tuning is None or cell.tuning == "words":
        assert trained == []
        assert cell.tuning is None or falls(predictor.facts["swaps"][0], of_words(predictor, reviews[:4]))
    else:
        assert trained
        assert [(first, last) for first, last in trained if not last < first] == []
    if chosen.tuning:
        assert heads_of(predictor) == {cell.head}
    needed = backbone if chosen.method.needs_backbone else None
    save_predictor(tmp_path / "it", predictor, needed, Origin(chosen.system, chosen.settings))
    again = load_predictor(tmp_path / "it", needed).predictor
    assert np.array_equal(again.scores(reviews[30:]), scores)


def asked(cell, backbone, rows):
    """Asks for a refused cell, by whichever of its parts is at fault."""
    system = parse_system(cell.system)
    if refusal(cell.method, cell.tuning):
        choose(str(system))
        return
    method = short(cell)
    if refusal(cell.method, cell.tuning, cell.head):
        method = f"{cell.method}:{'patterns=all' if cell.head == 'cloze' else 'head_lr=1e-3'}"
        method = f"{method}+{cell.tuning}" if cell.tuning else method
    chosen = choose(method)
    list(chosen.method.fit(backbone, chosen.tuning, [Job(TASK, rows, [row.unlabelled() for row in rows])]))


def test_a_refused_cell_is_an_error_with_the_reason_that_the_grid_gives(tiny, reviews):
    refused = [cell for cell in ALL if cell.refused]
    assert {cell.method for cell in refused} == {entry.name for entry in METHODS}
    for cell in {(cell.method, cell.tuning, cell.head, cell.refused): cell for cell in refused}.values():
        with pytest.raises((SettingError, BackboneError), match=re.escape(cell.refused)) as caught:
            asked(cell, tiny(FAMILY[cell.kind]), reviews[:4])
        assert "Write " in str(caught.value)


def test_the_grid_holds_every_method_tuning_head_and_kind_once():
    learning = [method for method in METHODS if method.load().learns]
    keys = [(cell.method, cell.tuning, cell.head, cell.kind) for cell in ALL]
    wanted = len(list(METHODS)) * len(list(TUNINGS)) + len(list(METHODS)) - len(learning)
    assert len(set(keys)) == len(keys) == wanted * len(HEADS) * len(KINDS)


def test_what_is_refused_is_told_apart_by_its_reason():
    for cell in ALL:
        assert not (cell.refused and cell.name)
        if METHODS.entry(cell.method).load().learns and cell.kind != "seq2seq" and cell.tuning != "words":
            assert not cell.refused or cell.refused == refusal(cell.method, None, cell.head) != TWO_ROWS


def test_a_method_or_tuning_of_another_package_is_asked_for_its_own_traits(monkeypatch):
    method = Entry("solo", "promptlab.methods.finetune:Finetune", "a method")
    tuning = Entry("worded", "promptlab.tuning.words:Words", "a tuning")
    monkeypatch.setitem(METHODS.entries, "solo", method)
    monkeypatch.setitem(TUNINGS.entries, "worded", tuning)
    assert {cell.head for cell in cells() if cell.method == "solo" and not cell.refused} == set(HEADS)  # it says none
    assert refusal("finetune", "worded") == "worded goes with prompt only, since what it learns is text"
    assert refusal("majority", "worded") == "majority trains no weights, so it takes no tuning"


@pytest.mark.parametrize("entry", [*METHODS, *TUNINGS], ids=lambda entry: entry.name)
def test_what_the_registry_says_without_importing_is_what_the_object_says(entry):
    thing = entry.load()
    for name, usual in (("learns", False), ("needs_backbone", True), ("methods", None), ("kinds", KINDS)):
        assert entry.trait(name, usual) == getattr(thing, name, usual)


def test_a_paper_names_a_valid_cell_and_its_name_is_an_alias_of_it():
    named_cells = {(cell.name, cell.system.removesuffix("+full")) for cell in ALL if cell.name}
    assert named_cells == {(name, system) for name, system, _ in NAMED}
    for cell in ALL:
        assert bool(cell.name) == bool(cell.papers)
    for alias, system in aliases().items():
        assert parse_system(alias) == parse_system(system)
    (pet,) = {cell.papers for cell in ALL if cell.name == "PET"}
    assert pet == ("2001.07676",)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("AdaMix:r=8", "finetune+adamix:r=8"),
        ("prompt-tuning", "prompt+soft"),
        ("prefix-tuning:n=3|5", "prompt+prefix:n=3|5"),
        ("PET:repetitions=1+lora:r=4", "pet:repetitions=1+lora:r=4"),
        ("unipelt:parts=adapter+prefix", "finetune+unipelt:parts=adapter+prefix"),
    ],
)
def test_a_papers_name_may_stand_for_its_cell(written, meant):
    assert parse_system(written) == parse_system(meant)


def test_a_papers_name_takes_no_second_tuning():
    with pytest.raises(SettingError, match="Write name"):
        parse_system("adamix+lora")
    with pytest.raises(SettingError, match="names a tuning, and so does tuning=lora"):
        choose("adamix", "lora")

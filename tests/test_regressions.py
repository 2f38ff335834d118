"""Faults of other libraries that no other test here would see; docs/regressions.md says which test sees which fault."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from promptlab.backbone.ask import ask
from promptlab.backbone.batches import pad
from promptlab.backbone.decode import DECODINGS, answer
from promptlab.backbone.encode import Encoder
from promptlab.backbone.score import label_mass, label_scores
from promptlab.data.sources import read_examples
from promptlab.errors import PatternError
from promptlab.language.example import Example
from promptlab.language.library import load_task, task_names
from promptlab.language.pattern import Pattern
from promptlab.language.task import Task
from promptlab.methods import ensemble, ipet, teach
from promptlab.methods.ipet import Ipet
from promptlab.methods.members import head_member
from promptlab.methods.method import Job
from promptlab.methods.pet import Pet
from promptlab.methods.prompt import Prompt
from promptlab.training import loop
from promptlab.training.loop import train
from promptlab.training.member import Member, Recipe
from promptlab.tuning.full import Full
from promptlab.tuning.lora import Lora

PACKAGE = sorted((Path(__file__).parents[1] / "promptlab").rglob("*.py"))
CODE = "__import__('os').getcwd()"
TWO = Task.from_parts(["{text} {sep} It was {mask}."], {"bad": ["terrible film", "awful"], "good": "great story"})
FILMS = [Example({"text": text}) for text in ("a boring film", "lovely", "the music is warm and the plot is not")]


def one_member(reviews, task, **rates):
    rows = reviews[:4]
    targets = np.array([("negative", "positive").index(row.label) for row in rows])
    return Member("k", rows, targets, 2, ("text",), task.pvps[0], **rates)


def nodes(kind):
    for path in PACKAGE:
        yield from ((path, node) for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kind))


# ---------------------------------------------------------------- ids that mean something else


# ADAPET takes every id above 0 for text: RoBERTa's <s> is 0, and its padding 1
def test_attention_is_of_a_rows_length_and_not_of_its_ids(each):
    encoded = Encoder(each).plain(FILMS, ["text"])
    encoded.ids[1] = [0, each.tokenizer.pad_token_id or 0, *encoded.ids[1]]
    batch = pad(encoded, range(3), each)
    assert batch.attention.sum(1).tolist() == encoded.lengths
    assert batch.attention[1, : len(encoded.ids[1])].all()


# pet takes token 0 for "no word here"
def test_token_0_is_a_word_like_any():
    logits = torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_p = logits.log_softmax(-1)
    found = label_scores(logits, torch.tensor([[[[0, 3]], [[2, 0]]]]))
    expected = torch.stack([log_p[:, 0, 0] + log_p[:, 1, 3], log_p[:, 0, 2] + log_p[:, 1, 0]], 1)
    torch.testing.assert_close(found, expected)
    mass = label_mass(logits, torch.tensor([[[[0, 3]], [[2, 0]]]]))
    torch.testing.assert_close(mass, log_p[:, 0, [0, 2]].exp().sum(1).float(), check_dtype=False)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("decoding", DECODINGS)
def test_so_it_is_within_words_of_several_tokens(float64, family, decoding):
    backbone = float64(family)
    task = Task.from_parts(["{text} It was {mask}."], {"bad": "terrible", "good": "great"})
    encoded = Encoder(backbone).cloze(task.pvps[0].pattern, FILMS[:1], 2)
    found = answer(backbone, encoded, np.array([[[[0, 7]], [[9, 0]]]]), decoding).labels[0]
    for score, (first, second) in zip(found, [(0, 7), (9, 0)], strict=True):
        assert score == pytest.approx(slowly(backbone, encoded, first, second, decoding), abs=1e-10)


def slowly(backbone, encoded, first, second, decoding):
    """Two pieces of a word, one forward at a time."""
    ids, slots = list(encoded.ids[0]), encoded.slots[0]
    kinds = {} if encoded.segments is None else {"token_type_ids": torch.tensor(encoded.segments)}

    def said(ids, place, token):
        with torch.no_grad():
            return backbone.model(torch.tensor([ids]), **kinds).logits[0, place].log_softmax(-1)[token].item()

    if backbone.kind == "causal":
        return said(ids, slots[0], first) + said([*ids, first], slots[0] + 1, second)
    still_open = said(ids, slots[0], first), said(ids, slots[1], second)
    if decoding == "parallel":
        return sum(still_open)
    if decoding == "left-to-right" or still_open[0] >= still_open[1]:
        ids[slots[0]] = first
        return still_open[0] + said(ids, slots[1], second)
    ids[slots[1]] = second
    return still_open[1] + said(ids, slots[0], first)


# pet leaves token_type_ids out where it asks for words of several tokens, though it has trained with them
def test_segments_are_numbered_alike_in_training_and_in_asking(tiny_bert, reviews):
    seen = {}

    def note(module, given, named):
        for ids, kinds in zip(given[0].tolist(), named["token_type_ids"].tolist(), strict=True):
            text = [token for token in ids if token != tiny_bert.tokenizer.pad_token_id]
            border = text.index(tiny_bert.tokenizer.sep_token_id) + 1
            seen.setdefault(torch.is_grad_enabled(), set()).add(tuple(kinds[border - 1 : border + 1]))

    hook = tiny_bert.body.register_forward_pre_hook(note, with_kwargs=True)
    try:
        ask(Encoder(tiny_bert), TWO.pvps[0], FILMS)
        recipe = Recipe(steps=2, batch=2, packed=False)
        list(train(tiny_bert, Lora(r=2), [one_member(reviews, TWO)], recipe, Encoder(tiny_bert)))
    finally:
        hook.remove()
    assert seen == {False: {(0, 1)}, True: {(0, 1)}}


# OpenPrompt and DART score a word by its first token, so labels that begin alike get the same score
@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "gpt2", "llama"])
def test_labels_whose_words_begin_alike_are_told_apart(tiny, family):
    task = Task.from_parts(["{text} It was a {mask}"], {"film": "great film", "story": "great story", "none": "great"})
    for decoding in DECODINGS:
        found = ask(Encoder(tiny(family)), task.pvps[0], FILMS, decoding=decoding).labels
        gaps = np.abs(found[:, :, None] - found[:, None, :])[:, ~np.eye(3, dtype=bool)]
        assert gaps.min() > 1e-4


# ---------------------------------------------------------------- settings that are not heeded


# P-tuning trains the backbone with 1e-5 whatever was set
@pytest.mark.parametrize("rate", [1e-3, 4e-3])
def test_the_step_size_that_was_set_is_the_one_that_trains(float64, reviews, rate):
    backbone = float64("bert")
    before = {name: one.detach().clone() for name, one in backbone.model.named_parameters()}
    recipe = Recipe(steps=1, batch=4, warmup=0.0)
    tuning = Full(lr=rate, weight_decay=0.0)
    (done,) = train(backbone, tuning, [one_member(reviews, TWO)], recipe, Encoder(backbone))
    moved = max((tensor - before[name]).abs().max().item() for name, tensor in done.state.items())
    assert moved == pytest.approx(rate, rel=1e-3)  # Adam's first step is the step size itself
    own = one_member(reviews, TWO, lr=2 * rate)
    (done,) = train(backbone, tuning, [own], recipe, Encoder(backbone))
    moved = max((tensor - before[name]).abs().max().item() for name, tensor in done.state.items())
    assert moved == pytest.approx(2 * rate, rel=1e-3)


def test_so_it_is_for_the_members_and_the_student_of_an_ensemble(tiny_bert, reviews_task, reviews, monkeypatch):
    rates = {}

    def noting(place):
        own = place.train

        def training(backbone, tuning, members, *rest):
            rates[place.__name__.rpartition(".")[2]] = {member.lr for member in members}
            return own(backbone, tuning, members, *rest)

        monkeypatch.setattr(place, "train", training)

    noting(ensemble)
    noting(teach)
    job = Job(reviews_task, reviews[:4], [row.unlabelled() for row in reviews[8:12]], queries=reviews[12:14])
    list(Pet(repetitions=1, steps=1, student_steps=1, lr=0.25).fit(tiny_bert, Lora(r=2), [job]))
    assert rates == {"ensemble": {0.25}, "teach": {0.25}}


# pet makes one update more than max_steps
@pytest.mark.parametrize("steps", [1, 7])
def test_a_training_of_so_many_steps_makes_so_many_updates(tiny_bert, reviews, monkeypatch, steps):
    made, step = [], loop.AdamW.step
    monkeypatch.setattr(loop.AdamW, "step", lambda self, rate, *rest: made.append(rate) or step(self, rate, *rest))
    recipe = Recipe(steps=steps, batch=3, warmup=0.0)
    (done,) = train(tiny_bert, Lora(r=2), [one_member(reviews, TWO)], recipe, Encoder(tiny_bert))
    assert len(made) == steps
    assert (made[0], made[-1]) == (1.0, pytest.approx(1 / steps))
    assert done.facts["seen"] == 3 * steps


# pet draws every generation of iPET by the number 42, whatever seed was given
def test_every_draw_of_ipet_has_numbers_of_its_own_that_follow_from_the_seed(
    tiny_bert, reviews_task, reviews, monkeypatch
):
    keys, own = [], ipet.random_numbers
    monkeypatch.setattr(ipet, "random_numbers", lambda key: keys.append(key) or own(key))
    pool = [row.unlabelled() for row in reviews[4:]]
    jobs = [Job(reviews_task, reviews[:2], pool, queries=reviews[:2], seed=seed) for seed in (0, 3)]
    list(Ipet(generations=2, repetitions=2, steps=1, student=False).fit(tiny_bert, Lora(r=2), jobs))
    assert len(set(keys)) == len(keys) == 2 * 2 * 6  # jobs, generations, members
    assert sum(key.endswith("seed3") for key in keys) == 12


# pet's student never sees the word that WiC asks about
@pytest.mark.parametrize("name", [name for name in task_names() if load_task(name).fixed and load_task(name).labels])
def test_a_head_reads_every_input_of_its_task(tiny_bert, name):
    task = load_task(name)
    values = dict(zip(task.inputs, ("lovely", "plot", "moving", "scene", "worst"), strict=False))
    row = Example(values, "1" if task.range else task.labels[0])
    member = head_member(Job(task, [row]), "k")
    (ids,) = Encoder(tiny_bert).plain(member.examples, member.inputs).ids
    words = tiny_bert.tokenizer.decode(ids).split()
    assert [word for word in words if word in values.values()] == list(values.values())


# ---------------------------------------------------------------- text that is run


# LM-BFF evaluates labels as Python, OpenPrompt the text of its templates
@pytest.mark.parametrize("code", [CODE, "{text.__class__}", "0 if True else 1"])
def test_a_label_that_is_code_is_a_name(tmp_path, code):
    task = Task.from_parts(["{text} {mask}."], {"bad": "terrible", code: "great"}, ["bad", code])
    (tmp_path / "rows.csv").write_text(f'text,label\na film,"{code}"\n', encoding="utf-8")
    (row,) = read_examples(tmp_path / "rows.csv", task)
    assert (row.label, task.gold(row)) == (code, 1)


@pytest.mark.parametrize("code", [CODE, "lambda x: x", "print('a')"])
def test_code_in_a_pattern_is_text(code):
    assert Pattern.parse("mine", f"{{text}} {code} {{mask}}").fill(FILMS[1], word="great") == f"lovely {code} great"
    assert Pattern.parse("mine", f"{{text}} {{{{{code}}}}} {{mask}}").fill(FILMS[1]).startswith(f"lovely {{{code}}}")


@pytest.mark.parametrize("slot", ["{text.__class__}", "{text[0]}", "{text|eval}", "{text!r}", "{text|__import__}"])
def test_a_slot_has_no_way_to_run_anything(slot):
    with pytest.raises(PatternError):
        Pattern.parse("mine", f"{slot} {{mask}}")


# OpenPrompt ends the whole program, and puts every model on a CUDA device
def test_the_library_neither_leaves_the_program_nor_names_a_card():
    leaving = [
        f"{path.name}:{node.lineno}" for path, node in nodes(ast.Attribute)
        if node.attr in ("exit", "_exit", "abort", "cuda") and "cli" not in path.parts
        and not (node.attr == "cuda" and getattr(node.value, "id", "") == "torch")
    ]  # fmt: skip
    raised = [f"{path.name}:{node.lineno}" for path, node in nodes(ast.Name) if node.id == "SystemExit"]
    cards = [f"{path.name}:{node.lineno}" for path, node in nodes(ast.JoinedStr) if "cuda:" in ast.unparse(node)]
    assert leaving == []
    assert [place for place in raised if not place.startswith("app.py")] == []
    assert cards == []


# OpenPrompt prints what goes wrong with a row and goes on
def test_no_error_is_passed_over_in_silence():
    silent = [
        f"{path.name}:{handler.lineno}"
        for path, handler in nodes(ast.ExceptHandler)
        if (handler.type is None or ast.unparse(handler.type) in ("Exception", "BaseException"))
        and not any(
            isinstance(node, ast.Raise) or getattr(node, "id", "") == (handler.name or 0) for node in ast.walk(handler)
        )
    ]
    assert silent == []


# pet uses names that numpy has taken away
def test_no_name_is_used_that_numpy_has_taken_away():
    gone = re.compile(r"^np\.(float|int|bool|object|str|long|unicode|complex)$")
    assert [f"{path.name}:{node.lineno}" for path, node in nodes(ast.Attribute) if gone.match(ast.unparse(node))] == []


# DART writes its label words over the last rows of the vocabulary
@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("tuning", [Lora(r=2), Full()], ids=lambda tuning: tuning.name)
def test_label_words_of_several_tokens_take_no_place_in_the_vocabulary(fresh, reviews, family, tuning):
    backbone = fresh(family)
    before = backbone.model.get_input_embeddings().weight.detach().clone()
    task = Task.from_parts(["{text} It was {mask}"], {"negative": "terrible film", "positive": "great story"})
    ((_, predictor),) = Prompt(steps=2).fit(backbone, tuning, [Job(task, reviews[:4], queries=reviews[:2])])
    predictor.scores(reviews[:2])
    torch.testing.assert_close(backbone.model.get_input_embeddings().weight, before, rtol=0, atol=0)
    assert len(backbone.tokenizer) == backbone.vocab


def test_every_test_that_the_table_of_faults_names_is_here():
    root = Path(__file__).parents[1]
    named = re.findall(r"`([a-z_/]+\.py)::(\w+)`", (root / "docs" / "regressions.md").read_text("utf-8"))
    assert len(named) > 40
    assert [
        f"{file}::{name}" for file, name in named if f"def {name}(" not in (root / "tests" / file).read_text("utf-8")
    ] == []

"""What a tracker is told, by whom, and what happens where its library is missing or fails."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from promptlab.backbone.encode import Encoder
from promptlab.errors import OutputError, SettingError
from promptlab.language.library import read_task
from promptlab.methods.method import Job
from promptlab.training import curves as module
from promptlab.training.curves import Kept, curves, tell, tracker, tracking, under
from promptlab.training.loop import train
from promptlab.training.member import Member, Recipe
from promptlab.tuning.full import Full
from promptlab.tuning.lora import Lora

NEEDED = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "trackio": "trackio"}


class Calls:
    """A module, a class, a run: whatever is called is written down."""

    def __init__(self, said, name):
        self.said, self.name = said, name

    def __getattr__(self, name):
        def call(*given, **named):
            self.said.append((f"{self.name}.{name}", given, named))
            return Calls(self.said, name)

        return call


@pytest.fixture
def fake(monkeypatch):
    """fake("wandb"): the library stands in; returns what it is called with."""

    def put(kind):
        said = []
        monkeypatch.setitem(sys.modules, NEEDED[kind], Calls(said, kind))
        return said

    return put


def members(reviews, task, keys=("a", "b")):
    targets = np.array([task.labels.index(one.label) for one in reviews[:8]])
    return [
        Member(key, reviews[:8], targets, 2, ("text",), task.pvps[0], lr=10 ** -(2 + i)) for i, key in enumerate(keys)
    ]


def trained(backbone, task, reviews, tuning, steps=3, **more):
    recipe = Recipe(steps=steps, batch=4, budget=10**6, **more)
    return list(train(backbone, tuning, members(reviews, task), recipe, Encoder(backbone)))


# the loop


@pytest.mark.parametrize("tuning", [Lora(r=2), Full()], ids=lambda one: one.name)
def test_every_member_tells_its_loss_rate_and_norm_of_every_step(tiny_bert, reviews_task, reviews, tuning):
    steps = module.EVERY + 3
    with tracking(Kept()) as told:
        done = trained(tiny_bert, reviews_task, reviews, tuning, steps=steps, warmup=0.0)
    for one, rate in zip(done, (1e-2, 1e-3), strict=True):
        key = one.member.key
        losses, norms, rates = (told.curve(f"{key}/{name}") for name in ("loss", "gradient_norm", "learning_rate"))
        assert [step for step, _ in losses] == [step for step, _ in norms] == list(range(steps))
        assert losses[-1][1] == pytest.approx(one.facts["loss"], rel=1e-6)
        assert all(norm > 0 for _, norm in norms)
        assert [value for _, value in rates] == pytest.approx([rate * (steps - step) / steps for step in range(steps)])
    assert told.closed


def test_the_norm_is_that_of_the_gradient_before_it_is_clipped(tiny_bert, reviews_task, reviews):
    with tracking(Kept()) as free:
        trained(tiny_bert, reviews_task, reviews, Lora(r=2), steps=1)
    with tracking(Kept()) as clipped:
        trained(tiny_bert, reviews_task, reviews, Lora(r=2), steps=1, clip=1e-3)
    assert free.rows == clipped.rows


@pytest.mark.parametrize("tuning", [Lora(r=2), Full()], ids=lambda one: one.name)
def test_telling_changes_nothing_that_is_learnt(tiny_bert, reviews_task, reviews, tuning):
    def first():
        return [next(iter(one.state.values())).clone() for one in trained(tiny_bert, reviews_task, reviews, tuning)]

    silent = first()
    with tracking(Kept()):
        told = first()
    assert all(torch.equal(one, other) for one, other in zip(silent, told, strict=True))


def test_the_device_is_looked_at_once_in_so_many_steps(monkeypatch):
    looks, real = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: looks.append(1) or real(self))
    with tracking(Kept()) as told:
        record = curves(["a"], torch.tensor([0.1]), 2 * module.EVERY + 1)
        looks.clear()
        for _ in range(2 * module.EVERY + 1):
            record(torch.tensor([1.0]), torch.tensor([2.0]), 1.0)
    assert (len(looks), len(told.rows)) == (3, 2 * module.EVERY + 1)


def test_where_nobody_listens_nothing_is_kept():
    record = curves(["a"], torch.tensor([0.1]), 3)
    assert record(torch.tensor([1.0]), torch.tensor([1.0]), 1.0) is None
    tell(0, {"x": 1.0})
    with tracking(None) as nobody:
        tell(0, {"x": 1.0})
    assert nobody is None


def test_what_is_no_finite_number_is_left_out_and_names_are_plain():
    with tracking(Kept()) as told, under("mr prompt+lora:r=8 k=16"), under("x"):
        tell(1, {"loss": float("nan"), "a b": 2, "more": None, "text": "y"})
        tell(2, {"loss": float("inf")})
    assert told.rows == [(1, {"mr_prompt_lora_r_8_k_16/x/a_b": 2.0})]


def test_a_tracker_that_fails_is_told_once_and_the_training_goes_on(tiny_bert, reviews_task, reviews, caplog):
    class Broken(Kept):
        def log(self, step, values):
            raise ConnectionError("no route")

    with tracking(Broken()) as broken:
        done = trained(tiny_bert, reviews_task, reviews, Lora(r=2), steps=3)
    assert len(done) == 2 and broken.closed
    assert caplog.text.count("Broken takes no more numbers (no route); the training goes on without") == 1


# the libraries


def test_tensorboard_gets_a_point_a_name(fake, tmp_path):
    said = fake("tensorboard")
    with tracking(f"tensorboard:{tmp_path}"):
        tell(3, {"a": 1.0, "b": 2})
    assert said == [
        ("tensorboard.SummaryWriter", (str(tmp_path),), {}),
        ("SummaryWriter.add_scalar", ("a", 1.0, 3), {}),
        ("SummaryWriter.add_scalar", ("b", 2.0, 3), {}),
        ("SummaryWriter.close", (), {}),
    ]


def test_wandb_draws_over_a_step_of_ours_since_its_own_may_only_rise(fake):
    said = fake("wandb")
    with tracking("wandb:films"):
        tell(3, {"a": 1.0})
        tell(0, {"b": 1.0})
    assert said == [
        ("wandb.init", (), {"project": "films"}),
        ("init.define_metric", ("*",), {"step_metric": "step"}),
        ("init.log", ({"step": 3, "a": 1.0},), {}),
        ("init.log", ({"step": 0, "b": 1.0},), {}),
        ("init.finish", (), {}),
    ]


def test_trackio_gets_records_with_their_step(fake):
    said = fake("trackio")
    with tracking("trackio:films"):
        tell(3, {"a": 1.0})
    assert said == [
        ("trackio.init", (), {"project": "films"}),
        ("init.log", ({"a": 1.0},), {"step": 3}),
        ("init.finish", (), {}),
    ]


@pytest.mark.parametrize("kind", NEEDED)
def test_a_library_that_is_missing_is_one_sentence_with_what_to_install(monkeypatch, kind):
    monkeypatch.setitem(sys.modules, NEEDED[kind], None)
    with pytest.raises(SettingError, match=rf"track: {kind} cannot be imported .*\. Write: pip install {kind}\.$"):
        tracker(f"{kind}:here")


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_a_library_that_begins_no_run_says_why(monkeypatch, kind):
    def init(**given):
        print("a greeting")
        raise RuntimeError("not\nlogged in")

    monkeypatch.setitem(sys.modules, kind, SimpleNamespace(init=init))
    with pytest.raises(SettingError, match=f"track: {kind} begins no run: not logged in. Write another tracker"):
        tracker(f"{kind}:films")


def test_what_a_library_says_at_its_start_is_kept_off_the_results(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(init=lambda **given: print("a greeting")))
    tracker("trackio:films")
    assert capsys.readouterr() == ("", "a greeting\n")


def test_a_folder_that_cannot_be_written_is_told(monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setitem(sys.modules, NEEDED["tensorboard"], SimpleNamespace(SummaryWriter=refuse))
    with pytest.raises(OutputError, match="there cannot be written: Permission denied. Write another DIR"):
        tracker("tensorboard:there")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wandbb:x", "no tracker 'wandbb'. Did you mean 'wandb'? Write tensorboard:DIR, wandb:PROJECT or trackio:PROJ"),
        ("tensorboard", "'tensorboard' says not where to. Write tensorboard:DIR"),
        ("wandb: ", "'wandb: ' says not where to"),
    ],
)
def test_a_setting_that_cannot_be_says_what_to_write(text, said):
    with pytest.raises(SettingError) as error, tracking(text):
        pass
    assert said in str(error.value)


def test_importing_the_curves_imports_no_library():
    known = "('torch', 'wandb', 'trackio', 'tensorboard')"
    code = f"import sys, promptlab.training.curves; print([name for name in {known} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


# from outside


TASK = """
task: films
about: Is a film good?
inputs: [text]
labels: [negative, positive]
verbalizers: {default: {negative: terrible, positive: great}}
patterns: {was: "{text} It was {mask}.", just: "Just {mask}! {sep} {text}"}
"""


@pytest.fixture
def files(tmp_path, reviews):
    (tmp_path / "films.yaml").write_text(TASK, encoding="utf-8")
    rows = [{"text": one.fields["text"], "label": one.label} for one in reviews]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def test_a_comparison_tells_curves_and_results_by_cell(files, tiny_bert_folder):
    from promptlab.lab.plan import Plan

    rows = files / "rows.jsonl"
    systems = "tfidf,prompt+lora:steps=3,r=2|4"
    plan = Plan([files / "films.yaml"], systems, 2, 2, str(tiny_bert_folder), train=rows, test=rows)
    with tracking(Kept()) as told:
        results = plan.run()
    for row in results:
        name = "films_" + row["system"].replace("+", "_").replace(":", "_").replace("=", "_").replace(",", "_") + "_k_2"
        assert (row["seed"], row["score"]) in told.curve(f"{name}/result/accuracy")
        if row["method"] == "prompt":
            [key] = [key for key in row["stack"] if key.endswith(f"seed{row['seed']}")]
            assert len(told.curve(f"{name}/{key}/loss")) == 3
    assert {name for _, values in told.rows for name in values if name.endswith("/loss")} != set()


def test_the_command_line_takes_a_tracker(files, tiny_bert_folder, fake, monkeypatch, capsys):
    from promptlab.cli.app import main

    monkeypatch.chdir(files)
    shared = ["films.yaml", "--train", "rows.jsonl", "--test", "rows.jsonl", "-m", "prompt+lora:steps=2", "-k", "2",
              "-b", str(tiny_bert_folder), "--track", "wandb:films", "--json"]  # fmt: skip
    for command in (["compare", "--seeds", "1"], ["fit", "--out", "made"]):
        said = fake("wandb")
        with pytest.raises(SystemExit) as ended:
            main([*command[:1], *shared, *command[1:]])
        assert not ended.value.code
        json.loads(capsys.readouterr().out)
        logged = [given[0] for name, given, _ in said if name == "init.log"]
        assert sum(any(name.endswith("/loss") for name in values) for values in logged) == 2
        assert any(name.endswith("/result/accuracy") for name in logged[-1])
        assert said[-1][0] == "init.finish"


def test_the_command_line_refuses_a_tracker_before_anything_runs(files, monkeypatch, capsys):
    from promptlab.cli.app import main

    monkeypatch.chdir(files)
    monkeypatch.setitem(sys.modules, "wandb", None)
    sources = ["--train", "rows.jsonl", "--test", "rows.jsonl"]
    with pytest.raises(SystemExit):
        main(["compare", "films.yaml", *sources, "-m", "tfidf", "--track", "wandb:x"])
    assert "pip install wandb" in capsys.readouterr().err
    assert not list(files.glob("runs/*/row.json"))


def test_numbers_are_told_too(tiny_bert):
    from promptlab.language.example import Example
    from promptlab.methods.finetune import Finetune

    text = TASK.replace("[negative, positive]", "{range: [0, 5]}")
    task = read_task(text.replace("negative:", "low:").replace("positive:", "high:"))
    rows = [Example({"text": "good"}, "4"), Example({"text": "bad"}, "1")]
    with tracking(Kept()) as told:
        list(Finetune(steps=2).fit(tiny_bert, Lora(r=2), [Job(task, rows)]))
    assert len(told.curve("films/finetune/seed0/loss")) == 2

"""``promptlab adapt`` on a backbone of two blocks."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertModel

from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.checkpoint import quiet
from promptlab.training.adapt import Settings, adapt

NOUNS, ADJECTIVES = (
    "film story plot music".split(),
    "brilliant fine funny good lovely awful bad boring dull poor".split(),
)
TEXTS = [f"the {noun} was {word} and the ending is {word}" for noun in NOUNS for word in ADJECTIVES] * 3
SHORT = "--length 16 --batch 128 --device cpu".split()
POINT = re.compile(r"^ +[\d,]+ tokens +\d+\.\d min  held out: loss \d+\.\d{3}  accuracy \d+\.\d$")


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(TEXTS) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def trained(say, text, tiny_bert_folder):
    """trained("--tokens", "1k"): the command over the tiny model and text, into ``out``."""
    return lambda *words: say("adapt", text, "-b", tiny_bert_folder, "-o", "out", *SHORT, *words)


def test_it_says_in_a_line_what_came_of_it(trained, tmp_path):
    said = trained("--tokens", "2k")
    assert said.code == 0, said.err
    about = json.loads((tmp_path / "out" / "adapt.json").read_text())
    first, last = about["curve"][0], about["curve"][-1]
    assert said.out == (
        f"out read {about['tokens']:,} tokens; on text held out its loss went from {first['loss']:.3f} to "
        f"{last['loss']:.3f}, its accuracy from {100 * first['accuracy']:.1f} to {100 * last['accuracy']:.1f}\n"
    )
    assert 2000 <= about["tokens"] < 2128
    assert last["loss"] < first["loss"] - 1
    points = [line for line in said.err.splitlines() if "held out" in line]
    assert len(points) == 2 and all(map(POINT.match, points))


def test_json_alone_goes_to_stdout(trained, tmp_path):
    said = trained("--tokens", "1k", "--every", "0", "--json")
    assert said.code == 0, said.err
    (line,) = said.out.splitlines()
    about = json.loads(line, parse_constant=pytest.fail)
    assert about == json.loads((tmp_path / "out" / "adapt.json").read_text())
    assert about["texts"] == ["text.txt"]
    points = [line for line in said.err.splitlines() if "held out" in line]
    assert len(points) == len(about["curve"]) == about["steps"] + 1
    assert all(map(POINT.match, points))


def test_said_again_it_says_the_same_at_once(trained, tmp_path):
    first = trained("--tokens", "1k")
    wrote = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    again = trained("--tokens", "1k")
    assert (again.code, again.out) == (0, first.out)
    assert "held out" not in again.err
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == wrote


def test_a_difference_can_be_asked_for_and_names_its_base(trained, tmp_path, tiny_bert_folder):
    said = trained("--tokens", "1k", "--difference", "-t", "lora:r=2,targets=all", "--json")
    assert said.code == 0, said.err
    assert sorted(path.name for path in (tmp_path / "out").glob("*.safetensors")) == ["difference.safetensors"]
    assert said.json["base"]["name"] == str(tiny_bert_folder)
    assert said.json["settings"]["tuning"] == "lora:r=2,targets=all"
    assert load_backbone(str(tmp_path / "out"), device="cpu").place.base == tiny_bert_folder


def test_a_column_of_a_table_is_trained_on(say, tmp_path, tiny_gpt2_folder):
    table = tmp_path / "rows.jsonl"
    table.write_text("\n".join(json.dumps({"body": one, "text": "no"}) for one in TEXTS), encoding="utf-8")
    words = ("adapt", table, "-b", tiny_gpt2_folder, "--tokens", "500", "--column", "body", *SHORT, "--json")
    assert say(*words, "-o", "out").json["kind"] == "causal"
    plain = adapt(TEXTS, str(tiny_gpt2_folder), tmp_path / "plain", Settings(tokens=500, length=16, batch=128))
    assert plain["tokens"] == json.loads((tmp_path / "out" / "adapt.json").read_text())["tokens"]
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "plain"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_option_arrives(say, text, monkeypatch):
    from promptlab.training import adapt as module

    got = {}

    def fake(*positional, **named):
        got.update(positional=positional, **named)
        return {"curve": [], "steps": 0}

    monkeypatch.setattr(module, "adapt", fake)
    words = "-t full:lr=1e-3 --minutes 2.5 --length 64 --batch 99 --mask-rate 0.3 --seed 7 --every 9 --new-head"
    more = "--difference --column body --device cpu --dtype float64 --json"
    said = say("adapt", text, text, "-b", "some/where", "-o", "out", *words.split(), *more.split())
    assert said.code == 0, said.err
    *given, how = got.pop("positional")
    assert given == [[text, text], "some/where", Path("out")]
    assert how == Settings("full:lr=1e-3", None, 2.5, 64, 99, 0.3, seed=7, every=9)
    assert callable(got.pop("report"))
    flags = {"difference": True, "new_head": True}
    assert got == {"column": "body", "device": "cpu", "dtype": "float64", **flags}


def test_without_options_the_embedded_model_reads_the_text_once(say, text, monkeypatch):
    from promptlab.training import adapt as module

    got = []
    monkeypatch.setattr(module, "adapt", lambda *given, **named: got.append((given, named)) or {})
    say("adapt", text, "-o", "out", "--json")
    ((given, named),) = got
    assert given == ([text], "mini", Path("out"), Settings())
    assert (named["difference"], named["new_head"], named["column"]) == (False, False, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tokens", "1k", "--minutes", "1"], "tokens and minutes are two ends for one training."),
        (["--tokens", "lots"], "tokens=lots is no amount. Write 20M, 300k or a number."),
        (["--minutes", "0"], "minutes=0.0 is no length of time."),
        (["--mask-rate", "2"], "mask_rate=2.0 cannot be."),
        (["-t", "bitfit"], "a language model is adapted with full or lora, not with bitfit."),
        (["-t", "lora:rank=4"], "lora has no setting 'rank'."),
        (["-t", "lora:r=4,dropout=0.1"], "dropout=0.1: a corpus is trained on without. Leave dropout out."),
        (["--column", "body"], "is plain text and has no columns."),
        (["-b", "./nowhere"], "no folder './nowhere'"),
        (["--device", "tpu"], "device=tpu: no such device."),
        (["--dtype", "int8"], "dtype=int8: no such number format."),
        (["-o", "text.txt"], "text.txt is a file. Write a new folder."),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_what_cannot_be_ends_in_one_message(trained, tmp_path, words, message):
    refused(trained(*words), message)
    assert not list(tmp_path.glob("out/*.safetensors"))


def refused(said, message):
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ") and said.err.count("\n") == 1
    assert message in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "none.txt cannot be read: No such file or directory."),
        ("empty.txt", b"", "empty.txt is empty."),
        ("binary.txt", b"\x7fELF\x00\x00", "binary.txt:1: a zero byte, as in a binary file."),
        ("short.txt", b"a film\n", "the text fills 1 rows of 16 tokens, and 40 are the least"),
        ("text.pdf", b"%PDF", "text of kind '.pdf' is not read."),
    ],
)
def test_a_text_that_cannot_be_used_ends_in_one_message(say, tmp_path, tiny_bert_folder, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused(say("adapt", name, "-b", tiny_bert_folder, "-o", "out", *SHORT), message)


def test_other_settings_over_a_finished_folder_end_in_one_message(trained):
    assert trained("--tokens", "500").code == 0
    refused(trained("--tokens", "501"), "holds a training of other settings (tokens=500). Write a new folder")


def test_a_model_without_a_head_wants_new_head(say, text, tmp_path, tiny_bert_folder):
    bare = Path(shutil.copytree(tiny_bert_folder, tmp_path / "bare"))
    with quiet():
        BertModel.from_pretrained(bare).save_pretrained(bare)
    words = ("adapt", text, "-b", bare, "-o", "out", "--tokens", "500", *SHORT)
    refused(say(*words), "train one (promptlab adapt TEXT --new-head)")
    assert say(*words, "--new-head").code == 0


def test_without_a_folder_or_a_text_it_says_how_to_call_it(say, text):
    for words, missing in ((["adapt", text], "--out"), (["adapt", "-o", "out"], "TEXT")):
        said = say(*words)
        assert said.code == 2
        assert missing in said.err and "Traceback" not in said.err


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_training_killed_by_the_system_goes_on_to_the_same_bits(trained, text, tmp_path, tiny_bert_folder):
    words = ("--tokens", "2000", "--every", "0")
    checkpoint, threads = tmp_path / "killed" / "training" / "checkpoint.safetensors", str(torch.get_num_threads())
    door = Path(__file__).parents[2] / "cli.py"
    line = ["adapt", text, "-b", tiny_bert_folder, *SHORT, *words, "-o", tmp_path / "killed"]
    running = subprocess.Popen(
        [sys.executable, str(door), *map(str, line)],
        env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while running.poll() is None and not checkpoint.is_file():
        time.sleep(0.001)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert json.loads((tmp_path / "killed" / "adapt.json").read_text())["finished"] is False
    done = int(load_file(checkpoint)["o.steps"])
    assert done >= 1

    resumed, whole = trained(*words, "-o", "killed", "--json"), trained(*words, "--json")
    assert (resumed.code, whole.code) == (0, 0), resumed.err
    curves = [[(one["tokens"], one["loss"]) for one in said.json["curve"]] for said in (resumed, whole)]
    assert curves[0] == curves[1]
    assert resumed.err.count("held out") == len(curves[0]) - done - 1  # it went on, and did not begin again
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("killed", "out"))
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []

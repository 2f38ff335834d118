"""The whole house from the command line, with a backbone of two blocks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SYSTEMS = (
    "majority,tfidf,probe,zero-shot,in-context:demonstrations=total:1,finetune:steps=2,prompt:steps=2+lora:r=2,"
    "pet:repetitions=1,steps=2,student_steps=2+lora:r=2"
)


@pytest.fixture
def everything(say, task_file, data, tiny_bert_folder):
    def run(out, *words):
        basis = ("compare", task_file, "--data", data, "-b", tiny_bert_folder, "-k", 2, "--seeds", 2, "-m", SYSTEMS)
        return say(*basis, "-o", out, "--json", *words)

    return run


def scores_in(folder):
    found = {}
    for path in folder.glob("*/scores.npz"):
        with np.load(path) as kept:
            found[path.parent.name] = kept["scores"]
    return found


def test_every_method_stands_in_one_table_and_resumes_to_the_bit(everything, tmp_path):
    said = everything("once")
    assert said.code == 0, said.err
    rows = said.lines
    assert len(rows) == 16
    learnt = {row["method"]: row["stored_parameters"] + row["head_parameters"] for row in rows}
    assert learnt["prompt"] > 0 and learnt["zero-shot"] == 0
    assert {row["tuning"] for row in rows} == {None, "full", "lora"}

    whole = scores_in(tmp_path / "once")
    for name in sorted(whole)[::3]:  # a killed run, in effect: some rows were never written
        (tmp_path / "once" / name / "row.json").unlink()
    assert everything("once").code == 0
    again = scores_in(tmp_path / "once")
    assert again.keys() == whole.keys()
    assert [name for name in whole if not np.array_equal(whole[name], again[name])] == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_run_loses_nothing_that_was_finished(say, task_file, data, tmp_path):
    words = ["compare", str(task_file), "--data", str(data), "-m", "tfidf", "-k", "4", "--seeds", "40", "--json"]
    door = Path(__file__).parents[2] / "cli.py"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen([sys.executable, str(door), *words, "-o", str(tmp_path / "killed")], **quiet)
    while running.poll() is None and not list((tmp_path / "killed").glob("[!.]*/row.json")):
        time.sleep(0.002)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()

    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("[!.]*/row.json")}
    assert kept
    assert all(json.loads(path.read_text(encoding="utf-8")) for path in kept)
    resumed, whole = say(*words, "-o", "killed").lines, say(*words, "-o", "whole").lines
    assert [row["score"] for row in resumed] == [row["score"] for row in whole]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept

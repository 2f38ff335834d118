import subprocess
import sys
import time

import pytest

import promptlab

COMMANDS = ("ls", "show", "check", "params", "fit", "predict", "compare")
HEAVY = ("torch", "transformers", "datasets", "sklearn", "numpy", "pandas")
LIGHT = (
    ["--help"],
    ["ls"],
    ["ls", "tasks", "--json"],
    ["ls", "cells"],
    ["check", "mr", "mnli"],
    ["show", "mr", "--text", "A film.", "--backbone", "none"],
)


def test_without_words_it_helps(say):
    assert "Usage: promptlab" in say().out + say().err


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command_in_its_panel(say, flag):
    said = say(flag)
    assert said.code == 0
    assert [name for name in (*COMMANDS, "Look", "Learn", "Examples") if name not in said.out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_examples_at_its_foot(say, command):
    said = say(command, "-h")
    assert said.code == 0
    assert said.out.index("Examples") > said.out.index("Options")
    assert f"promptlab {command}" in said.out[said.out.index("Examples") :]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "ls"])
def test_a_command_without_words_helps(say, command):
    said = say(command)
    assert "Usage: promptlab " + command in said.out + said.err


def test_an_unknown_command_suggests_the_nearest(say):
    said = say("fti")
    assert said.code == 2
    assert "Did you mean 'fit'?" in said.err


def test_the_version_is_said(say):
    assert say("--version").out == f"promptlab {promptlab.__version__}\n"


def test_an_error_is_one_message_on_stderr_and_exit_code_2(say):
    said = say("show", "mmlu", "--text", "x")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: no task 'mmlu'.")
    assert "Traceback" not in said.err


def modules_after(words):
    code = "import sys; from promptlab.cli.app import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print('|'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout
    return set(done.stderr.splitlines()[-1].split("|"))


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_a_quick_answer_imports_nothing_heavy(words):
    assert modules_after(words).intersection(HEAVY) == set()


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_a_quick_answer_takes_less_than_half_a_second(words):
    code = "import sys; from promptlab.cli.app import main; main(sys.argv[1:])"
    tries = (seconds_of_work([sys.executable, "-c", code, *words]) for _ in range(6))
    assert any(seconds < 0.5 for seconds in tries)


def seconds_of_work(command):
    """Processor time of a child, so that a busy machine does not fail the test; wall time where nobody counts it."""
    try:
        import resource
    except ImportError:
        began = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        return time.perf_counter() - began
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_door_of_the_checkout_opens_the_same_house():
    from pathlib import Path

    door = Path(__file__).parents[2] / "cli.py"
    done = subprocess.run([sys.executable, str(door), "ls", "tunings"], capture_output=True, text=True, check=True)
    assert "lora" in done.stdout

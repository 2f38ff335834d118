"""What the README shows is true: its Python runs, its pattern file loads, its commands and paths exist."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from promptlab.language.library import load_task, read_task

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(kind):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.S | re.M)
    return [text for named, text in fenced if named == kind]


def test_the_example_runs_as_it_stands(tiny_bert_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = blocks("python")[0]
    for shown, quick in (
        ('tuning="lora"', f'tuning="lora", backbone="{tiny_bert_folder}"'),  # mini is tried in test_embedded_models.py
        ('method="pet"', 'method="pet:repetitions=1,steps=1,student_steps=1,pool=4"'),
        ("clf.score(test)", "clf.score(test[:20])"),
    ):
        assert shown in code
        code = code.replace(shown, quick)
    exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "positive" in said or "negative" in said
    assert (tmp_path / "reviews-pet" / "weights.safetensors").exists()


def test_the_pattern_file_loads_and_is_a_part_of_the_shipped_one():
    shown = read_task(blocks("yaml")[0], "patterns/mr.yaml")
    shipped = load_task("mr")
    assert {pvp.pattern.source for pvp in shown.pvps} <= {pvp.pattern.source for pvp in shipped.pvps}
    assert shown.labels == shipped.labels


@pytest.mark.parametrize("command", ["ls", "show", "check", "fit", "predict", "adapt", "compare"])
def test_every_command_and_option_that_is_shown_exists(command):
    from promptlab.cli.app import app

    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    text = README.replace("\\\n", " ")
    used = [line.strip().removeprefix("$ ") for line in text.splitlines() if f"promptlab {command} " in line]
    options = {
        word for line in used for word in shlex.split(line.split("   ")[0], comments=False) if word.startswith("--")
    }
    assert used or command == "ls"
    assert not [option for option in options if option not in said]


def test_every_file_of_the_tree_and_every_link_is_there():
    tree = next(block for block in blocks("") if block.startswith("patterns/"))
    inside = tree.split("promptlab/\n")[1].split("benchmarks/")[0]
    for name in re.findall(r"([a-z_]+(?:\.py|/))(?=\s)", inside):
        assert (ROOT / "promptlab" / name).exists(), name
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_grid_names_every_tuning_and_every_method():
    from promptlab.registry import METHODS, TUNINGS

    for entry in (*METHODS, *TUNINGS):
        assert f"`{entry.name}`" in README


def test_the_grid_ticks_what_the_registry_calls_valid_and_names_what_papers_name():
    from promptlab.registry import METHODS, cells

    lines = [line.split("|")[1:-1] for line in README.splitlines() if re.match(r"\| `[a-z]|\| \| paper", line)]
    heads, *rows = [[re.sub(r"\[.*", "", cell).strip(" `") for cell in line] for line in lines]
    found = {(row[0], method): said for row in rows for method, said in zip(heads, row, strict=True)}
    for cell in cells():
        if cell.method in heads and cell.kind == "masked" and ":" not in cell.system and not cell.refused:
            assert found[cell.tuning, cell.method] == (cell.name or "✓")
    empty = {key for key, said in found.items() if key[1] in METHODS and not said}
    assert empty == {("words", method) for method in ("finetune", "pet", "ipet")}

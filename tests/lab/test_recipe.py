"""Recipes: the shipped ones, what a file may say, and the paper's numbers beside ours."""

import json

import pytest

from promptlab.errors import PatternError, SettingError
from promptlab.lab.recipe import load_recipe, recipe_names
from promptlab.lab.reproduce import command, reproduce
from promptlab.language.library import load_task

TEXT = """\
recipe: mine
title: Two systems on films
paper: Somebody 2020
numbers: table 1
task: TASK
rows:
  - {name: a coin, system: coin}
  - {name: careful, system: "careful:steps=7+lora", published: {accuracy: 91.5}}
scales:
  full: {backbone: tiny, shots: 2, seeds: 2, differs: [the films are ours]}
  small: {backbone: tiny, shots: 2, limit: 10, learn: steps=1}
"""
FILMS = """\
task: films
inputs: [text]
labels: [negative, positive]
verbalizers: {default: {negative: terrible, positive: great}}
patterns: {plain: "{text} It was {mask}."}
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "films.yaml").write_text(FILMS, encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT.replace("TASK", str(tmp_path / "films.yaml")), encoding="utf-8")
    return load_recipe(path)


def faults(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PatternError) as raised:
        load_recipe(path)
    return str(raised.value)


def test_a_scale_puts_its_settings_over_those_of_methods_that_learn(recipe):
    coin, careful = recipe.rows
    assert recipe.scale("full").system(careful) == "careful:steps=7+lora"
    small = recipe.scale("small")
    assert [small.system(coin), small.system(careful)] == ["coin", "careful:steps=1+lora"]


def test_the_papers_numbers_stand_beside_ours(recipe, data):
    made = reproduce(recipe, "full", None, data)
    table = made.table()
    assert table.heads == ["row", "accuracy paper", "accuracy ours"]
    assert [row[:2] for row in map(list, table.rows)] == [["a coin", "–"], ["careful", "91.5"]]
    assert table.rows[1][2].endswith("0.0") or "±" in table.rows[1][2]
    assert "no reproduction" not in table.caption


def test_a_smaller_scale_says_that_it_is_no_reproduction(recipe, data):
    made = reproduce(recipe, "small", None, data)
    assert "small scale, which is no reproduction" in made.table().caption
    rows = [json.loads(line) for line in made.to_json_lines().splitlines()]
    assert [row["reproduction"] for row in rows] == [False, False]
    assert rows[1]["published"] == {"accuracy": 91.5} and rows[0]["published"] == {}
    assert rows[1]["ours"]["accuracy"]["mean"] > 0 and rows[1]["runs"] == 1


def test_below_the_table_stand_the_command_the_systems_and_what_differs(recipe, data):
    text = reproduce(recipe, "full", None, data).to_text()
    assert f"ours: promptlab reproduce mine --data {data}" in text
    assert "  careful: careful:steps=7+lora" in text
    assert "differs: the films are ours" in text
    assert "–: no published number was at hand" in text


def test_what_is_there_is_not_run_again(recipe, data, tmp_path, calls):
    reproduce(recipe, "full", tmp_path / "runs", data)
    calls.clear()
    reproduce(recipe, "full", tmp_path / "runs", data)
    assert calls == []


def test_the_command_names_the_scale(recipe):
    assert command(recipe, "small") == "promptlab reproduce mine --scale small"


def test_an_unknown_recipe_or_scale_suggests_the_nearest(recipe):
    with pytest.raises(PatternError, match="Did you mean 'gpt2-medium-e2e'"):
        load_recipe("gpt2-medium-e2")
    with pytest.raises(SettingError, match="full and small"):
        recipe.scale("tiny")


def test_every_fault_of_a_file_is_told_with_its_line(tmp_path):
    text = TEXT.replace("title:", "titel:").replace("limit: 10", "limit: none").replace("system: coin", "system: coyn+")
    found = faults(tmp_path, text)
    assert "bad.yaml:2: a recipe has no key 'titel'. Did you mean 'title'?" in found
    assert "limit: 'none' is no number" in found
    assert found.count("bad.yaml:") == 4


def test_a_recipe_without_rows_or_scales_is_faulty(tmp_path):
    found = faults(tmp_path, "recipe: mine\nrows: none\n")
    assert "rows is no list" in found and "scales says nothing" in found and "lacks 'task'" in found


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_is_called_like_its_file_and_names_a_task(name):
    recipe = load_recipe(name)
    assert recipe.name == name and load_task(recipe.task).name == recipe.task
    assert "full" in recipe.scales


def test_the_lectures_table_has_eleven_rows_and_lora_all_its_numbers():
    rows = {row.name: row.published for row in load_recipe("gpt2-medium-e2e").rows}
    assert len(rows) == 11
    assert rows["LoRA (0.35M)"] == {
        "bleu": "70.4",
        "nist": "8.85",
        "meteor": "46.8",
        "rouge_l": "71.8",
        "cider": "2.53",
    }

"""Every row of every shipped recipe is a system that can be, at every scale."""

import pytest

from promptlab.lab.cells import Contender
from promptlab.lab.recipe import load_recipe, recipe_names
from promptlab.language.library import load_task
from promptlab.spec import parse_systems

ROWS = [
    (name, size, line.name)
    for name in recipe_names()
    for recipe in [load_recipe(name)]
    for size in recipe.scales
    for line in recipe.rows
]


@pytest.mark.parametrize(("name", "size", "row"), ROWS)
def test_a_row_can_be_run(name, size, row):
    recipe = load_recipe(name)
    [line] = [line for line in recipe.rows if line.name == row]
    [system] = parse_systems(recipe.scale(size).system(line))
    contender = Contender.of(system)
    task = load_task(recipe.task)
    if task.generates:
        assert contender.method.writes
        task.pvp(contender.method.patterns) if contender.method.patterns != "first" else None

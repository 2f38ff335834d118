"""What a machine can see of the house rules (CONTRIBUTING.md)."""

import ast
import os
import re
from functools import cache
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
CODE = sorted(
    path for folder in ("promptlab", "tests", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
PACKAGE = sorted((ROOT / "promptlab").rglob("*.py"))
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".json", ".html", ""}
SKIPPED = {".git", "__pycache__", "runs", "dist", "build", "node_modules"}
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(root|work|home|Users|opt)/\w")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def lines(path):
    return path.read_text(encoding="utf-8").count("\n")


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(paths):
    return [node for path in paths for node in ast.walk(tree(path)) if isinstance(node, FUNCTIONS)]


def texts():
    for folder, inside, files in os.walk(ROOT):
        inside[:] = [
            name for name in inside if name not in SKIPPED and not name.startswith(".venv") and name[-6:] != "_cache"
        ]
        yield from (path for name in files if (path := Path(folder, name)).suffix in TEXT)


def public(node):
    return not node.name.startswith("_")


def undocumented(path):
    """Public things of a file without a docstring; what stands inside a function is nobody's business."""
    module = tree(path)
    if ast.get_docstring(module) is None:
        yield f"{path.name}"
    classes = [node for node in module.body if isinstance(node, ast.ClassDef) and public(node)]
    found = [node for node in module.body if isinstance(node, FUNCTIONS)] + classes
    found += [node for owner in classes for node in owner.body if isinstance(node, FUNCTIONS)]
    for node in found:
        if public(node) and ast.get_docstring(node) is None and not overloaded(node):
            yield f"{path.name}:{node.lineno} {node.name}"


def overloaded(node):
    return any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list)


def test_no_file_is_longer_than_400_lines():
    assert {path.name: lines(path) for path in CODE if lines(path) > 400} == {}


def test_the_median_function_has_at_most_12_lines():
    assert median(node.end_lineno - node.lineno + 1 for node in functions(PACKAGE)) <= 12


def test_everything_public_has_a_docstring():
    assert [name for path in PACKAGE for name in undocumented(path)] == []


def test_tests_weigh_at_least_four_fifths_of_the_source():
    tests = sum(lines(path) for path in CODE if path.is_relative_to(ROOT / "tests"))
    assert tests >= 0.8 * sum(map(lines, PACKAGE))


def test_the_library_neither_prints_nor_exits():
    calls = [
        f"{path.name}:{node.lineno}"
        for path in PACKAGE
        if "cli" not in path.parts
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"print", "exit", "quit", "eval", "exec"}
    ]
    assert calls == []


def narrows(node):
    """``assert x is not None`` and ``assert isinstance(...)`` tell the type checker what is known already."""
    test = node.test
    if isinstance(test, ast.Compare):
        return isinstance(test.ops[0], ast.IsNot)
    return isinstance(test, ast.Call) and getattr(test.func, "id", "") == "isinstance"


def test_the_library_asserts_nothing_but_types():
    nodes = [(path.name, node) for path in PACKAGE for node in ast.walk(tree(path))]
    asserts = [f"{name}:{node.lineno}" for name, node in nodes if isinstance(node, ast.Assert) and not narrows(node)]
    assert asserts == []


def test_no_file_names_a_place_on_somebodys_machine():
    named = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert named == []


@pytest.mark.parametrize("line", ["cd /ro" + "ot/x", "'/wo" + "rk/main'", "/ho" + "me/me/data"])
def test_a_machine_path_would_be_seen(line):
    assert MACHINE_PATH.search(line)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md"])
def test_the_guide_for_contributors_fits_a_screen(name):
    assert lines(ROOT / name) <= 60


def test_the_door_has_five_lines():
    assert lines(ROOT / "cli.py") == 5


def test_tests_are_named_as_sentences():
    short = [
        f"{path.name}: {node.name}"
        for path in CODE
        if path.name.startswith("test_")
        for node in tree(path).body
        if isinstance(node, FUNCTIONS) and node.name.startswith("test_") and node.name.count("_") < 3
    ]
    assert short == []

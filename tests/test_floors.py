"""The house has floors: imports go down only, and heavy libraries live where the import law says."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "promptlab"

FLOORS = {
    "errors folders registry settings spec progress": 0,
    "language": 1,
    "data metrics": 2,
    "backbone": 3,
    "tuning": 4,
    "training": 5,
    "methods": 6,
    "card": 7,
    "hub": 8,
    "estimator": 9,
    "classifier generator": 10,
    "lab": 11,
    "cli": 12,
    "__init__": 13,
}
FLOOR_OF = {room: floor for rooms, floor in FLOORS.items() for room in rooms.split()}

HOMES = {
    "torch": ("backbone", "tuning", "training", "methods", "hub"),
    "transformers": ("backbone",),
    "datasets": ("data",),
    "sklearn": ("classifier", "estimator", "generator", "methods/baselines", "methods/probe", "metrics"),
    "typer": ("cli",),
    "rich": ("cli", "training/trackers"),
    "huggingface_hub": ("card", "hub", "backbone"),
    "safetensors": ("hub", "backbone", "tuning", "training"),
    "pandas": ("data", "lab", "classifier"),
    "yaml": ("language",),
}
NUMPY_FREE = ("language", "cli", "errors", "registry", "settings", "spec", "progress")
LATE = ("sklearn", "datasets", "pandas", "pyarrow")  # imported inside functions, for they are slow to load


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def place(path):
    """``promptlab/methods/pet.py`` is ``methods/pet``."""
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def room(name):
    return name.split("/")[0]


@cache
def imports(path):
    """All (module, imported at top level?) of a file: in-function and type-checking imports included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(node) for fn in ast.walk(tree) if isinstance(fn, ast.FunctionDef) for node in ast.walk(fn)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; write the whole name"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found += [(name, id(node) not in inner) for name in names]
    return found


def target(name):
    """The file of ours that a dotted name stands for, if any."""
    path = ROOT.joinpath(*name.split("."))
    if name.split(".")[0] != "promptlab" or name == "promptlab":
        return None
    if path.is_dir():
        return path / "__init__.py" if (path / "__init__.py").exists() else None
    return path.with_suffix(".py") if path.with_suffix(".py").exists() else None


def arrows():
    """file -> the files of ours that it imports."""
    return {path: {to for name, _ in imports(path) if (to := target(name)) and to != path} for path in modules()}


def test_every_file_stands_on_a_known_floor():
    assert {room(place(path)) for path in modules()} <= FLOOR_OF.keys()


def test_imports_go_down_only():
    upward = [
        f"{place(path)} imports {place(to)}"
        for path, reached in arrows().items()
        for to in reached
        if FLOOR_OF[room(place(to))] > FLOOR_OF[room(place(path))]
    ]
    assert upward == []


def test_rooms_on_the_same_floor_do_not_lean_on_each_other():
    sideways = [
        f"{place(path)} imports {place(to)}"
        for path, reached in arrows().items()
        for to in reached
        if (a := room(place(path))) != (b := room(place(to))) and FLOOR_OF[a] == FLOOR_OF[b] > 0
    ]
    assert sideways == []


def test_only_the_roof_looks_at_the_package_itself():
    importers = {place(path) for path in modules() if any(name == "promptlab" for name, _ in imports(path))}
    assert importers <= {"cli/app"}


def test_no_files_import_each_other_in_a_circle():
    graph, state, circles = arrows(), {}, []

    def visit(path, trail):
        if state.get(path) == "done":
            return
        if path in trail:
            circles.append(" -> ".join(place(step) for step in [*trail[trail.index(path) :], path]))
            return
        for to in sorted(graph.get(path, ())):
            visit(to, [*trail, path])
        state[path] = "done"

    for path in graph:
        visit(path, [])
    assert circles == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_only_in_its_homes(library):
    homes = HOMES[library]
    strays = [
        place(path)
        for path in modules()
        for name, _ in imports(path)
        if name.split(".")[0] == library and room(place(path)) not in homes and place(path) not in homes
    ]
    assert strays == []


@pytest.mark.parametrize("library", LATE)
def test_a_slow_library_is_imported_inside_functions(library):
    early = [place(path) for path in modules() for name, top in imports(path) if top and name.split(".")[0] == library]
    assert [path for path in early if room(path) not in ("classifier", "estimator", "generator")] == []


def test_what_answers_at_once_imports_no_numpy():
    heavy = [
        place(path)
        for path in modules()
        for name, _ in imports(path)
        if name.split(".")[0] == "numpy" and room(place(path)) in NUMPY_FREE
    ]
    assert heavy == []


def test_the_language_is_the_standard_library_and_yaml():
    allowed = {"promptlab", "yaml", *sys.stdlib_module_names}
    foreign = {
        f"{place(path)} imports {name}"
        for path in modules()
        if room(place(path)) == "language"
        for name, _ in imports(path)
        if name.split(".")[0] not in allowed
    }
    assert foreign == set()


def test_nobody_imports_click_which_typer_carries_inside():
    assert [place(path) for path in modules() if any(name.split(".")[0] == "click" for name, _ in imports(path))] == []

"""A recipe: a paper's table as systems of ours, with the numbers that were published.

    recipe title paper task     what it is
    numbers                     where the published numbers were read
    rows                        of each: name, system, and what was published by metric, in the paper's own units
    scales                      full, small: backbone, shots, seeds, limit; settings of methods that learn, and of
                                those that write, put over a row's own; what differs from the paper

A row without a published number says so by leaving it out: none is ever guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptlab.errors import PatternError, PromptlabError, SettingError, did_you_mean
from promptlab.language.document import Faults, Items, Keys, Node, read_nodes, read_text
from promptlab.registry import METHODS
from promptlab.spec import Spec, System, parse_spec, parse_systems, settled

_TOP = ("recipe", "title", "paper", "numbers", "task", "rows", "scales")
_ROW = ("name", "system", "published")
_SCALE = ("backbone", "shots", "seeds", "limit", "learn", "write", "differs")


@dataclass(frozen=True)
class Line:
    """A row of the paper's table.

    Args:
        name: as the paper has it.
        system: as one writes it behind ``-m``.
        published: number by metric, as printed.
    """

    name: str
    system: str
    published: Mapping[str, str]


@dataclass(frozen=True)
class Scale:
    """How large a recipe is run.

    Args:
        backbone: which language model.
        shots: as ``-k`` takes them; a list by commas.
        seeds: runs of each.
        limit: at most so many test rows; None for all.
        learn: settings of methods that train, put over a row's own.
        write: settings of methods that write, likewise.
        differs: what is not as in the paper.
    """

    backbone: str
    shots: str
    seeds: int
    limit: int | None
    learn: Mapping[str, str]
    write: Mapping[str, str]
    differs: tuple[str, ...]

    def system(self, line: Line) -> str:
        """A row's system at this scale."""
        system = settled(parse_systems(line.system)[0])
        method = METHODS.entry(system.method.name)
        over = dict(self.learn) if method.trait("learns", False) else {}
        over |= dict(self.write) if method.trait("writes", False) else {}
        return str(System(Spec(system.method.name, {**system.method.settings, **over}), system.tuning))


@dataclass(frozen=True)
class Recipe:
    """A paper's table; the fields are those of the file."""

    name: str
    title: str
    paper: str
    numbers: str
    task: str
    rows: tuple[Line, ...]
    scales: Mapping[str, Scale]

    def scale(self, name: str) -> Scale:
        """The scale of a name.

        Raises:
            SettingError: there is none.
        """
        if name not in self.scales:
            near = did_you_mean(name, self.scales)
            raise SettingError(
                f"--scale {name}: '{self.name}' has {' and '.join(self.scales)}.{near} Write one of these."
            )
        return self.scales[name]


def about(recipe: Recipe) -> Mapping[str, Any]:
    """What a list of recipes says of one."""
    return {"kind": "recipe", "name": recipe.name, "task": recipe.task, "rows": len(recipe.rows),
            "scales": list(recipe.scales), "about": recipe.title}  # fmt: skip


def recipe_folder() -> Path:
    """Where the shipped recipes lie: in the package (a wheel), or beside it (a checkout)."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in recipe_folder().glob("*.yaml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A shipped recipe by name, or any by the path of its file.

    Raises:
        PatternError: no such recipe or file, or the file is faulty; holds every fault with its line.
    """
    path, names = Path(name_or_path), recipe_names()
    if path.suffix not in (".yaml", ".yml"):
        if str(name_or_path) not in names:
            near = did_you_mean(str(name_or_path), names)
            known = f"Known: {', '.join(names)}; or write the path of a .yaml file."
            raise PatternError(f"no recipe '{name_or_path}'.{near} {known}")
        path = recipe_folder() / f"{name_or_path}.yaml"
    faults = Faults(str(path))
    return _Reading(faults).recipe(read_nodes(read_text(path), faults))


@dataclass(frozen=True)
class _Reading:
    faults: Faults

    def recipe(self, root: Node) -> Recipe:
        keys = self._keys(root, _TOP, "a recipe")
        texts = {name: self._text(keys, name, "a recipe") for name in _TOP[:5]}
        listed = keys.get("rows")
        items = listed if isinstance(listed, Items) else Items()
        if not items:
            self.faults.add(
                keys.lines.get("rows", keys.line), "rows is no list. Write - {name: LoRA, system: finetune+lora}."
            )
        rows = tuple(self._row(item) for item in items)
        found = keys.get("scales")
        scales = {name: self._scale(one) for name, one in found.items()} if isinstance(found, Keys) else {}
        if not scales:
            self.faults.add(
                keys.lines.get("scales", keys.line), "scales says nothing. Write full: {backbone: ..., shots: ...}."
            )
        self.faults.refuse()
        return Recipe(texts["recipe"], texts["title"], texts["paper"], texts["numbers"], texts["task"], rows, scales)

    def _row(self, node: Node) -> Line:
        keys = self._keys(node, _ROW, "a row")
        said = keys.get("published", Keys())
        published = {name: str(one) for name, one in said.items()} if isinstance(said, Keys) else {}
        system = self._text(keys, "system", "a row")
        try:
            if system and len(parse_systems(system)) != 1:
                self.faults.add(keys.lines["system"], f"system: '{system}' is no single system. Write one a row.")
        except PromptlabError as error:
            self.faults.add(keys.lines["system"], f"system: {error}")
        return Line(self._text(keys, "name", "a row"), system, published)

    def _scale(self, node: Node) -> Scale:
        keys = self._keys(node, _SCALE, "a scale")
        listed = keys.get("differs", Items())
        differs = tuple(map(str, listed)) if isinstance(listed, Items) else (str(listed),)
        return Scale(
            self._text(keys, "backbone", "a scale"), self._text(keys, "shots", "a scale"),
            self._number(keys, "seeds") or 1, self._number(keys, "limit"), self._settings(keys, "learn"),
            self._settings(keys, "write"), differs,
        )  # fmt: skip

    def _keys(self, node: Node, known: tuple[str, ...], what: str) -> Keys:
        if not isinstance(node, Keys):
            self.faults.add(node.line, f"{what} is no mapping. Write {known[0]}: ... and the like.")
            return Keys()
        for key in node:
            if key not in known:
                self.faults.add(
                    node.lines[key], f"{what} has no key '{key}'.{did_you_mean(key, known)} Known: {', '.join(known)}."
                )
        return node

    def _text(self, keys: Keys, name: str, what: str) -> str:
        found = keys.get(name)
        if found is None or isinstance(found, Items | Keys) or not found.strip():
            self.faults.add(keys.lines.get(name, keys.line), f"{what} lacks '{name}'. Write {name}: and a text.")
            return ""
        return " ".join(found.split())

    def _number(self, keys: Keys, name: str) -> int | None:
        found = keys.get(name)
        if found is None:
            return None
        if isinstance(found, Items | Keys) or not found.isdigit() or not int(found):
            self.faults.add(keys.lines[name], f"{name}: '{found}' is no number of rows or runs. Write 1 or more.")
            return None
        return int(found)

    def _settings(self, keys: Keys, name: str) -> Mapping[str, str]:
        try:
            return parse_spec(f"m:{keys[name]}").settings if name in keys else {}
        except PromptlabError as error:
            self.faults.add(keys.lines[name], f"{name}: {error}")
            return {}

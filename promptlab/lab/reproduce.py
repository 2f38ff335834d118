"""A paper's numbers beside ours: a recipe is run as a plan, and every row finds its runs again.

A scale that is not the paper's is no reproduction, and the table says so.
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptlab.lab.plan import Plan
from promptlab.lab.recipe import Line, Recipe, Scale
from promptlab.lab.results import Results
from promptlab.lab.summary import Summary
from promptlab.lab.tables import Table, markdown, metric_cell, metric_head

FULL = "full"


@dataclass(frozen=True)
class Reproduction:
    """A recipe that was run.

    Args:
        recipe: which.
        size: the scale's name.
        results: our runs.
        data: the folder of data that was named.
    """

    recipe: Recipe
    size: str
    results: Results
    data: str | None = None

    @property
    def scale(self) -> Scale:
        """How large it was run."""
        return self.recipe.scale(self.size)

    @property
    def whole(self) -> bool:
        """Whether it is run as published, and there is something published."""
        return self.size == FULL and any(line.published for line in self.recipe.rows)

    def rows(self) -> Iterator[tuple[Line, str, Summary | None]]:
        """The paper's rows, each with its system at this scale and ours: one a number of shots, None if it failed."""
        found = self.results.summaries()
        for line in self.recipe.rows:
            system = self.scale.system(line)
            own: list[Summary | None] = [one for one in found if one.system == system]
            yield from ((line, system, one) for one in own or [None])

    def table(self) -> Table:
        """The paper's numbers beside ours."""
        rows, names = list(self.rows()), _metrics(self)
        several = len({one.shots for _, _, one in rows if one}) > 1
        heads, cells = ["row", *(["k"] if several else [])], []
        published = {name for line in self.recipe.rows for name in line.published}
        for name in names:
            heads += [f"{metric_head(name)} paper"] * (name in published) + [f"{metric_head(name)} ours"]
        for line, _, one in rows:
            fore = [line.name, *([str(one.shots) if one else "–"] if several else [])]
            cells.append(fore + [text for name in names for text in _pair(name, line, one, name in published)])
        return Table(self._caption(rows), heads, cells)

    def lines(self) -> Iterator[str]:
        """What stands below the table: which systems, the command, and what differs."""
        yield f"paper: {self.recipe.paper}; published numbers: {self.recipe.numbers}"
        if any(not line.published for line in self.recipe.rows):
            yield "–: no published number was at hand, or ours cannot be had here"
        yield f"ours: {command(self.recipe, self.size, self.data)}"
        for line in self.recipe.rows:
            yield f"  {line.name}: {self.scale.system(line)}"
        for one in self.scale.differs:
            yield f"differs: {one}"
        for what, why in self.results.failures.items():
            yield f"failed: {what}: {why}"

    def to_text(self) -> str:
        """Table and lines."""
        return markdown(self.table()) + "\n\n" + "\n".join(self.lines()) + "\n"

    def to_json_lines(self) -> str:
        """One JSON object a row of the paper and number of shots."""
        return "".join(
            json.dumps(one, ensure_ascii=False, allow_nan=False) + "\n" for one in map(self._said, self.rows())
        )

    def _said(self, row: tuple[Line, str, Summary | None]) -> dict[str, Any]:
        line, system, one = row
        names = list(one.rows[0]["metrics"]) if one else []
        ours = {name: dict(zip(("mean", "sd"), one.over(name), strict=True)) for name in names} if one else None
        return {
            "recipe": self.recipe.name, "scale": self.size, "reproduction": self.whole, "row": line.name,
            "system": system, "task": self.recipe.task, "backbone": self.scale.backbone,
            "shots": one.shots if one else None, "runs": len(one.rows) if one else 0,
            "published": {name: float(text) for name, text in line.published.items()}, "ours": ours,
            "differs": list(self.scale.differs),
        }  # fmt: skip

    def _caption(self, rows: Sequence[tuple[Line, str, Summary | None]]) -> str:
        size = "" if self.whole else f"{self.size} scale, which is no reproduction"
        seeds = f"mean ± sd over {self.scale.seeds} seeds" if self.scale.seeds > 1 else "one seed"
        tested = {str(one.rows[0]["test_rows"]) for _, _, one in rows if one}
        tests = f"{tested.pop()} test rows" if len(tested) == 1 else ""
        shots = "" if "," in self.scale.shots else f"k={self.scale.shots}"
        return " · ".join(filter(None, [self.recipe.title, size, Path(self.scale.backbone).name, shots, seeds, tests]))


def reproduce(
    recipe: Recipe, size: str, out: str | Path | None, data: str | Path | None = None, **settings: Any
) -> Reproduction:
    """Runs what of a recipe is missing.

    Args:
        recipe: which.
        size: the scale's name.
        out: folder of finished runs; only in memory where None.
        data: as for a plan.
        settings: others of a plan (``device``, ``dtype``).

    Raises:
        PromptlabError: as :meth:`promptlab.lab.plan.Plan.run`.
    """
    scale = recipe.scale(size)
    systems = list(dict.fromkeys(scale.system(line) for line in recipe.rows))
    plan = Plan([recipe.task], systems, scale.shots, scale.seeds, scale.backbone, data, limit=scale.limit, **settings)
    return Reproduction(recipe, size, plan.run(out), None if data is None else str(data))


def command(recipe: Recipe, size: str, data: str | None = None) -> str:
    """The command that runs a recipe."""
    words = ["promptlab", "reproduce", recipe.name, *(["--scale", size] if size != FULL else [])]
    return shlex.join(words + (["--data", data] if data else []))


def _metrics(made: Reproduction) -> list[str]:
    """Every metric over all rows, the first one's parts, and what was published beside."""
    ours = dict.fromkeys(name for _, _, one in made.rows() if one for name in one.rows[0]["metrics"])
    said = dict.fromkeys(name for line in made.recipe.rows for name in line.published)
    first = next(iter(row["metric"] for row in made.results), "")
    kept = [name for name in ours if "/" not in name or name.startswith(f"{first}/") or name in said]
    if not any(one and one.writes for _, _, one in made.rows()):
        kept = [name for name in kept if name == first or name in said]
    return [*kept, *(name for name in said if name not in kept)]


def _pair(name: str, line: Line, one: Summary | None, published: bool) -> list[str]:
    ours = metric_cell(name, *one.over(name)) if one else "–"
    return [*([line.published.get(name, "–")] if published else []), ours]

"""The rows of a plan, and the table they make."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptlab.errors import OutputError, SettingError, did_you_mean
from promptlab.lab.layout import difference_table, score_tables
from promptlab.lab.layout_texts import text_tables
from promptlab.lab.report import page
from promptlab.lab.store import Folder, Row, Store
from promptlab.lab.summary import Difference, Summary, differences, summaries
from promptlab.lab.tables import Table, markdown


@dataclass(frozen=True)
class Results:
    """Rows, one a run.

    Args:
        rows: as CONTRACTS name their fields; what JSON can hold.
        store: holds the scores of each run's test rows.
        failures: what could not be done, by task, system and shots.
    """

    rows: list[Row]
    store: Store
    failures: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | Path) -> "Results":
        """All whole runs of a folder.

        Raises:
            OutputError: there is no such folder, or no run in it.
        """
        store = Folder(Path(folder))
        rows = list(store.rows(store.keys()).values())
        if not rows:
            raise OutputError(f"{folder} holds no finished runs. Write the folder that was given to --out.")
        order = sorted(rows, key=lambda row: (row["task"], str(row["shots"]), row["system"], row["seed"]))
        return cls(order, store)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __str__(self) -> str:
        return self.to_markdown()

    def summaries(self) -> list[Summary]:
        """Rows grouped over seeds."""
        return summaries(self.rows)

    def differences(self, against: str | None = None) -> list[Difference]:
        """Every system against one, or against the best baseline of each column; paired over rows and seeds.

        Raises:
            SettingError: ``against`` is none of the systems.
        """
        known = list(dict.fromkeys(row["system"] for row in self.rows))
        if against is not None and against not in known:
            raise SettingError(f"no system '{against}' here.{did_you_mean(against, known)} Known: {', '.join(known)}.")
        return differences(self.summaries(), self.store, against)

    def tables(self, against: str | None = None) -> list[Table]:
        """What there is to show: scores, a table for all tasks or one each, then the differences if there are any.

        Of tasks that ask for texts a table each, and what the systems wrote in its tail.
        """
        found, compared = self.summaries(), self.differences(against)
        labelled, writing = ([one for one in found if one.writes is writes] for writes in (False, True))
        tables = [*score_tables(labelled), *text_tables(writing, self.store)]
        return [*tables, difference_table(compared, found, against)] if compared else tables

    def to_markdown(self, against: str | None = None) -> str:
        """The tables as Markdown."""
        return "\n\n".join(markdown(table) for table in self.tables(against))

    def to_json_lines(self) -> str:
        """One JSON object a run and line."""
        return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in self.rows)

    def to_pandas(self) -> Any:
        """A DataFrame, a row a run; nested settings and metrics in columns such as ``metrics.accuracy``."""
        from pandas import json_normalize

        return json_normalize(self.rows)

    def report(self, path: str | Path, against: str | None = None) -> Path:
        """Writes one self-contained HTML page: the tables, and a dot a seed.

        Raises:
            OutputError: the file cannot be written.
        """
        place = Path(path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(page(self.summaries(), self.tables(against), self.failures), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{place} cannot be written: {error.strerror or error}. Write another --html.") from error
        return place

"""Runs that write texts, with a method that writes without a language model and metrics that count words."""

import json
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest

from promptlab.lab.layout_texts import text_tables
from promptlab.lab.results import Results
from promptlab.language.library import read_task
from promptlab.progress import track
from promptlab.registry import METHODS, Entry

TASK = """\
task: menus
about: Say it in a sentence.
inputs: [source]
metric: [bleu, nist, meteor]
patterns:
  plain: "{source} => {target}"
"""
ASKED = []


class Killed(BaseException):
    """Nothing catches it."""


@dataclass
class Pen:
    task: object
    style: str
    dies_after: int | None = None

    def __post_init__(self):
        self.facts = {"stored_parameters": 12}

    def texts(self, examples, told=None, done=None):
        done = dict(done or {})
        left = [row for row in range(len(examples)) if row not in done]
        ASKED.append(len(left))
        for batch, start in enumerate(range(0, len(left), 2)):
            rows = left[start : start + 2]
            if batch == self.dies_after:
                raise Killed
            done |= {row: f"{examples[row].text('source')} {self.style}".strip() for row in rows}
            told(rows, [done[row] for row in rows])
        return [done[row] for row in range(len(examples))]


@dataclass(frozen=True)
class Scribe:
    style: str = ""
    dies_after: int | None = None
    needs_labels: ClassVar[bool] = False
    needs_backbone: ClassVar[bool] = False
    learns: ClassVar[bool] = False
    writes: ClassVar[bool] = True

    def fit(self, backbone, tuning, jobs):
        for job in jobs:
            with track("scribe", total=1):
                yield job, Pen(job.task, self.style, self.dies_after)


@dataclass(frozen=True)
class _Here(Entry):
    thing: type = object

    def load(self):
        return self.thing


def _score(hypotheses, references, names, **settings):
    share = sum(h in r for h, r in zip(hypotheses, references, strict=True)) / len(hypotheses)
    return {name: {"bleu": share, "nist": 10 * share}.get(name) for name in names}


@pytest.fixture(autouse=True)
def writing(monkeypatch):
    ASKED.clear()
    entries = {name: _Here(name, "", "a fake", thing=Scribe) for name in ("scribe", "zero-shot")}
    monkeypatch.setattr(METHODS, "entries", entries)
    counting = SimpleNamespace(score_texts=_score, missing=lambda name: f"{name}: no Java here")
    monkeypatch.setitem(sys.modules, "promptlab.metrics.texts", counting)


@pytest.fixture
def task():
    return read_task(TASK)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "menus"
    folder.mkdir(parents=True)
    for split, size in (("train", 3), ("test", 7)):
        rows = [
            {
                "source": f"{split} dish {i}",
                "targets": [f"{split} dish {i}", f"{split} dish {i} {'hot' if i < 3 else 'x'}"],
            }
            for i in range(size)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return tmp_path / "data"


@pytest.fixture
def row(make_plan):
    return make_plan("scribe").run().rows[0]


def test_a_run_that_writes_says_its_metrics_and_how_many_texts(row):
    assert row["metrics"] == {"bleu": 1.0, "nist": 10.0, "meteor": None}
    assert (row["metric"], row["score"], row["texts"], row["test_rows"]) == ("bleu", 1.0, 7, 7)


def test_a_metric_that_cannot_be_had_is_noted_and_not_replaced(row):
    assert "meteor: no Java here" in row["notes"]


def test_rows_without_a_text_are_counted(make_plan, monkeypatch):
    monkeypatch.setattr(Pen, "texts", lambda self, examples, told=None, done=None: ["", *["x"] * 6])
    assert "1 test rows without a text" in make_plan("scribe").run().rows[0]["notes"]


def test_a_row_that_writes_is_clean_json(make_plan):
    [line] = make_plan("scribe").run().to_json_lines().splitlines()
    assert json.loads(line)["texts"] == 7


def test_texts_stand_beside_the_row_with_fingerprints_of_what_was_read(make_plan, tmp_path):
    [row] = make_plan("scribe:style=hot").run(tmp_path / "runs").rows
    kept = json.loads((tmp_path / "runs" / row["run"] / "texts.json").read_text(encoding="utf-8"))
    assert kept["hypotheses"][1] == "test dish 1 hot"
    assert len(kept["sources"]) == len(kept["references"]) == 16
    assert [one["row"] for one in kept["shown"]] == [0, 3, 6]
    assert not (tmp_path / "runs" / row["run"] / "scores.npz").exists()


def test_the_same_plan_again_writes_nothing(make_plan, tmp_path):
    first = make_plan("scribe").run(tmp_path / "runs")
    ASKED.clear()
    again = make_plan("scribe").run(tmp_path / "runs")
    assert ASKED == []
    assert again.to_markdown() == first.to_markdown()


def test_damaged_texts_count_as_missing(make_plan, tmp_path, caplog):
    [row] = make_plan("scribe").run(tmp_path / "runs").rows
    (tmp_path / "runs" / row["run"] / "texts.json").write_text("{}", encoding="utf-8")
    ASKED.clear()
    make_plan("scribe").run(tmp_path / "runs")
    assert ASKED == [7] and "is damaged" in caplog.text


@pytest.fixture
def killed(make_plan, tmp_path, monkeypatch):
    """A plan whose decode was cut off after two batches of two, and the file that it left."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Pen, "__post_init__", lambda self: vars(self).update(facts={}, dies_after=2))
        make_plan("scribe:style=hot").run(tmp_path / "runs")
    ASKED.clear()
    [part] = (tmp_path / "runs").glob(".part-*/texts.part.jsonl")
    return make_plan("scribe:style=hot"), part


def test_a_killed_decode_leaves_its_whole_batches(killed):
    assert [json.loads(line)["rows"] for line in killed[1].read_text().splitlines()[1:]] == [[0, 1], [2, 3]]


def test_a_decode_that_was_taken_up_gives_the_same_texts_and_says_so(killed, make_plan, tmp_path):
    plan, part = killed
    [row] = plan.run(tmp_path / "runs").rows
    assert ASKED == [3]
    whole = make_plan("scribe:style=hot").run(tmp_path / "other").rows[0]
    assert row["metrics"] == whole["metrics"]
    assert "4 of 7 texts are of an earlier process, and their time is not counted" in row["notes"]
    assert not part.exists()


def test_a_line_that_was_cut_off_is_written_again(killed, tmp_path):
    plan, part = killed
    text = part.read_text()
    part.write_text(text[:-9])
    plan.run(tmp_path / "runs")
    assert ASKED == [5]


def test_texts_of_other_versions_are_not_taken_up(killed, tmp_path):
    plan, part = killed
    head, *rest = part.read_text().splitlines(keepends=True)
    part.write_text(json.dumps({**json.loads(head), "git": "another"}) + "\n" + "".join(rest))
    plan.run(tmp_path / "runs")
    assert ASKED == [7]


def test_a_method_that_writes_too_few_texts_is_told(make_plan, monkeypatch):
    monkeypatch.setattr(Pen, "texts", lambda self, examples, told=None, done=None: ["x"])
    assert "wrote 1 texts for 7 rows" in make_plan("scribe").run().failures["menus scribe k=2"]


def test_a_table_has_a_metric_a_column_and_the_best_in_bold(make_plan):
    results = make_plan("scribe,scribe:style=hot", seeds=2).run()
    table = results.tables()[0]
    assert table.heads[:4] == ["system", "BLEU", "NIST", "METEOR"]
    assert list(table.rows[0][1:4]) == ["100.0 ± 0.0", "10.00 ± 0.00", "–"]
    assert list(table.rows[1][1:3]) == ["42.9 ± 0.0", "4.29 ± 0.00"]
    assert {(0, 1), (0, 2)} == table.bold
    assert table.caption == "menus · k=2 · in %, NIST as they are, mean ± sd over 2 seeds · 7 test rows"


def test_the_tail_shows_the_same_inputs_for_every_system(make_plan):
    results = make_plan("scribe,scribe:style=hot").run()
    tail = results.tables()[1]
    assert [list(row) for row in tail.rows[:4]] == [
        ["input", "test dish 0"],
        ["reference", "test dish 0 (and 1 more)"],
        ["scribe", "test dish 0"],
        ["scribe:style=hot", "test dish 0 hot"],
    ]
    assert [row[1] for row in tail.rows if row[0] == "input"] == ["test dish 0", "test dish 3", "test dish 6"]


def test_texts_have_no_differences_by_rows(make_plan):
    results = make_plan("scribe,zero-shot:style=hot").run()
    assert results.differences("scribe") == []
    assert len(results.tables("scribe")) == 2


def test_a_page_holds_the_outputs_too(make_plan, tmp_path):
    results = make_plan("scribe:style=<hot>").run()
    page = results.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "test dish 3 &lt;hot&gt;" in page and "BLEU in %" in page


def test_runs_that_are_read_back_show_the_same_tables(make_plan, tmp_path):
    ran = make_plan("scribe").run(tmp_path / "runs")
    read = Results.read(tmp_path / "runs")
    assert read.tables() == ran.tables() == text_tables(read.summaries(), read.store)

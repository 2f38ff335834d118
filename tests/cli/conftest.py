import json
import sys
from types import ModuleType

import numpy as np
import pytest

from promptlab.cli.app import main
from promptlab.language.task import Task

TASK = """\
task: films
about: Is a film good?
inputs: [text]
labels: [negative, positive]
verbalizers:
  default: {negative: terrible, positive: great}
patterns:
  it-was: "{text} It was {mask}."
  just: "Just {mask}! {sep} {text}"
"""


class Said:
    """What a command wrote, and how it ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def say(capsys, monkeypatch, tmp_path):
    """Runs ``promptlab ...`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*words):
        capsys.readouterr()
        try:
            main([str(word) for word in words])
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        written = capsys.readouterr()
        return Said(code, written.out, written.err)

    return run


@pytest.fixture
def task_file(tmp_path):
    path = tmp_path / "films.yaml"
    path.write_text(TASK, encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "films"
    folder.mkdir(parents=True)
    kinds = [("a dull and bad film", "negative"), ("a fine and good film", "positive")]
    for split, size in (("train", 16), ("test", 20)):
        rows = [{"text": f"{kinds[i % 2][0]}, number {i}", "label": kinds[i % 2][1]} for i in range(size)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return tmp_path / "data"


class Classifier:
    """Stands for PromptClassifier: remembers how it was made and fitted, and answers by the word good."""

    made = None
    task_ = Task.from_parts(["{text} {mask}."], {"negative": "bad", "positive": "good"})
    classes_ = np.array(["negative", "positive"])

    def __init__(self, task=None, **settings):
        Classifier.made = self
        self.task, self.settings, self.saved = task, settings, None

    def fit(self, rows, y=None, unlabeled=None):
        self.rows, self.unlabeled = rows, unlabeled
        return self

    def predict_proba(self, rows):
        self.asked = rows
        good = np.array(["good" in " ".join(row.fields.values()) for row in rows])
        return np.where(good[:, None], [0.25, 0.75], [0.875, 0.125])

    def predict(self, rows):
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]

    def show(self, example):
        return [
            {
                "pattern": "it-was",
                "text": f"{example.fields['text']} It was ▁▁▁.",
                "guesses": [("great", 0.21), ("fine", 0.1)],
                "probabilities": {"negative": 0.04, "positive": 0.96},
                "mass": 0.22,
            },
            {"pattern": "just", "text": "...", "skipped": "a field after the mask"},
        ]

    def save_pretrained(self, folder, metrics=None):
        self.saved, self.metrics = folder, metrics

    @classmethod
    def from_pretrained(cls, folder, backbone=None, **settings):
        made = cls(cls.task_, backbone=backbone, **settings)
        made.folder = folder
        return made


@pytest.fixture
def classifier(monkeypatch):
    """The fake in place of the real one; ``classifier.made`` is the last that was made."""
    module = ModuleType("promptlab.classifier")
    module.PromptClassifier = Classifier
    monkeypatch.setitem(sys.modules, "promptlab.classifier", module)
    monkeypatch.setattr("promptlab.hub.saved_task", lambda folder: Classifier.task_)
    Classifier.made = None
    return Classifier

"""Prompt-based few-shot learning, side by side.

The public names are imported when they are first asked for, so that ``import promptlab`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptlab.backbone.backbone import load_backbone
    from promptlab.classifier import PromptClassifier
    from promptlab.data.fewshot import sample_shots
    from promptlab.errors import PromptlabError
    from promptlab.generator import PromptGenerator
    from promptlab.lab.plan import Plan
    from promptlab.lab.results import Results
    from promptlab.language.example import Example
    from promptlab.language.library import load_task
    from promptlab.language.pattern import Pattern
    from promptlab.language.task import PVP, Task
    from promptlab.language.verbalizer import Verbalizer
    from promptlab.training.adapt import adapt

__version__ = "0.1.0"

__all__ = [
    "PVP",
    "Example",
    "Pattern",
    "Plan",
    "PromptClassifier",
    "PromptGenerator",
    "PromptlabError",
    "Results",
    "Task",
    "Verbalizer",
    "adapt",
    "load_backbone",
    "load_task",
    "sample_shots",
]

_HOMES = {
    "PVP": "promptlab.language.task",
    "Example": "promptlab.language.example",
    "Pattern": "promptlab.language.pattern",
    "Plan": "promptlab.lab.plan",
    "PromptClassifier": "promptlab.classifier",
    "PromptGenerator": "promptlab.generator",
    "PromptlabError": "promptlab.errors",
    "Results": "promptlab.lab.results",
    "Task": "promptlab.language.task",
    "Verbalizer": "promptlab.language.verbalizer",
    "adapt": "promptlab.training.adapt",
    "load_backbone": "promptlab.backbone.backbone",
    "load_task": "promptlab.language.library",
    "sample_shots": "promptlab.data.fewshot",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'promptlab' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""The model card that writes itself: what a saved model is, from its own promptlab.json and task."""

import re
from collections.abc import Iterator, Mapping, Sequence
from json import dumps
from pathlib import PurePath
from typing import Any

from promptlab.language.task import PVP, Task
from promptlab.registry import METHODS, TUNINGS, Registry

_PLAIN = re.compile(r"[A-Za-z][\w./-]*")
_WORDS_OF_YAML = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")


def model_card(content: Mapping[str, Any], task: Task, name: str) -> str:
    """The card as Markdown under its YAML head.

    Args:
        content: of ``promptlab.json``.
        task: what the model answers.
        name: how the model is called: its folder, or its place on the hub.
    """
    parts = [
        _head(content, task),
        _title(content, task),
        _facts(content, task),
        _asked(content, task),
        _learnt(content),
    ]
    parts += [_metrics(content), _use(content, task, name)]
    return "\n\n".join(part for part in parts if part) + "\n"


def base_of(content: Mapping[str, Any]) -> str:
    """The backbone's name; of a folder its last part, since places on this machine are nobody's business."""
    backbone = content["backbone"]
    return (PurePath(backbone["name"]).name or "backbone") if backbone["local"] else str(backbone["name"])


def _head(content: Mapping[str, Any], task: Task) -> str:
    system, merged = content["system"], content["merged"]
    tags = ["promptlab", "few-shot", system["method"]["name"]] + (
        [system["tuning"]["name"]] if system["tuning"] else []
    )
    entries: dict[str, str | list[str]] = {"library_name": "transformers" if merged else "promptlab"}
    tag = {"cloze": "fill-mask", "continuation": "text-generation"}.get(merged, "text-classification")
    entries["pipeline_tag"] = "text-generation" if task.generates else tag
    if content["backbone"]:
        entries["base_model"] = base_of(content)
    entries["tags"] = list(dict.fromkeys(tags))
    if content["metrics"]:
        entries["metrics"] = list(content["metrics"])
    return "\n".join(["---", *(line for key, value in entries.items() for line in _yaml(key, value)), "---"])


def _yaml(key: str, value: str | Sequence[str]) -> list[str]:
    if isinstance(value, str):
        return [f"{key}: {_scalar(value)}"]
    return [f"{key}:", *(f"- {_scalar(each)}" for each in value)]


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _title(content: Mapping[str, Any], task: Task) -> str:
    over = f" on {base_of(content)}" if content["backbone"] else ""
    about = f"\n\n{' '.join(task.about.split())}" if task.about.strip() else ""
    return f"# {task.name}: {_system(content['system'])}{over}{about}"


def _system(system: Mapping[str, Any]) -> str:
    return " + ".join(part["name"] for part in (system["method"], system["tuning"]) if part)


def _facts(content: Mapping[str, Any], task: Task) -> str:
    system, data, lines = content["system"], content["data"], []
    if content["backbone"]:
        one = content["backbone"]
        where = "a local folder" if one["local"] else "on the hub"
        lines.append(f"Base model: {base_of(content)} ({where}; {one['kind']}, fingerprint {one['fingerprint'][:12]})")
    numbers = f"numbers from {task.range}" if task.range else ""
    listed = numbers or ", ".join(task.labels) or f"the candidates of each row ({task.candidates})"
    lines.append("Writes: a text" if task.generates else f"Labels: {listed}")
    lines.append(f"Reads: {', '.join(task.inputs)}")
    lines.append(f"Method: {_described(METHODS, system['method'])}")
    if system["tuning"]:
        lines.append(f"Tuning: {_described(TUNINGS, system['tuning'])}")
    lines.append(f"Given: {_count(data['labelled_rows'], 'labelled row')}, {_count(data['unlabelled_rows'], 'row')} "
                 f"without labels, seed {content['seed']}")  # fmt: skip
    return "\n".join(f"- {line}" for line in lines)


def _described(registry: Registry, spec: Mapping[str, Any]) -> str:
    """``pet:repetitions=1``: what the registry says of it, with its papers."""
    written = _code(spec["text"])
    if spec["name"] not in registry:
        return written
    entry = registry.entry(spec["name"])
    numbers = [number.strip() for number in entry.paper.split(",") if number.strip()]
    papers = ", ".join(f"[arXiv:{number}](https://arxiv.org/abs/{number})" for number in numbers)
    return f"{written}, {entry.about}" + (f" ({papers})" if papers else "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _asked(content: Mapping[str, Any], task: Task) -> str:
    names = content["patterns"]
    others = [name for name in names if name not in {pvp.name for pvp in task.pvps}]  # those that every task has
    asked = [*(pvp for pvp in task.pvps if pvp.name in names), *map(task.pvp, others)]
    if not asked:
        return ""
    return "\n".join(["## Patterns\n", *(line for pvp in asked for line in _pattern(pvp))])


def _pattern(pvp: PVP) -> Iterator[str]:
    yield f"- **{pvp.name}**: {_code(pvp.pattern.source)}"
    for label, words in pvp.verbalizer.words.items():
        yield f"  - {label}: {', '.join(map(_code, words))}"


def _code(text: str) -> str:
    """A code span, whatever backticks the text holds."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if len(fence) > 1 else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _learnt(content: Mapping[str, Any]) -> str:
    numbers = content["parameters"]
    head = f", and {numbers['head']:,} in a classification head" if numbers["head"] else ""
    notes = [f"- {' '.join(note.split())}" for note in content["notes"]]
    lines = [f"Learnt parameters: {numbers['stored']:,}{head}. Every setting stands in {_code('promptlab.json')}."]
    return "\n".join(["## Learning\n", *lines, *(["", *notes] if notes else [])])


def _metrics(content: Mapping[str, Any]) -> str:
    if not content["metrics"]:
        return ""
    rows = [f"| {name} | {value:.4g} |" for name, value in content["metrics"].items()]
    return "\n".join(["## Scores\n", "As reported by whoever saved it.\n", "| metric | value |", "|---|---|", *rows])


def _use(content: Mapping[str, Any], task: Task, name: str) -> str:
    written, inputs = dumps(name, ensure_ascii=False), list(task.inputs)
    row = '"..."' if len(inputs) == 1 else "{" + ", ".join(f'"{field}": "..."' for field in inputs) + "}"
    if content["merged"] == "head":
        pair = '"..."' if len(inputs) == 1 else '{"text": "...", "text_pair": "..."}'
        lines = ["from transformers import pipeline", "", f'pipeline("text-classification", {written})({pair})']
    elif content["merged"] and task.generates:
        method = f"zero-shot:patterns={content['patterns'][0]},instruction=none"
        asking = f'PromptGenerator(task, method="{method}", tuning=None, backbone={written})'
        lines = ["from promptlab import PromptGenerator, load_task", "",
                 f'task = load_task({dumps(name + "/task.yaml", ensure_ascii=False)})', f"writer = {asking}.fit()",
                 f"writer.predict([{row}])"]  # fmt: skip
    elif content["merged"]:
        asking = f'PromptClassifier(task, method="zero-shot:patterns={content["patterns"][0]}", backbone={written})'
        lines = ["from promptlab import PromptClassifier, load_task", "",
                 f'task = load_task({dumps(name + "/task.yaml", ensure_ascii=False)})', f"classifier = {asking}.fit()",
                 f"classifier.predict([{row}])"]  # fmt: skip
    else:
        kind, held = ("PromptGenerator", "writer") if task.generates else ("PromptClassifier", "classifier")
        loading = f"{held} = {kind}.from_pretrained({written})"
        lines = [f"from promptlab import {kind}", "", loading, f"{held}.predict([{row}])"]
    return "\n".join(["## Use\n", "```python", *lines, "```"])

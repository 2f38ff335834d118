"""From the keys of a pattern file to a task, one function a key. Each reads what it can and notes what is wrong.

    needed   task  inputs  labels  verbalizers  patterns
    may be   about  instruction  dataset  metric  prepare  group  candidates  parts

``labels`` and ``verbalizers`` may be left out where rows bring their own ``candidates``, or where the patterns ask for
a ``{target}``; only there are ``parts``.
"""

from collections.abc import Mapping, Sequence

from promptlab.errors import did_you_mean
from promptlab.language.document import Faults, Items, Keys, Node, Words, quotes_hint
from promptlab.language.grammar import RESERVED, is_field_name, scan
from promptlab.language.letters import MOST, letters, lists, too_many
from promptlab.language.letters import NAME as LETTERS
from promptlab.language.pattern import Pattern, pattern_faults, unknown_field
from promptlab.language.range import ENDS, Range, metric_fault
from promptlab.language.target import TEXT_METRICS
from promptlab.language.target import metric_fault as text_fault
from promptlab.language.task import PVP, Task, name_faults
from promptlab.language.verbalizer import Verbalizer, word_faults

_NEEDED = {
    "task": "the name of the task",
    "inputs": "[text], or name: column of the data",
    "labels": "[first, second], in the order of the data's ids",
    "verbalizers": "{default: {first: word, second: word}}",
    "patterns": '{name: "{text} It was {mask}."}',
}
TOP_KEYS = (*_NEEDED, "about", "instruction", "dataset", "metric", "prepare", "group", "candidates", "parts")
_TEXTS = ("task", "about", "instruction", "prepare", "group", "candidates", "parts")
DATASET_KEYS = ("path", "builtin", "folders", "name", "revision", "train", "dev", "test", "unlabeled", "columns")
PATTERN_KEYS = ("pattern", "verbalizer", "when")
_NONE = Keys()


def read_keys(root: Node, faults: Faults) -> Task:
    """The task that a document describes.

    Raises:
        PatternError: anything is wrong, here or before; holds every fault.
    """
    if not isinstance(root, Keys):
        faults.add(root.line, f"holds {_kind(root)}, not keys. Write the keys {', '.join(_NEEDED)}.")
        faults.stop()
    _refuse_unknown(root, TOP_KEYS, "key", faults)
    generates = "labels" not in root and "candidates" not in root and "{target}" in str(root.get("patterns"))
    _refuse_missing(root, generates, faults)
    texts = {key: _optional(root, key, faults) for key in _TEXTS}
    inputs = _inputs(root, faults)
    labels, values, span = _labels(root, faults)
    verbalizers = _verbalizers(root, labels, inputs, faults)
    pvps = _patterns(root, verbalizers, inputs, labels, generates, faults)
    _refuse_lists(pvps if span else (), root, faults)
    metrics = _metrics(root, span, generates, faults)
    dataset = _dataset(root, faults)
    _check_names(root, texts, inputs, generates, faults)
    faults.refuse()
    return Task(
        name=texts["task"] or "",
        about=texts["about"] or "",
        instruction=texts["instruction"] or "",
        inputs=inputs,
        labels=labels,
        values=values,
        pvps=pvps,
        metrics=metrics,
        dataset=dataset,
        prepare=texts["prepare"],
        group=texts["group"],
        candidates=texts["candidates"],
        parts=texts["parts"],
        range=span,
    )


def _refuse_missing(root: Keys, generates: bool, faults: Faults) -> None:
    answers = {"labels", "verbalizers"}
    spared = answers if (generates or "candidates" in root) and answers.isdisjoint(root) else set()
    for key in _NEEDED:
        if key not in root and key not in spared:
            faults.add(root.line, f"has no key '{key}'. Write {key}: {_NEEDED[key]}.")


def _check_names(
    root: Keys, texts: Mapping[str, str | None], inputs: Mapping[str, str], generates: bool, faults: Faults
) -> None:
    task, candidates = texts["task"], texts["candidates"]
    for fault in name_faults(task) if task else ():
        faults.add(root.lines["task"], f"task {fault}")
    if "parts" in root and not generates:
        fault = "parts: metrics are given apart where a text is asked for ({target}), and here is none. Take it out."
        faults.add(root.lines["parts"], fault)
    if candidates and candidates not in inputs:
        known = f"({', '.join(inputs)}).{did_you_mean(candidates, inputs)}"
        faults.add(root.lines["candidates"], f"candidates: '{candidates}' is no input {known}")
    elif candidates and "labels" in root:
        fault = "candidates and labels: the answers are each row's own, or the same for all. Leave one of them out."
        faults.add(root.lines["candidates"], fault)


# --- any key ---------------------------------------------------------------------------------------------------------


def _kind(node: Node) -> str:
    if isinstance(node, Words):
        return f"the text '{node}'" if node else "empty"
    return "a list" if isinstance(node, Items) else "a mapping"


def _refuse_unknown(keys: Keys, known: Sequence[str], what: str, faults: Faults) -> None:
    for key, line in keys.lines.items():
        if key not in known:
            faults.add(line, f"unknown {what} '{key}'.{did_you_mean(key, known)} Known: {', '.join(known)}.")


def _text(node: Node, what: str, faults: Faults) -> str:
    if isinstance(node, Words) and node.strip():
        return str(node)
    if isinstance(node, Words):
        faults.add(node.line, f"{what} is empty. Write it, or take the key out.")
    else:
        hint = quotes_hint("{" if isinstance(node, Keys) else "[", "pattern" if what.startswith("pattern") else "text")
        faults.add(node.line, f"{what} is {_kind(node)}, not text.{hint}")
    return ""


def _optional(root: Keys, key: str, faults: Faults) -> str | None:
    return _text(root[key], key, faults) or None if key in root else None


def _texts(node: Node, what: str, faults: Faults) -> tuple[str, ...]:
    if isinstance(node, Items) and not node:
        faults.add(node.line, f"{what} is an empty list. Write at least one.")
    items = node if isinstance(node, Items) else [node]
    return tuple(filter(None, (_text(each, what, faults) for each in items)))


def _section(root: Keys, key: str, faults: Faults) -> Keys:
    node = root.get(key, _NONE)
    if isinstance(node, Keys) and (node or key not in root):
        return node
    kind = "empty" if isinstance(node, Keys) else _kind(node)
    faults.add(root.lines[key], f"{key} is {kind}. Write {key}: {_NEEDED.get(key, '{path: owner/name}')}.")
    return _NONE


# --- each key --------------------------------------------------------------------------------------------------------


def _inputs(root: Keys, faults: Faults) -> dict[str, str]:
    node = root.get("inputs", _NONE)
    if isinstance(node, Items) and node:
        names = [(name, each.line) for each in node if (name := _text(each, "an input", faults))]
        for i, (name, line) in enumerate(names):
            if any(name == before for before, _ in names[:i]):
                faults.add(line, f"the input '{name}' stands twice. Keep one.")
        columns = {name: name for name, _ in names}
    else:
        section = _section(root, "inputs", faults)
        names = list(section.lines.items())
        columns = {name: _text(each, f"the column of '{name}'", faults) for name, each in section.items()}
    for name, line in names:
        if not is_field_name(name):
            taken = f"not one of {', '.join(RESERVED)}"
            faults.add(line, f"the input '{name}' cannot be written as a field. Write letters, digits and _, {taken}.")
    return columns


def _labels(root: Keys, faults: Faults) -> tuple[tuple[str, ...], dict[str, str], Range | None]:
    node = root.get("labels")
    if isinstance(node, Keys) and list(node) == ["range"] and isinstance(node["range"], Items):
        return ENDS, {}, _range(node["range"], faults)
    if not isinstance(node, Keys | Items):
        if node is not None:
            faults.add(node.line, f"labels is {_kind(node)}. Write {_NEEDED['labels']}.")
        return (), {}, None
    listed = node if isinstance(node, Items) else list(node.values())
    names = [_text(each, "a label", faults) for each in listed]
    labels = tuple(dict.fromkeys(filter(None, names)))
    if len(labels) < 2:
        faults.add(node.line, "labels has fewer than two. Write at least two, in the order of the data's ids.")
    if isinstance(node, Keys):
        return labels, _values(node, labels, faults), None
    for i, (name, each) in enumerate(zip(names, listed, strict=True)):
        if name and name in names[:i]:
            faults.add(each.line, f"the label '{name}' stands twice. Keep one.")
    return labels, {}, None


def _values(node: Keys, labels: Sequence[str], faults: Faults) -> dict[str, str]:
    values = {value: str(label) for value, label in node.items()}
    for value, label in values.items():
        if value in labels and value != label:
            line = node.lines[value]
            faults.add(line, f"the value '{value}' means '{label}', yet is a label too. Give labels their own names.")
    return values


def _refuse_lists(pvps: Sequence[PVP], root: Keys, faults: Faults) -> None:
    for name in dict.fromkeys(pvp.pattern.name for pvp in pvps if lists(pvp.pattern.parts)):
        fault = f"pattern '{name}' lists the labels, and a range has none to list. Leave {{labels}} out."
        faults.add(root.lines["patterns"], fault)


def _range(node: Items, faults: Faults) -> Range | None:
    found = Range.of([str(each) for each in node])
    if found is None:
        faults.add(node.line, "range is not two rising numbers. Write range: [0, 5].")
    return found


def _verbalizers(root: Keys, labels: Sequence[str], inputs: Mapping[str, str], faults: Faults) -> dict[str, Verbalizer]:
    found = {}
    section = _section(root, "verbalizers", faults)
    if all(isinstance(node, Words) for node in section.values()) and any(name in labels for name in section):
        faults.add(root.lines["verbalizers"], "verbalizers gives words to no name. Write default: {label: word, ...}.")
        return {}
    for name, node in section.items():
        line = section.lines[name]
        for fault in name_faults(name):
            faults.add(line, f"verbalizer {fault}")
        if isinstance(node, Keys):
            found[name] = _verbalizer(name, line, node, labels, inputs, faults)
        else:
            faults.add(line, f"verbalizer '{name}' is {_kind(node)}. Write {{label: word, label: word}}.")
    return found


def _verbalizer(
    name: str, line: int, node: Keys, labels: Sequence[str], inputs: Mapping[str, str], faults: Faults
) -> Verbalizer:
    words = {label: tuple(map(str, each)) if isinstance(each, Items) else (str(each),) for label, each in node.items()}
    for label, each in node.items():
        for nested in (one for one in (each if isinstance(each, Items) else [each]) if not isinstance(one, Words)):
            fault = f"the word of '{label}' is {_kind(nested)}.{quotes_hint('{', 'word')}"
            faults.add(nested.line, f"verbalizer '{name}': {fault}")
            words[label] = (f"the word of {label}",)  # stands in, so that the same place is not faulted twice
    for at, fault in word_faults(words, labels) if labels else ():
        faults.add(line if at is None else node.lines[at], f"verbalizer '{name}' {fault}")
    made = Verbalizer(name, {label: words[label] for label in labels if label in words})
    for field in (each for each in made.fields if each not in inputs):
        faults.add(line, f"verbalizer '{name}' {unknown_field(field, inputs)}")
    return made


def _patterns(
    root: Keys,
    verbalizers: Mapping[str, Verbalizer],
    inputs: Mapping[str, str],
    labels: Sequence[str],
    generates: bool,
    faults: Faults,
) -> tuple[PVP, ...]:
    pvps: list[PVP] = []
    by_letter = letters(labels[:MOST])
    section = _section(root, "patterns", faults)
    for name, node in section.items():
        for fault in name_faults(name):
            faults.add(section.lines[name], f"pattern {fault}")
        entry = _entry(name, node, faults)
        pattern = _pattern(name, entry, inputs, generates, faults)
        listing = lists(pattern.parts)
        if listing and (fault := too_many(labels)):
            faults.add(entry["pattern"].line, f"pattern '{name}' {fault}")
        spoken = _spoken(name, section.lines[name], entry, verbalizers, by_letter if listing else None, faults)
        for each in spoken:
            pvps.append(PVP(pattern, each, name if len(spoken) == 1 else f"{name}/{each.name}"))
    return tuple(pvps)


def _entry(name: str, node: Node, faults: Faults) -> Keys:
    # a pattern written as text is the entry {pattern: text}
    if isinstance(node, Keys) and "pattern" in node:
        _refuse_unknown(node, PATTERN_KEYS, f"key of pattern '{name}'", faults)
        return node
    entry = Keys()
    entry.line = node.line
    if isinstance(node, Keys) and not any(key in PATTERN_KEYS for key in node):
        faults.add(node.line, f"pattern '{name}' is a mapping, not text.{quotes_hint('{')}")
    elif isinstance(node, Keys):
        faults.add(node.line, f"pattern '{name}' has no text. Write pattern: \"...\" under it.")
    else:
        entry["pattern"] = node
    return entry


def _pattern(name: str, entry: Keys, inputs: Mapping[str, str], generates: bool, faults: Faults) -> Pattern:
    node = entry.get("pattern")
    source = _text(node, f"pattern '{name}'", faults).rstrip("\n") if node is not None else ""
    when = entry.get("when", _NONE)
    if not isinstance(when, Keys):
        faults.add(when.line, f"pattern '{name}': when is {_kind(when)}. Write when: {{field: value}}.")
        when = _NONE
    for field, line in when.lines.items():
        if field not in inputs:
            faults.add(line, f"pattern '{name}': when {unknown_field(field, inputs)}")
    if node is not None and source:
        for fault in pattern_faults(source, inputs, generates):
            faults.add(node.line, f"pattern '{name}': '{source}': {fault}")
    values = {field: _text(value, f"pattern '{name}': when", faults) for field, value in when.items()}
    return Pattern(name, source, scan(source)[0], values)


def _spoken(
    name: str,
    line: int,
    entry: Keys,
    verbalizers: Mapping[str, Verbalizer],
    by_letter: Verbalizer | None,
    faults: Faults,
) -> list[Verbalizer]:
    if by_letter and "verbalizer" not in entry:
        return [by_letter]
    if by_letter:
        verbalizers = {LETTERS: by_letter} | dict(verbalizers)
    known = ", ".join(verbalizers)
    if not verbalizers and ("verbalizer" not in entry or faults.found):
        return [Verbalizer("none", {})]  # rows bring their own answers, or the fault is said already
    if "verbalizer" not in entry:
        chosen: tuple[str, ...] = ("default",) if "default" in verbalizers else tuple(verbalizers)
        if len(chosen) > 1:
            faults.add(line, f"pattern '{name}' names no verbalizer, and none is 'default'. Write one of {known}.")
        return [verbalizers[each] for each in chosen[:1]]
    node = entry["verbalizer"]
    chosen = _texts(node, f"pattern '{name}': verbalizer", faults)
    for each in (each for each in chosen if each not in verbalizers):
        near = did_you_mean(each, verbalizers)
        faults.add(node.line, f"pattern '{name}': no verbalizer '{each}'.{near} Known: {known}.")
    return [verbalizers[each] for each in dict.fromkeys(chosen) if each in verbalizers]


def _metrics(root: Keys, span: Range | None, generates: bool, faults: Faults) -> tuple[str, ...]:
    if "metric" not in root:
        return TEXT_METRICS[:1] if generates else span.metrics[:1] if span else ("accuracy",)
    found = _texts(root["metric"], "metric", faults)
    for fault in filter(None, (metric_fault(each) if span else text_fault(each, generates) for each in found)):
        faults.add(root.lines["metric"], fault)
    return found


def _dataset(root: Keys, faults: Faults) -> dict[str, object] | None:
    if "dataset" not in root:
        return None
    section = _section(root, "dataset", faults)
    _refuse_unknown(section, DATASET_KEYS, "key of dataset", faults)
    if section and not {"path", "builtin", "folders"} & set(section):
        faults.add(root.lines["dataset"], "dataset has no path. Write path: owner/name, as the hub has it.")
    found: dict[str, object] = {}
    for key, node in section.items():
        if key == "folders":
            found[key] = list(_texts(node, "dataset: folders", faults))
        elif key == "columns" and isinstance(node, Keys):
            found[key] = {column: _text(each, f"dataset: columns: {column}", faults) for column, each in node.items()}
        else:
            found[key] = _text(node, f"dataset: {key}", faults)
    return found

"""YAML as pattern files use it: texts, lists and keys, each knowing its line. Nothing else is built from a file.

Every scalar is text (``yaml.BaseLoader``), so that the label words Yes and No stay words. Tags, aliases, repeated keys
and deep nesting are faults. Faults are collected, so that a reader sees all of them at once.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import yaml

from promptlab.errors import Fault, PatternError

MOST_BYTES, DEEPEST = 250_000, 12

_FAST = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # the same in C, where PyYAML was built with it
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_KEY = r"""(?:[\w-]+|"[^"]*"|'[^']*')\s*:\s+"""
_SIGN = re.compile(rf"^\s*(?:-\s+)?(?:{_KEY})?(?P<sign>[\[{{\"'*&!%@`])")
_READ_AS = {"{": "a mapping", "[": "a list", '"': "a whole quoted text", "'": "a whole quoted text"}


class Words(str):
    """A text with the line it stands on."""

    line: int = 1


class Items(list["Node"]):
    """A list with the line it begins on."""

    line: int = 1


class Keys(dict[str, "Node"]):
    """Keys and values, with the line it begins on and the line of each key."""

    line: int = 1

    @cached_property
    def lines(self) -> dict[str, int]:
        """The line of each key."""
        return {}


Node = Words | Items | Keys


@dataclass
class Faults:
    """What is wrong with one file, collected while it is read."""

    file: str
    found: list[Fault] = field(default_factory=list)

    def add(self, line: int | None, text: str) -> None:
        """Notes a fault; one said already is not said again."""
        fault = Fault(self.file, line, text)
        if fault not in self.found:
            self.found.append(fault)

    def refuse(self) -> None:
        """Raises what was found, if anything was.

        Raises:
            PatternError: holds every fault, in the order of the file.
        """
        if self.found:
            self.stop()

    def stop(self) -> NoReturn:
        """Raises what was found.

        Raises:
            PatternError: holds every fault, in the order of the file.
        """
        raise PatternError(sorted(self.found, key=lambda fault: fault.line or 0))


def quotes_hint(sign: str, what: str = "pattern") -> str:
    """What to write where a text begins with a sign that YAML keeps for itself."""
    return f" Put the {what} in quotes: YAML reads a leading {sign} as {_READ_AS.get(sign, 'a sign of its own')}."


def read_text(path: Path) -> str:
    """The text of a pattern file.

    Raises:
        PatternError: no such file, a folder, not readable, too large, not UTF-8.
    """
    faults, data = Faults(str(path)), b""
    try:
        if path.stat().st_size > MOST_BYTES:
            faults.add(None, f"is over {MOST_BYTES:,} bytes, so it is no pattern file. Write the path of a .yaml file.")
            faults.stop()
        data = path.read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = data[: error.start].count(b"\n") + 1, data[error.start]
        faults.add(line, f"is not UTF-8 text (byte 0x{byte:02x} at offset {error.start}). Save it as UTF-8.")
    except FileNotFoundError:
        faults.add(None, "no such file. Write the path of a .yaml file.")
    except OSError as error:
        faults.add(None, f"cannot be read ({(error.strerror or str(error)).lower()}). Write the path of a .yaml file.")
    faults.stop()


def read_nodes(text: str, faults: Faults) -> Node:
    """The document of a YAML text; repeated keys and tags are noted, and reading goes on.

    Raises:
        PatternError: the text is no YAML, is empty, or repeats itself by aliases.
    """
    control = _CONTROL.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        faults.add(line, f"holds the control character {control.group()!r}: binary, not text. Write YAML text.")
        faults.stop()
    try:
        root = _composed(text, faults, _FAST)
    except yaml.YAMLError:
        root = _composed_slowly(text, faults)
    if root is None or root.value == "":
        faults.add(None, "is empty. Write the keys task, inputs, labels, verbalizers and patterns.")
        faults.stop()
    return _node(root, faults)


def _is_safe(text: str, faults: Faults, loader: Any) -> bool:
    # an alias may stand for endless text and depth for endless recursion, so such a document is not even composed
    depth, safe = 0, True
    for event in yaml.parse(text, Loader=loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        tag = getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent):
            safe = False
            faults.add(line, f"is the alias *{event.anchor} of another place. Write it out, or put the text in quotes.")
        elif tag:
            tag = tag.replace("tag:yaml.org,2002:", "!!")
            faults.add(line, f"carries the tag {tag}, but every value is text. Take it out, or put the text in quotes.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            faults.add(line, f"is nested deeper than {DEEPEST} levels; no key needs that. Put the text in quotes.")
            return False
    return safe


def _composed(text: str, faults: Faults, loader: Any) -> yaml.Node | None:
    if not _is_safe(text, faults, loader):
        faults.stop()
    return yaml.compose(text, Loader=loader)


def _composed_slowly(text: str, faults: Faults) -> yaml.Node | None:
    """By the reader in Python, whose errors say more."""
    faults.found.clear()
    try:
        return _composed(text, faults, yaml.BaseLoader)
    except yaml.YAMLError as error:
        _add_yaml_fault(error, text, faults)
        faults.stop()


def _node(node: yaml.Node, faults: Faults) -> Node:
    made: Node
    if isinstance(node, yaml.ScalarNode):
        made = Words(node.value)
    elif isinstance(node, yaml.SequenceNode):
        made = Items(_node(each, faults) for each in node.value)
    else:
        made = _keys(node, faults)
    made.line = node.start_mark.line + 1
    return made


def _keys(node: yaml.Node, faults: Faults) -> Keys:
    keys = Keys()
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        value = _node(value_node, faults)
        if not isinstance(key_node, yaml.ScalarNode):
            faults.add(line, f"has a key that is not text.{quotes_hint('{')}")
        elif key_node.value in keys:
            before = keys.lines[key_node.value]
            faults.add(line, f"repeats the key '{key_node.value}' of line {before}. Keep one of the two.")
        else:
            keys[key_node.value] = value
            keys.lines[key_node.value] = line
    return keys


def _add_yaml_fault(error: yaml.YAMLError, text: str, faults: Faults) -> None:
    mark = getattr(error, "problem_mark", None)
    if re.search("flow|quoted", str(getattr(error, "context", ""))):
        mark = getattr(error, "context_mark", mark)  # where it was opened says more than where it failed
    lines = text.splitlines() or [""]
    at = min(mark.line, len(lines) - 1) if mark else 0
    while at and not lines[at].strip():  # an error at the end of the file belongs to the last line written
        at -= 1
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    problem = f"{error.context}, {problem}" if problem.startswith("but ") else problem  # type: ignore[attr-defined]
    faults.add(at + 1, f"is not YAML: {problem}.{_hint(lines[at])}")


def _hint(line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        return " Indent with spaces, not tabs."
    match = _SIGN.match(line)
    if match:
        return quotes_hint(match.group("sign"))
    return " Put the text in quotes." if line.count(":") > 1 else ""

"""Tables as one line of text, after the data of Li & Liang 2021 (prefix tuning, arXiv:2101.00190, section 5.1).

    name[Blue Spice], area[riverside]               name : Blue Spice | area : riverside
    Aarhus | leaderName | Jacob_Bundsgaard && ...   | Aarhus : leaderName : Jacob Bundsgaard | ...
    [["Aarhus", "leaderName", "..."], ...]          likewise; so too a list of "s | p | o"

Ours: underscores become blanks, and the quotes around a value go, with what RDF writes behind them. A text that is in a
line already stays as it is.
"""

import re
from collections.abc import Iterable
from typing import Any

from promptlab.errors import DataError

_SLOT = re.compile(r"([^\[\],|]+)\[([^\[\]]+)\]\s*")
_BAR, _AND = re.compile(r"\s*\|\s+|\s+\|\s*"), re.compile(r"\s+&&\s+")
_QUOTED = re.compile(r'"(.*)"(?:@[\w-]+|\^\^\S+)?', re.DOTALL)
_FORMS = "Write name[value], name[value], or subject | property | object && ..."


def linearised(value: Any) -> str:
    """A meaning representation or triples as a line.

    Args:
        value: a text, or a list of triples, each a list of three texts or a text.

    Raises:
        DataError: it is neither.
    """
    if isinstance(value, list | tuple):
        return _line(_triple(each) for each in value)
    text = str(value).strip()
    if text.endswith("]") and not _SLOT.sub("", text).strip(", "):
        return " | ".join(f"{_plain(name)} : {_plain(of)}" for name, of in _SLOT.findall(text))
    if text and all(" : " in part for part in _BAR.split(text.removeprefix("|").strip())):
        return text
    return _line(_triple(each) for each in _AND.split(text))


def _line(triples: Iterable[tuple[str, ...]]) -> str:
    line = " ".join("| " + " : ".join(map(_plain, triple)) for triple in triples)
    if not line:
        raise DataError(f"an empty list of triples. {_FORMS}")
    return line


def _triple(value: Any) -> tuple[str, ...]:
    parts = _BAR.split(value.strip()) if isinstance(value, str) else value
    if isinstance(parts, list | tuple) and len(parts) == 3 and all(isinstance(part, str) and part for part in parts):
        return tuple(parts)
    shown = value if isinstance(value, str) else repr(value)
    raise DataError(f"'{shown[:80]}' is neither a meaning representation nor a triple. {_FORMS}")


def _plain(text: str) -> str:
    text = text.strip()
    quoted = _QUOTED.fullmatch(text)
    return " ".join((quoted.group(1) if quoted else text).replace("_", " ").split())

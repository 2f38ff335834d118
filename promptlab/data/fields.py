"""Fields of one raw row, under whichever name its source gives them."""

from collections.abc import Mapping
from typing import Any

from promptlab.errors import DataError


def text_of(row: Mapping[str, Any], *names: str) -> str:
    """The text of the first field that is there.

    Raises:
        DataError: none is there, or it holds no text.
    """
    name = _there(row, names)
    if name is None:
        looked = f" (looked for {', '.join(names)})" if len(names) > 1 else ""
        raise DataError(f"no field '{names[0]}'{looked}. Fields found: {', '.join(map(str, row)) or 'none'}.")
    value = row[name]
    if not isinstance(value, str):
        raise DataError(f"'{name}' is a {type(value).__name__}. Write a text.")
    return value


def texts_of(row: Mapping[str, Any], *names: str) -> list[str]:
    """The texts of the first list that is there; a text counts as a list of one; empty where none is there.

    Raises:
        DataError: it holds something else.
    """
    name = _there(row, names)
    value = [] if name is None else plain(row[name])
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"'{name}' is no list of texts ({value!r}). Write a list of texts.")
    return list(texts)


def plain(value: Any) -> Any:
    """A value without NumPy; None where it is missing."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return None if isinstance(value, float) and value != value else value


def _there(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if plain(row.get(name)) is not None), None)

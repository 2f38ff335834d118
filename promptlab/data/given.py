"""Rows as scikit-learn's callers hand them over, into what :func:`read_examples` reads.

one text          a mistake, unless it is the path of a file
a Dataset's slice (a dict of columns) becomes a list of rows
a NumPy array     a list
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from promptlab.data.files import KINDS, file_kind
from promptlab.errors import DataError


def rows_given(source: Any, labelled: bool | None, where: str) -> Any:
    """The source, rows apart.

    Args:
        source: whatever was given.
        labelled: False where labels are left unread; only then can a dict of columns be told from a row.
        where: what messages call it.

    Raises:
        DataError: it is one text that names no file.
    """
    if isinstance(source, str) and file_kind(Path(source)) not in KINDS:
        raise DataError(f"{where} is one text. Write a list of rows, [{source[:40]!r}], or the path of a file.")
    if labelled is False and isinstance(source, Mapping) and not any(isinstance(v, str) for v in source.values()):
        return [dict(zip(source, row, strict=True)) for row in zip(*source.values(), strict=True)]
    return source.tolist() if isinstance(source, np.ndarray) else source

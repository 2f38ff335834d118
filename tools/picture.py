"""Draws docs/show.svg: what ``promptlab show`` prints on a terminal, from a real run.

python tools/picture.py
"""

import os
import pty
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = ["promptlab", "show", "reviews", "--text", "A gorgeous, witty film."]
WIDTH = 100
TO = Path(__file__).parents[1] / "docs" / "show.svg"


def main() -> None:
    """Runs the command in a terminal of its own and writes the picture."""
    console = Console(record=True, width=WIDTH, file=StringIO())
    asked = " ".join(f'"{word}"' if " " in word else word for word in COMMAND)
    console.print(Text(f"$ {asked}"))
    console.print(Text.from_ansi(printed()))
    TO.parent.mkdir(exist_ok=True)
    TO.write_text(console.export_svg(title="promptlab show"), encoding="utf-8")


def printed() -> str:
    """What the command writes on a terminal, its colours included."""
    master, slave = pty.openpty()
    here = Path(sys.executable).parent / COMMAND[0]
    env = {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    child = subprocess.Popen([here, *COMMAND[1:]], stdout=slave, stderr=subprocess.DEVNULL, env=env)
    os.close(slave)
    parts = []
    try:
        while part := os.read(master, 65536):
            parts.append(part)
    except OSError:  # how Linux says that the other side has closed
        pass
    if child.wait():
        raise SystemExit(f"{' '.join(COMMAND)} ended with {child.returncode}")
    return b"".join(parts).decode().replace("\r\n", "\n").rstrip()


if __name__ == "__main__":
    main()

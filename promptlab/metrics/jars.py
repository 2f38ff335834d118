"""The two Java programs of the caption challenge (Chen et al. 2015, arXiv:1504.00325), as pycocoevalcap packs them.

    words     Stanford's PTBTokenizer 3.4.1, lower case, a text a line; the challenge drops its list of marks
    meteor    METEOR 1.5 (Denkowski & Lavie 2014), ``-l en -norm``: SCORE gives a row's counts, EVAL a score of counts

A mean over rows is no METEOR: counts are added up, then scored. Both programs are told to read UTF-8, since Java takes
the machine's own encoding otherwise.
"""

import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from promptlab.errors import MissingExtra

_TOKENIZER, _METEOR = "tokenizer/stanford-corenlp-3.4.1.jar", "meteor/meteor-1.5.jar"
_DROPPED = frozenset("'' ' `` ` -LRB- -RRB- -LCB- -RCB- . ? ! , : - -- ... ;".split())
_AT_ONCE = 100


def missing() -> str:
    """What has to be there before the programs can run, in words; empty where all of it is."""
    if find_spec("pycocoevalcap") is None:
        return "the package pycocoevalcap is not installed. Write pip install 'promptlab[text]'"
    return "" if shutil.which("java") else "there is no Java. Install a Java runtime, so that `java -version` answers"


def words(texts: Sequence[str]) -> list[list[str]]:
    """The tokens of texts by Stanford's tokenizer, punctuation dropped.

    Raises:
        MissingExtra: Java or the package is not there, or it failed.
    """
    jar = _jar(_TOKENIZER)
    command = _java("-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase")
    given = "\n".join(map(one_line, texts)).encode()
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    lines = done.stdout.decode().removesuffix("\n").split("\n")
    if done.returncode or len(lines) != len(texts):
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no word of why"]
        raise MissingExtra(f"Stanford's tokenizer gave {len(lines)} lines for {len(texts)} texts ({said[0]}).")
    return [[token for token in line.split() if token not in _DROPPED] for line in lines]


def one_line(text: str) -> str:
    """A text without line ends of any kind, at each of which Java would begin another."""
    return " ".join(text.splitlines())


class Meteor:
    """METEOR 1.5, running; reading its paraphrases takes it some seconds at the start.

    Raises:
        MissingExtra: Java or the package is not there, or it stopped.
    """

    def __init__(self) -> None:
        jar = _jar(_METEOR)
        command = _java("-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm")
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, cwd=jar.parent, text=True, encoding="utf-8", bufsize=1, **pipes)

    def __enter__(self) -> "Meteor":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def counts(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
        """What it counts in each row, ``(rows, 23)``."""
        return np.array([self._row(one, some) for one, some in zip(hypotheses, references, strict=True)])

    def scores(self, sums: np.ndarray) -> np.ndarray:
        """METEOR of sums of counts, ``(draws, 23)`` to ``(draws,)``; fractions."""
        found: list[float] = []
        for start in range(0, len(sums), _AT_ONCE):
            some = sums[start : start + _AT_ONCE]
            self._tell(" ||| ".join(["EVAL", *(" ".join(map(repr, row)) for row in some.tolist())]))
            found += [float(self._answer()) for _ in some]
            self._answer()  # the score of all of these together
        return np.array(found)

    def _row(self, hypothesis: str, references: Sequence[str]) -> list[float]:
        self._tell(" ||| ".join(["SCORE", *(_bare(one) for one in references), _bare(hypothesis)]))
        return [float(number) for number in self._answer().split()]

    def _tell(self, line: str) -> None:
        try:
            _open(self._process.stdin).write(f"{line}\n")
        except OSError:
            self._stopped()

    def _answer(self) -> str:
        return _open(self._process.stdout).readline().strip() or self._stopped()

    def _stopped(self) -> str:
        raise MissingExtra(
            "METEOR's Java program stopped without an answer; it asks for 2 GB of memory. Free some, or leave out meteor."
        )


def _open(pipe: Any) -> TextIO:
    found: TextIO = pipe
    return found


def _bare(text: str) -> str:
    return one_line(text).replace("|||", "").replace("  ", " ")


def _java(*words: str) -> list[str]:
    return [shutil.which("java") or "java", "-Dfile.encoding=UTF-8", *words]


def _jar(name: str) -> Path:
    if why := missing():
        raise MissingExtra(f"{why}.")
    spec = find_spec("pycocoevalcap")
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places or ())), name)

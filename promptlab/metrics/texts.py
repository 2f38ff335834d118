"""Texts scored by the names that a task's ``metric`` may give, each as the official script of its task prints it.

    e2e       bleu nist meteor rouge_l cider     tuetschek/e2e-metrics, measure_scores.py -p
    webnlg    webnlg_bleu webnlg_meteor          WebNLG/GenerationEval: case counts; ``webnlg_legacy`` as its BLEU pads
              ter chrf                           by sacrebleu
    xsum      rouge1 rouge2 rougeL               rouge_score, stemmed; mean over rows

A metric that cannot be had here (METEOR without Java) is None and ``missing`` says why; none stands in for another.
Intervals: rows are drawn with replacement, the same draws for all metrics, and the middle 95 % is given.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec

import numpy as np

from promptlab.errors import DataError, SettingError, did_you_mean
from promptlab.metrics import captions, jars, mteval, ptb, summaries, translation
from promptlab.metrics.named import TEXT_METRICS

JAVA, OWN = "java", "own"
WORDS = {JAVA: "Stanford's PTBTokenizer 3.4.1", OWN: "promptlab's Treebank words"}
"""What cuts the words of ROUGE-L, CIDEr and METEOR."""


@dataclass(frozen=True)
class Scored:
    """One metric of a set of texts.

    Args:
        value: a fraction (NIST and CIDEr grow beyond 1); None where it cannot be had.
        low: the interval's lower end; None where no interval was asked, or none is cheap.
        high: its upper end.
        note: how it was had where there is a choice, or why it is missing.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def score_texts(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    names: Sequence[str],
    *,
    webnlg_legacy: bool = False,
) -> dict[str, float | None]:
    """Metrics of texts.

    Args:
        hypotheses: what was written, a text a row; an empty one counts as nothing right.
        references: the right texts of each row, at least one.
        names: of ``TEXT_METRICS``.
        webnlg_legacy: see ``measure``.

    Returns:
        By name, a fraction; None where it cannot be had, which ``missing`` explains.

    Raises:
        SettingError: no such metric.
        DataError: no rows, other counts on the two sides, or a row without references.
    """
    found = measure(hypotheses, references, names, webnlg_legacy=webnlg_legacy)
    return {name: scored.value for name, scored in found.items()}


def measure(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    names: Sequence[str],
    *,
    webnlg_legacy: bool = False,
    draws: int = 0,
    seed: int = 0,
    words: str = "",
) -> dict[str, Scored]:
    """Metrics of texts, each with how it was had and, on request, an interval.

    Args:
        hypotheses: what was written, a text a row.
        references: the right texts of each row, at least one.
        names: of ``TEXT_METRICS``.
        webnlg_legacy: whether references that a row lacks count as empty texts in WebNLG's BLEU, as its script has
            them: nothing is then too short. Published figures have it so.
        draws: of rows with replacement, for the intervals; 0: none.
        seed: of the draws.
        words: ``java`` or ``own``; by default Java's wherever Java is.

    Raises:
        SettingError: no such metric, or no such words.
        DataError: no rows, other counts on the two sides, or a row without references.
        MissingExtra: ``words="java"`` where there is none, or a Java program that stopped.
    """
    for name in names:
        if name not in TEXT_METRICS:
            known = ", ".join(TEXT_METRICS)
            raise SettingError(f"no metric of texts '{name}'.{did_you_mean(name, TEXT_METRICS)} Known: {known}.")
    if words not in ("", *WORDS):
        raise SettingError(f"words={words}: no such words. Write {' or '.join(WORDS)}.")
    _check(hypotheses, references)
    sides = _Sides(hypotheses, references, webnlg_legacy, words or (OWN if jars.missing() else JAVA))
    sides.drawn = np.random.default_rng(seed).multinomial(len(hypotheses), sides.evenly, size=draws).astype(float)
    return {name: sides.scored(name) for name in names}


def missing(name: str) -> str:
    """Why a metric cannot be had on this machine, and what to do; empty where it can."""
    metric = TEXT_METRICS[name]
    for package in metric.needs:
        if find_spec(package) is None:
            return f"the package {package} is not installed. Write pip install 'promptlab[text]'"
    return jars.missing() if metric.java else ""


def _check(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not hypotheses or len(hypotheses) != len(references):
        raise DataError(
            f"{len(hypotheses)} hypotheses, but references for {len(references)} inputs. Write one hypothesis an input."
        )
    for row, some in enumerate(references, start=1):
        if not any(one.strip() for one in some):
            raise DataError(f"input {row} has no reference. Write at least one, or leave the input out.")


@dataclass
class _Sides:
    """Both sides, and what several metrics share, worked out once.

    Args:
        said: a text a row.
        right: the references of each row; empty ones do not count.
        legacy: WebNLG's padding.
        words: ``java`` or ``own``.
        drawn: how often each row is in each draw, ``(draws, rows)``.
    """

    said: Sequence[str]
    right: Sequence[Sequence[str]]
    legacy: bool
    words: str
    drawn: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        self.said = [jars.one_line(one).strip() for one in self.said]
        self.right = [[jars.one_line(one).strip() for one in some if one.strip()] for some in self.right]

    @property
    def evenly(self) -> np.ndarray:
        return np.full(len(self.said), 1 / len(self.said))

    def scored(self, name: str) -> Scored:
        if why := missing(name):
            return Scored(None, note=why)
        found, note = self._found(name)
        if isinstance(found, float):
            return Scored(found, note="; ".join(filter(None, [note, "no interval" if len(self.drawn) else ""])))
        if len(found) == 1:
            return Scored(float(found[0]), note=note)
        low, high = np.quantile(found[1:], [0.025, 0.975]).tolist()
        return Scored(float(found[0]), low, high, note)

    def _found(self, name: str) -> tuple[np.ndarray | float, str]:
        """The metric of all rows and behind it of each draw, or of all rows alone; and how it was had."""
        if name in ("bleu", "nist"):
            return self._of({"bleu": mteval.bleu, "nist": mteval.nist}[name], self.counts), ""
        if name == "webnlg_bleu":
            padded = _padded(self.right) if self.legacy else self.right
            note = "missing references count as empty" if self.legacy else "missing references do not count"
            return self._of(mteval.cased_bleu, mteval.count(self.said, padded, cased=True)), note
        if name in ("rouge_l", "cider"):
            return self._of(_mean, {"rouge_l": captions.rouge_l, "cider": captions.cider}[name](*self.cut)), self.cutter
        if name == "meteor":
            return self._meteor(*self.cut), self.cutter
        if name == "webnlg_meteor":
            return self._meteor(_nltk(self.said), [_nltk(some) for some in self.right]), "NLTK's words"
        if name in summaries.KINDS:
            return self._of(_mean, summaries.rouge(name, self.said, self.right)), ""
        return {"ter": translation.ter, "chrf": translation.chrf}[name](self.said, self.right), ""

    def _of(self, score: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
        rows = rows if rows.ndim == 2 else np.column_stack([rows, np.ones(len(rows))])
        return score(np.concatenate([rows.sum(axis=0, keepdims=True), self.drawn @ rows]))

    def _meteor(self, said: Sequence[str], right: Sequence[Sequence[str]]) -> np.ndarray:
        with jars.Meteor() as meteor:
            rows = meteor.counts(said, right)
            drawn = meteor.scores(self.drawn @ jars.summable(rows))
            return np.concatenate([[meteor.whole(rows)], drawn])

    @property
    def cutter(self) -> str:
        return f"words: {WORDS[self.words]}"

    @cached_property
    def counts(self) -> np.ndarray:
        return mteval.count(self.said, self.right)

    @cached_property
    def cut(self) -> tuple[list[str], list[list[str]]]:
        """Both sides as Treebank words joined by blanks; all references in one go, as the script has them."""
        cut = jars.words if self.words == JAVA else ptb.lines
        every = [one for some in self.right for one in some]
        # an empty line between the two, so that neither is read as the other's next
        tokens = iter([" ".join(line) for line in cut([*every, "", *self.said])])
        right = [[next(tokens) for _ in some] for some in self.right]
        next(tokens)
        return list(tokens), right


def _mean(sums: np.ndarray) -> np.ndarray:
    found: np.ndarray = sums[:, 0] / sums[:, 1]
    return found


def _padded(right: Sequence[Sequence[str]]) -> list[list[str]]:
    most = max(map(len, right))
    return [[*some, *[""] * (most - len(some))] for some in right]


def _nltk(texts: Sequence[str]) -> list[str]:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    cut = NLTKWordTokenizer()
    return [" ".join(cut.tokenize(text)) for text in texts]

"""A task: what is asked of an example, and every pattern and verbalizer to ask it with."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import yaml

from promptlab.errors import DataError, Fault, PatternError, SettingError, did_you_mean
from promptlab.language.example import Example
from promptlab.language.letters import GENERATED, generated, letters, lists, put_in
from promptlab.language.pattern import Pattern, pattern_faults
from promptlab.language.range import Range
from promptlab.language.target import TEXT_METRICS, metric_fault
from promptlab.language.verbalizer import Verbalizer, word_faults

_WHOLE = re.compile(r"[+-]?\d+")
_PLAIN = re.compile(r"\w[\w-]*")
_CHOICES = ("all", "first", "each")
_METRICS = ("accuracy",)


@dataclass(frozen=True)
class PVP:
    """A pattern with a verbalizer: one question and the words that answer it."""

    pattern: Pattern
    verbalizer: Verbalizer
    name: str = ""  # the pattern's, or "pattern/verbalizer" where the pattern has several

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.pattern.name)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is asked.

    Args:
        name: names the file and the results.
        inputs: the data's column of each input, by the name that patterns use.
        labels: in the order of the data's ids; ``low`` and ``high`` under a ``range``; empty where rows bring their
            own candidates or a text is generated.
        pvps: every pattern with every verbalizer it is to be used with; the first is what single models use.
        about: one question in plain words.
        instruction: stands before demonstrations; ``about`` where it is left out.
        values: label of each value that the data may hold, the names themselves included (ids are not).
        metrics: the first is a run's score; left out, the Pearson correlation under a ``range``, BLEU for texts.
        dataset: where the hub has it (``path``, ``name``, splits, ``columns``); ``folders`` that may hold it.
        prepare: a registered step that examples go through first.
        group: the column by which rows are drawn together.
        candidates: the list field that holds a row's candidate answers.
        parts: the column by whose values metrics of texts are given apart.
        range: given for regression.
    """

    name: str
    inputs: Mapping[str, str]
    labels: tuple[str, ...]
    pvps: tuple[PVP, ...]
    about: str = ""
    instruction: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = _METRICS
    dataset: Mapping[str, Any] | None = None
    prepare: str | None = None
    group: str | None = None
    candidates: str | None = None
    parts: str | None = None
    range: Range | None = None

    def __post_init__(self) -> None:
        names = {label: label for label in self.labels if self.range is None}
        if self.metrics == _METRICS and (self.range is not None or self.generates):
            object.__setattr__(self, "metrics", self.range.metrics[:1] if self.range else TEXT_METRICS[:1])
        object.__setattr__(self, "values", names | dict(self.values))
        object.__setattr__(self, "instruction", self.instruction or self.about)
        object.__setattr__(self, "pvps", tuple(map(self._settled, self.pvps)))

    @property
    def generates(self) -> bool:
        """Whether its patterns ask for a text and not for a label."""
        return bool(self.pvps) and self.pvps[0].pattern.generates

    @property
    def fixed(self) -> bool:
        """Whether all rows have the same labels; their words may differ yet (COPA)."""
        return self.candidates is None

    @property
    def per_example(self) -> bool:
        """Whether rows have words of their own: candidates, or label words that name fields."""
        return not self.fixed or any(pvp.verbalizer.per_example for pvp in self.pvps)

    @property
    def outputs(self) -> int:
        """Numbers that answer a row: one a label, or the one of a regression; 0 where rows bring their own answers."""
        return len(self.labels) if self.range is None else 1

    def number(self, example: Example) -> float:
        """The right number of a row, under a ``range``.

        Raises:
            DataError: there is no label, or it is no number of the range.
            SettingError: the task asks for no numbers.
        """
        if self.range is None:
            raise SettingError(f"'{self.name}' asks for labels, not for numbers. Write labels: {{range: [0, 5]}}.")
        if example.label is None:
            raise DataError(f"no label. Write a number from {self.range}.")
        return float(self.range.read(example.label))

    def choices(self, example: Example) -> tuple[str, ...]:
        """What can be answered for a row: the labels, or the row's own candidates.

        Raises:
            DataError: the list of candidates is missing, empty, or holds an empty or a repeated one.
        """
        if self.candidates is None:
            return self.labels
        listed = example.fields.get(self.candidates)
        if not isinstance(listed, tuple):
            found = "no" if listed is None else "a text in"
            raise DataError(f"{found} field '{self.candidates}'. Write a list of candidate answers there.")
        if fault := _candidate_fault(tuple(item.strip() for item in listed)):
            raise DataError(f"'{self.candidates}' {fault}")
        return tuple(item.strip() for item in listed)

    def gold(self, example: Example) -> int:
        """The number of the right choice; of the first that is named, where several are right.

        Raises:
            DataError: there is no label, or it is not among the choices.
        """
        return self.golds(example)[0]

    def golds(self, example: Example) -> tuple[int, ...]:
        """The numbers of all right choices (``Example.right``), in the order in which the example names them.

        Raises:
            DataError: there is no label, or one is not among the choices.
        """
        choices = self.choices(example)
        if not example.right:
            raise DataError(f"no label. Write one of {', '.join(choices)}.")
        for answer in example.right:
            if answer.strip() not in choices:
                what = f"the candidates ('{self.candidates}')" if self.candidates else "the labels"
                near = did_you_mean(answer, choices)
                raise DataError(f"'{answer}' is not among {what}: {', '.join(choices)}.{near} Write one of these.")
        return tuple(choices.index(answer.strip()) for answer in example.right)

    def label_of(self, value: object) -> str:
        """The label that a value of the data stands for: a name, a key of the mapping, an id, a name in other case.

        Ids count from 0 in the order of ``labels``; they are not read where a name or a key is itself a number.

        Raises:
            DataError: the value stands for no label.
        """
        text = _as_text(value)
        if self.range is not None:
            return self.range.read(text)
        if text in self.values or not self.labels:
            return self.values.get(text, text)
        numbered = any(_WHOLE.fullmatch(known) for known in self.values)
        ids = {} if numbered else {str(i): label for i, label in enumerate(self.labels)}
        if text in ids:
            return ids[text]
        same = {label for known, label in self.values.items() if known.casefold() == text.casefold()}
        if len(same) == 1:
            return same.pop()
        known = ", ".join(self.values) + (f" (or their ids, 0 to {len(ids) - 1})" if ids else "")
        near = did_you_mean(text, self.values)
        raise DataError(f"label '{text}' is none of the labels of '{self.name}': {known}.{near}")

    def pvp(self, name: str) -> PVP:
        """The pair of that name.

        Raises:
            PatternError: no such pair, or a pattern that has several.
        """
        found = self._named(name)
        if len(found) > 1:
            raise PatternError(f"pattern '{name}' of '{self.name}' has several verbalizers. Write {_either(found)}.")
        return found[0]

    def select(self, which: str = "all") -> tuple[PVP, ...]:
        """Pairs by text: ``all``, ``first``, or names joined by ``+`` (a pattern's name stands for all its pairs).

        ``letters`` and ``modernbert-letters`` name patterns that any task with labels has; ``all`` and ``first`` do
        without them, ``all+letters`` does not.

        Raises:
            PatternError: no such pair.
        """
        groups = {"all": self.pvps, "first": self.pvps[:1]}
        names = [name.strip() for name in which.split("+")]
        chosen = [pvp for name in names for pvp in groups.get(name) or self._named(name)]
        return tuple({pvp.name: pvp for pvp in chosen}.values())

    def _named(self, name: str) -> list[PVP]:
        found = [pvp for pvp in self.pvps if name in (pvp.name, pvp.pattern.name)]
        lettered = () if self.generates or self.range else GENERATED
        if not found and name not in lettered:
            names = [*dict.fromkeys([*(pvp.name for pvp in self.pvps), *lettered])]
            near = did_you_mean(name, names)
            raise PatternError(f"no pattern '{name}' in '{self.name}'.{near} Known: {', '.join(names)}.")
        return found or [self._lettered(name)]

    def _lettered(self, name: str) -> PVP:
        inputs = [each for each in self.inputs if each != self.candidates]
        pattern, verbalizer = generated(name, inputs, self.about, self.labels, self._listed)
        return self._settled(PVP(pattern, verbalizer))

    def _settled(self, pvp: PVP) -> PVP:
        return replace(pvp, pattern=put_in(pvp.pattern, self.labels, self._listed, self.candidates))

    @property
    def _listed(self) -> Mapping[str, tuple[str, ...]]:
        """The words that ``{labels}`` lists."""
        spoken = (pvp.verbalizer for pvp in self.pvps if pvp.verbalizer.name == "default")
        return next((verbalizer.words for verbalizer in spoken), {})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the task says, whatever its file's layout; part of a run's identity."""
        return hashlib.sha256(json.dumps(self.content(), ensure_ascii=False).encode()).hexdigest()

    def content(self) -> dict[str, Any]:
        """The task as a pattern file's keys and values, texts only."""
        whole = {
            "task": self.name,
            "about": self.about,
            "instruction": self.instruction if self.instruction != self.about else "",
            "dataset": _plain(self.dataset),
            "prepare": self.prepare,
            "group": self.group,
            "candidates": self.candidates,
            "parts": self.parts,
            "inputs": dict(self.inputs),
            "labels": self._written_labels(),
            "metric": list(self.metrics),
            "verbalizers": self._written_verbalizers(),
            "patterns": self._written_patterns(),
        }
        return {key: value for key, value in whole.items() if value}

    def to_yaml(self) -> str:
        """The task as a pattern file, which reads back as an equal task."""
        return yaml.safe_dump(self.content(), sort_keys=False, allow_unicode=True, width=1000)

    def _written_labels(self) -> Any:
        if self.range is not None:
            return self.range.written()
        return dict(self.values) if len(self.values) > len(self.labels) else list(self.labels)

    def _written_verbalizers(self) -> dict[str, Any]:
        listed = {pvp.verbalizer.name: pvp.verbalizer.words for pvp in self.pvps if pvp.verbalizer.words}
        return {name: {label: _one_or_list(each) for label, each in words.items()} for name, words in listed.items()}

    def _written_patterns(self) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for pvp in self.pvps:
            pattern = pvp.pattern
            entry = written.setdefault(pattern.name, {"pattern": pattern.source, "verbalizer": []})
            entry["verbalizer"].append(pvp.verbalizer.name)
            if pattern.when:
                entry["when"] = dict(pattern.when)
            if not pvp.verbalizer.words:
                entry.pop("verbalizer")
        return written

    @classmethod
    def from_parts(
        cls,
        patterns: Sequence[str] | Mapping[str, str],
        verbalizer: Mapping[str, str | Sequence[str]] | None = None,
        labels: Sequence[str] | None = None,
        about: str = "",
        name: str = "custom",
        metrics: Sequence[str] = (),
    ) -> "Task":
        """A task without a file; its inputs are the fields that the patterns use, read from columns of the same name.

        Args:
            patterns: pattern texts, named ``p1``, ``p2``, ... in order, or texts by name.
            verbalizer: a word or several for each label; left out where the patterns ask for a ``{target}``.
            labels: the labels in the order of the data's ids; by default the verbalizer's order.
            about: one question in plain words.
            name: names the task in results.
            metrics: the first is a run's score; accuracy where they are left out, or BLEU where texts are written.

        Raises:
            PatternError: holds every fault of the patterns and of the verbalizer.
        """
        texts = [patterns] if isinstance(patterns, str) else patterns
        named = dict(texts) if isinstance(texts, Mapping) else {f"p{i}": text for i, text in enumerate(texts, start=1)}
        given = (verbalizer or {}).items()
        words = {str(label): (each,) if isinstance(each, str) else tuple(each) for label, each in given}
        order = tuple(words) if labels is None else tuple(map(str, labels))
        generates = verbalizer is None and labels is None and any("{target}" in text for text in named.values())
        _refuse_faulty(name, named, None if generates else words, order, metrics)
        parsed = [Pattern.parse(each, source) for each, source in named.items()]
        spoken = Verbalizer("none" if generates else "default", {label: words[label] for label in order})
        inputs = dict.fromkeys(used for pattern in parsed for used in pattern.fields) | dict.fromkeys(spoken.fields)
        pvps = tuple(PVP(pattern, letters(order) if lists(pattern.parts) else spoken) for pattern in parsed)
        said: dict[str, Any] = {"about": about, **({"metrics": tuple(metrics)} if metrics else {})}
        return cls(name=name, inputs={each: each for each in inputs}, labels=order, pvps=pvps, **said)


def name_faults(name: str) -> list[str]:
    """What is wrong with the name of a task, pattern or verbalizer, in words."""
    if name in _CHOICES:
        return [f"'{name}' chooses among patterns (patterns={name}). Choose another name."]
    if not _PLAIN.fullmatch(name):
        return [f"'{name}' is not a plain name. Write letters, digits, - and _ only."]
    return []


def _refuse_faulty(
    name: str,
    patterns: Mapping[str, str],
    words: Mapping[str, Sequence[str]] | None,
    labels: Sequence[str],
    metrics: Sequence[str],
) -> None:
    # no words: the task asks for texts
    generates = words is None
    faults = name_faults(name) + list(filter(None, (metric_fault(each, generates) for each in metrics)))
    if not patterns:
        faults.append("there is no pattern. Write at least one, such as '{text} It was {mask}.'.")
    if len(labels) < 2 and not generates:
        faults.append("there are fewer than two labels. Give the verbalizer a word for each of two labels or more.")
    for each, source in patterns.items():
        faults += [f"pattern '{each}': {fault}" for fault in name_faults(each)]
        faults += [f"pattern '{each}': '{source}': {fault}" for fault in pattern_faults(source, None, generates)]
    faults += [f"the verbalizer {fault}" for _, fault in (word_faults(words, labels) if words is not None else ())]
    if faults:
        raise PatternError([Fault(f"task '{name}'", None, fault) for fault in faults])


def _candidate_fault(choices: Sequence[str]) -> str:
    if not choices:
        return "is an empty list. Write at least one candidate answer."
    if not all(choices):
        return f"has an empty candidate ({choices.index('') + 1} of {len(choices)}). Write its text, or leave it out."
    twice = next((one for at, one in enumerate(choices) if one in choices[:at]), None)
    return "" if twice is None else f"has '{twice}' twice. Write each candidate once."


def _either(pvps: Sequence[PVP]) -> str:
    return " or ".join(pvp.name for pvp in pvps)


def _one_or_list(words: tuple[str, ...]) -> Any:
    return words[0] if len(words) == 1 else list(words)


def _plain(value: Any) -> Any:
    return {key: _plain(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def _as_text(value: object) -> str:
    # a table with empty cells turns whole numbers into floats
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()

"""Language-model training on plain text: a backbone brought closer to it (Gururangan et al. 2020, arXiv:2004.10964).

    text -> rows of whole paragraphs; one in twenty, 400 at most, is held out
    each step: rows of ``batch`` tokens
        masked    whole words, 15 % of the tokens: predict them                   causal    predict every next token
        only asked positions go through the head
    AdamW, learning rate up over the first share of the budget, level, and down to zero over its second half
    every few minutes: judge on the held-out rows, write a checkpoint
    at the end: a folder that loads as a backbone, whole or as a difference over its base

A training that was killed goes on from its last checkpoint when the same call is made again.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.backbone.catalog import locate
from promptlab.backbone.device import generator
from promptlab.backbone.difference import ABOUT
from promptlab.backbone.files import fingerprint
from promptlab.backbone.newhead import grow_head
from promptlab.backbone.passages import read_passages
from promptlab.backbone.predict import learn_from
from promptlab.data.corpus import digest, paragraphs
from promptlab.errors import BackboneError, DataError, SettingError, TrainingError, did_you_mean
from promptlab.folders import place_of
from promptlab.progress import track
from promptlab.registry import TUNINGS
from promptlab.spec import parse_spec
from promptlab.training import adapted
from promptlab.training.asking import Asker
from promptlab.training.budget import Budget, budget, read_tokens, slope
from promptlab.training.feed import Feed, held_out, training_rows
from promptlab.training.learners import Learner, learner_of
from promptlab.training.optim import AdamW
from promptlab.training.sitting import Sitting, Tally

log = logging.getLogger("promptlab")
FEWEST = 40  # rows of a text, so that two at least are held out
EARLIEST = 1e-3  # share of a training that counts as done at its first step, so that it moves
PATIENCE = 10  # steps in a row without a finite gradient


@dataclass(frozen=True)
class Settings:
    """How a backbone is adapted.

    Args:
        tuning: ``full``, or ``lora:r=64,targets=all``.
        tokens: of text to read (``20M``), or None.
        minutes: of training, or None; one pass over the text where neither is given.
        length: the most tokens of a row.
        batch: tokens a step.
        mask_rate: share of a masked model's tokens that are asked for.
        warmup: share of the training over which the learning rate rises.
        seed: of the order of rows and the choice of words.
        every: seconds from one checkpoint to the next.
    """

    tuning: str = "full"
    tokens: int | str | None = None
    minutes: float | None = None
    length: int = 128
    batch: int = 8192
    mask_rate: float = 0.15
    warmup: float = 0.05
    seed: int = 0
    every: float = 300.0

    def __post_init__(self) -> None:
        for name, low, high in (("length", 8, 2**20), ("batch", 8, 2**30), ("every", 0, 1e9)):
            if not low <= getattr(self, name) <= high:
                raise SettingError(f"{name}={getattr(self, name)} cannot be. Write a number from {low} on.")
        for name, most in (("mask_rate", 1.0), ("warmup", 0.5)):
            if not 0 < getattr(self, name) < most:
                raise SettingError(f"{name}={getattr(self, name)} cannot be. Write a share between 0 and {most:g}.")
        budget(self.tokens, self.minutes, 1)


def adapt(
    texts: Sequence[str | Path] | str | Path,
    backbone: str,
    out: str | Path,
    settings: Settings | None = None,
    *,
    column: str | None = None,
    difference: bool = False,
    new_head: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    report: Callable[[Mapping[str, float]], None] = lambda point: None,
    **changed: Any,
) -> dict[str, Any]:
    """Trains a backbone on text and writes the result.

    Args:
        texts: files (``Path``) with a paragraph a line or a column of them, or paragraphs themselves (``str``).
        backbone: a name, as :func:`~promptlab.backbone.backbone.load_backbone` takes it.
        out: a new folder, or one in which the same training was begun.
        settings: how; full weights and one pass by default.
        column: which column of jsonl, csv, tsv or parquet; ``text`` by default.
        difference: write only what has changed over the base, in int8 or low rank.
        new_head: grow a language-model head where the model has none.
        device: to train on.
        dtype: number format to train in.
        report: told what the held-out rows say: ``tokens``, ``seconds``, ``loss`` (nats a token), ``accuracy``.
        changed: settings by name, in place of a ``Settings``: ``adapt(Path("pool.txt"), "mini", "mine", minutes=30)``.

    Returns:
        what ``adapt.json`` in the folder says.

    Raises:
        DataError: a text that cannot be read, or too little of it.
        BackboneError: the backbone cannot be loaded, or has no head and ``new_head`` is not set.
        SettingError: a setting that cannot be.
        OutputError: the folder holds something else, or cannot be written.
        TrainingError: the gradients are not finite any more.
    """
    how, listed = _settings(settings, changed), [texts] if isinstance(texts, str | Path) else list(texts)
    learner = learner_of(TUNINGS.build(*_spec(how.tuning)))
    sitting = Sitting(place_of(out, ABOUT))
    told = {"backbone": backbone, "fingerprint": fingerprint(locate(backbone)), "text": digest(listed)}
    wanted = {**asdict(how), **told, "column": column, "difference": difference, "new_head": new_head, "dtype": dtype}
    wanted["tokens"] = None if how.tokens is None else read_tokens(how.tokens)
    done = adapted.finished(sitting.place, wanted)
    if done is not None:
        log.info("%s is finished; nothing to do", out)
        return done
    exact = "float32" if dtype == "auto" else dtype  # small updates are lost in half formats
    model = load_backbone(backbone, device, exact, allow_new_head=new_head)
    if model.kind == "seq2seq":
        raise BackboneError(
            f"{backbone} is an encoder-decoder, which learns from pairs of texts and not from plain text. Write a "
            "masked or a causal model, or fit a task with {target}."
        )
    base = adapted.base_note(model, sitting.place) if difference else None
    if not adapted.begun(sitting.place, wanted):
        sitting.begin({"settings": wanted})
    length = min(how.length, model.max_length)
    passages = sitting.passages(model, lambda: read_passages(paragraphs(listed, column), model, length))
    if len(passages) < FEWEST:
        raise DataError(
            f"the text fills {len(passages)} rows of {length} tokens, and {FEWEST} are the least to train and judge "
            "on. Write more text."
        )
    if model.new_head:
        grow_head(model, np.bincount(passages.ids, minlength=model.vocab)[: model.vocab])
    until = budget(how.tokens, how.minutes, int(passages.sizes[training_rows(len(passages))].sum()))
    asker = Asker(model, passages, how.mask_rate)
    state, tally = Training(asker, how, until, sitting, report).run(learner)
    text = [one.name if isinstance(one, Path) else "paragraphs given" for one in listed]
    facts = {"settings": wanted, "texts": sorted(set(text)), **asdict(tally)}
    with learner.holding(model, state):
        return adapted.write(sitting, model, facts, base, learner.factors(model, state), passages)


@dataclass
class Training:
    """A training as it runs.

    Args:
        asker: the text, as questions to the backbone.
        how: settings.
        until: when it ends.
        sitting: where it is kept.
        report: told what the held-out rows say.
    """

    asker: Asker
    how: Settings
    until: Budget
    sitting: Sitting
    report: Callable[[Mapping[str, float]], None]

    def run(self, learner: Learner) -> tuple[dict[str, Tensor], Tally]:
        """Trains to the end of the budget: the learnt tensors, and what happened."""
        backbone = self.asker.backbone
        with learner.learning(backbone, generator(f"adapt {self.how.seed}")) as tensors:
            optimiser = AdamW(learner.groups(backbone, tensors))
            tally = _resumed(self.sitting, tensors, optimiser) or Tally()
            self._judge(tally)
            self._steps(tensors, optimiser, tally)
            self._judge(tally)
            self._save(tensors, optimiser, tally)
            return {name: one.detach().clone() for name, one in tensors.items()}, tally

    def _steps(self, tensors: Mapping[str, Tensor], optimiser: AdamW, tally: Tally) -> None:
        feed, lost = self._feed(tally), 0
        began, saved = time.monotonic() - tally.seconds, time.monotonic()
        with track("adapt", total=self.until.total) as advance:
            shown = 0
            while self.until.share(tally.tokens, tally.seconds) < 1:
                advance(self.until.done(tally.tokens, tally.seconds) - shown)
                shown = self.until.done(tally.tokens, tally.seconds)
                lost = 0 if self._step(feed, optimiser, tally) else lost + 1
                tally.seconds = time.monotonic() - began
                _check_finite(lost, tally)
                if time.monotonic() - saved >= self.how.every:
                    self._judge(tally)
                    self._save(tensors, optimiser, tally)
                    saved = time.monotonic()
            advance(self.until.total - shown)

    def _step(self, feed: Feed, optimiser: AdamW, tally: Tally) -> bool:
        """One update; whether its gradient was finite."""
        random = np.random.default_rng([self.how.seed, tally.steps])
        rows = feed.next()
        questions = self.asker.questions(rows, random)
        share = 1 / max(1, sum(int(one.asked.sum()) for one in questions))
        optimiser.zero_grad()
        with _half(self.asker.backbone):
            losses = [
                learn_from(self.asker.backbone, batch, places, ids, share)
                for batch, places, ids in self.asker.batches(questions)
            ]
        norms = optimiser.norms()
        finite = norms.isfinite() & torch.stack(losses).sum().isfinite()
        done = self.until.share(tally.tokens + self.how.batch // 2, tally.seconds)
        factor = slope(max(done, EARLIEST), self.how.warmup)
        optimiser.step(factor, norms, finite)
        tally.steps, tally.tokens = tally.steps + 1, tally.tokens + int(self.asker.passages.sizes[rows].sum())
        tally.passed, tally.at = feed.passed, feed.at
        return bool(finite.all())

    def _feed(self, tally: Tally) -> Feed:
        passages = self.asker.passages
        return Feed(
            training_rows(len(passages)), passages.lengths, self.how.batch, self.how.seed, tally.passed, tally.at
        )

    def _judge(self, tally: Tally) -> None:
        if tally.curve and tally.curve[-1]["tokens"] == tally.tokens:
            return
        found = self.asker.judged(held_out(len(self.asker.passages)))
        tally.curve.append({"tokens": tally.tokens, "seconds": round(tally.seconds, 1), **found})
        self.report(tally.curve[-1])

    def _save(self, tensors: Mapping[str, Tensor], optimiser: AdamW, tally: Tally) -> None:
        self.sitting.save({**_prefixed("w.", tensors), **_prefixed("o.", optimiser.state())}, tally)


def _half(backbone: Backbone) -> AbstractContextManager[Any]:
    """On CUDA the forward runs in bfloat16 over weights that stay as they are."""
    wanted = backbone.device.type == "cuda" and backbone.dtype == torch.float32
    return torch.autocast("cuda", torch.bfloat16) if wanted else nullcontext()


def _check_finite(lost: int, tally: Tally) -> None:
    if lost == PATIENCE:
        raise TrainingError(
            f"the gradients are not finite since step {tally.steps - lost + 1}. Write a smaller lr (-t full:lr=...) "
            "and a new folder."
        )


def _resumed(sitting: Sitting, tensors: Mapping[str, Tensor], optimiser: AdamW) -> Tally | None:
    found = sitting.load()
    if found is None:
        return None
    state, tally = found
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(state[f"w.{name}"])
    optimiser.load({key.removeprefix("o."): one for key, one in state.items() if key.startswith("o.")})
    return tally


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": one for name, one in tensors.items()}


def _settings(settings: Settings | None, changed: Mapping[str, Any]) -> Settings:
    known = [one.name for one in fields(Settings)]
    for name in changed:
        if name not in known:
            raise SettingError(f"adapt has no setting '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}.")
    return replace(settings or Settings(), **changed)


def _spec(text: str) -> tuple[str, dict[str, str]]:
    spec = parse_spec(text)
    return spec.name, dict(spec.settings)

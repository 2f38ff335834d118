"""Which patterns a method asks: by name, the first, or all that the backbone can use; and what becomes of their slots.

    {soft:It was}    learnt under a tuning of soft tokens, else read as its words
    {soft:5}         learnt likewise; under another tuning left out, and the row says so

Where nothing learns, slots without words are refused.
"""

from collections.abc import Sequence

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.encode import Encoder
from promptlab.backbone.slots import slots
from promptlab.backbone.soft import SoftEncoder
from promptlab.errors import BackboneError, SettingError
from promptlab.language.task import PVP, Task
from promptlab.tuning.tuning import Tuning
from promptlab.tuning.words import Words


def usable(task: Task, backbone: Backbone, choice: str, numbers: bool = False) -> tuple[Sequence[PVP], list[str]]:
    """Patterns to ask, and the notes a row should carry.

    Args:
        task: whose patterns.
        backbone: a causal one can only use patterns without a field after the mask.
        choice: ``first``, ``all``, or names joined by ``+``.
        numbers: whether the method can answer with a number between two label words.

    Raises:
        BackboneError: none is usable, or one that was asked for by name is not.
        SettingError: the task has nothing to choose from, or a pattern is for some rows only (``when``).
    """
    labelled(task, numbers)
    if backbone.kind != "causal":
        return unconditional(task, task.select(choice)), []
    chosen = task.select("all" if choice == "first" else choice)
    good = [pvp for pvp in chosen if pvp.pattern.mask_last]
    skipped = [pvp.name for pvp in chosen if not pvp.pattern.mask_last]
    if not good or (skipped and choice not in ("first", "all")):
        raise BackboneError(
            f"{task.name}: a causal backbone reads only what stands before the mask, so {_and(skipped)} cannot be "
            "used. Write a pattern whose {mask} comes after every field."
        )
    notes = [f"skipped {_and(skipped)}: a field after the mask"] if skipped else []
    return unconditional(task, good[:1] if choice == "first" else good), notes


def unconditional(task: Task, pvps: Sequence[PVP]) -> Sequence[PVP]:
    """The same patterns, all of which may be asked of every row.

    Raises:
        SettingError: one says ``when``, so that other rows could not be answered.
    """
    some = [pvp.name for pvp in pvps if pvp.pattern.when]
    if some:
        raise SettingError(
            f"{task.name}: {_and(some)} would be asked of some rows only (when:), and every row is asked all patterns. "
            "Write other patterns=, or one pattern with a field that holds what differs from row to row, as copa's "
            "{link} does."
        )
    return pvps


def refuse_slots(pvps: Sequence[PVP], backbone: Backbone, method: str) -> None:
    """Refuses soft slots without words where nothing is learnt.

    Args:
        pvps: that are to be asked.
        backbone: that reads them.
        method: what the message calls it.

    Raises:
        SettingError: a pattern has one that the backbone reads.
    """
    for pvp in pvps:
        for slot in _open(pvp, backbone):
            raise SettingError(
                f"pattern '{pvp.name}' has {{soft:{slot}}}, and {method} learns no soft tokens. Write words in it, as "
                f"{{soft:It was}}, or {'finetune' if pvp.pattern.generates else 'prompt'}+soft, or other patterns=."
            )


def left_out(pvps: Sequence[PVP], backbone: Backbone, tuning: Tuning) -> list[str]:
    """The note that a row should carry where soft slots without words stay empty.

    Args:
        pvps: that are trained.
        backbone: that reads them.
        tuning: that may learn what stands in them.
    """
    names = [pvp.name for pvp in pvps if _open(pvp, backbone)]
    if not names or isinstance(tuning, Words) or isinstance(tuning.reading(Encoder(backbone)), SoftEncoder):
        return []
    return [f"{_and(names)}: soft slots without words left out, for {tuning.name} learns no soft tokens"]


def _open(pvp: PVP, backbone: Backbone) -> list[int]:
    """Sizes of the soft slots that have no words."""
    return [slot.count for slot in slots(pvp.pattern, backbone) if slot.words is None]


def labelled(task: Task, numbers: bool = False) -> None:
    """Refuses tasks without labels or candidates to choose from.

    Args:
        task: what is asked.
        numbers: whether labels may be numbers.

    Raises:
        SettingError: labels are numbers that the method cannot answer with, or texts to be generated.
    """
    if task.range is not None and not numbers:
        raise SettingError(
            f"{task.name}: its labels are numbers (regression), and this method chooses among labels. Write prompt, "
            "finetune, zero-shot, probe, tfidf or majority."
        )
    if task.generates:
        raise SettingError(
            f"{task.name} asks for a text ({{target}}), and this method chooses among labels. Write finetune, "
            "zero-shot or in-context."
        )
    if not task.labels and not task.candidates:
        raise SettingError(f"{task.name}: its labels are missing. Write a fixed list of labels.")


def fixed(task: Task, numbers: bool = False) -> None:
    """Refuses what a head cannot answer: it has one output a label, or one for a number.

    Args:
        task: what is asked.
        numbers: whether labels may be numbers.

    Raises:
        SettingError: as for :func:`labelled`, or rows bring their own candidates.
    """
    labelled(task, numbers)
    if not task.fixed:
        raise SettingError(
            f"{task.name}: its rows bring their own candidates ('{task.candidates}'), and this method learns one "
            "output a label. Write a method that asks patterns: zero-shot, in-context or prompt."
        )


def _and(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "no pattern"

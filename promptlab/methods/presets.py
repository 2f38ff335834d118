"""Settings of PET and iPET by preset: our own, and those of the two papers.

    ours        small members, many rows cheap to label: what a laptop does in minutes
    2020        Schick & Schütze 2021a, arXiv:2001.07676: with the auxiliary loss, three students
    superglue   Schick & Schütze 2021b, arXiv:2009.07118: no auxiliary loss, one student, three generations in all

A setting that was written wins over the preset's.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from promptlab.backbone.decode import check_decoding
from promptlab.errors import SettingError, did_you_mean
from promptlab.methods.calibrate import KINDS

Method = TypeVar("Method", bound=Any)
Presets = Mapping[str, Mapping[str, Any]]

PET: dict[str, dict[str, Any]] = {
    "ours": {
        "repetitions": 3, "weights": "uniform", "steps": None, "batch": 8, "mlm": 0.0, "mlm_batch": 8, "warmup": 0.1,
        "student_steps": 120, "student_batch": 16, "student_repetitions": 1, "temperature": 2.0, "pool": 600,
        "lr": None,
    },
    # arXiv:2001.07676: 4 labelled and 12 unlabelled rows a step, alpha = 1e-4, 10,000 unlabelled rows a label
    "2020": {
        "repetitions": 3, "weights": "accuracy", "steps": 1000, "batch": 4, "mlm": 1e-4, "mlm_batch": 12, "warmup": 0.0,
        "student_steps": 5000, "student_batch": 16, "student_repetitions": 3, "temperature": 2.0, "pool": 100_000,
        "lr": 1e-5,
    },
    # arXiv:2009.07118: no auxiliary loss, up to 20,000 unlabelled rows
    "superglue": {
        "repetitions": 3, "weights": "accuracy", "steps": 250, "batch": 16, "mlm": 0.0, "mlm_batch": 0, "warmup": 0.0,
        "student_steps": 5000, "student_batch": 16, "student_repetitions": 1, "temperature": 2.0, "pool": 20_000,
        "lr": 1e-5,
    },
}  # fmt: skip

# 2001.07676 counts generations by ceil(log_5(1000 / rows)); 2009.07118 trains three in all, so two after the first
IPET: dict[str, dict[str, Any]] = {
    "ours": {**PET["ours"], "pool": None, "generations": None},
    "2020": {**PET["2020"], "generations": None},
    "superglue": {**PET["superglue"], "generations": 2},
}


def settle(method: Method, name: str, presets: Presets) -> Method:
    """Every setting of a method that was left out (None), from its preset.

    Args:
        method: a dataclass with a ``preset``.
        name: what messages call it.
        presets: settings by the preset's name.

    Raises:
        SettingError: unknown preset, weights, calibration or decoding, or numbers that cannot be.
    """
    if method.preset not in presets:
        raise SettingError(
            f"{name}: no preset '{method.preset}'.{did_you_mean(method.preset, presets)} Known: {', '.join(presets)}."
        )
    own = {field.name: getattr(method, field.name) for field in fields(method)}
    found = replace(method, **{key: value for key, value in presets[method.preset].items() if own[key] is None})
    if found.weights not in ("uniform", "accuracy"):
        raise SettingError(f"{name}: weights={found.weights}. Write uniform or accuracy.")
    if found.calibration not in KINDS:
        near = did_you_mean(found.calibration, KINDS)
        raise SettingError(f"{name}: calibration={found.calibration}: no such kind.{near} Write {', '.join(KINDS)}.")
    check_decoding(found.decoding)
    if min(found.repetitions, found.student_repetitions) < 1:
        raise SettingError(f"{name}: repetitions and student_repetitions are at least 1.")
    return found

"""Tensors of like name and shape as one stack, so that a small file has a small header.

    encoder.layer.0.output.A  ...  encoder.layer.23.output.A    ->    encoder.layer.{0-23}.output.A    (24, ...)
    0.prefix, 1.prefix, 2.prefix of three members               ->    {0-2}.prefix                     (3, ...)

A number between dots counts. What is not a full range of them, or differs in shape, keeps its own name.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import torch
from torch import Tensor

_NUMBER = re.compile(r"0|[1-9]\d*")
_RANGE = re.compile(r"\{(\d+)-(\d+)\}")


def stacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, those that differ in their numbers alone in one; :func:`apart` undoes it.

    Args:
        tensors: by name, without braces in the names.
    """
    alike: dict[object, dict[tuple[int, ...], str]] = {}
    for name, tensor in tensors.items():
        frame, numbers = _parted(name)
        alike.setdefault((frame, tensor.shape, tensor.dtype), {})[numbers] = name
    found: dict[str, Tensor] = {}
    for names in alike.values():
        spans = [sorted(set(axis)) for axis in zip(*names, strict=True)]
        whole = [list(range(span[0], span[-1] + 1)) for span in spans]
        if len(names) == 1 or spans != whole or len(names) != len(list(product(*spans))):
            found |= {name: tensors[name] for name in names.values()}
            continue
        sizes = [len(span) for span in spans if len(span) > 1]
        rows = torch.stack([tensors[names[at]] for at in product(*spans)])
        found[_named(next(iter(names.values())), spans)] = rows.view(*sizes, *rows.shape[1:])
    return found


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor under its own name again."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        spans = [range(int(first), int(last) + 1) for first, last in _RANGE.findall(name)]
        flat = tensor.reshape(-1, *tensor.shape[len(spans) :]) if spans else tensor[None]
        found |= dict(zip(_each(name, spans), flat.unbind(0), strict=True))
    return found


def _parted(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    parts = name.split(".")
    numbers = tuple(int(part) for part in parts if _NUMBER.fullmatch(part))
    return tuple("*" if _NUMBER.fullmatch(part) else part for part in parts), numbers


def _named(name: str, spans: Sequence[Sequence[int]]) -> str:
    left = iter(spans)
    return ".".join(_span(next(left)) if _NUMBER.fullmatch(part) else part for part in name.split("."))


def _span(numbers: Sequence[int]) -> str:
    return f"{{{numbers[0]}-{numbers[-1]}}}" if len(numbers) > 1 else str(numbers[0])


def _each(name: str, spans: Sequence[range]) -> Iterator[str]:
    frame = _RANGE.sub("{}", name)
    return (frame.format(*numbers) for numbers in product(*spans))

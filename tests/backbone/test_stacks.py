"""Tensors of like name lie in one stack, and come apart as they were."""

import random

import pytest
import torch
from torch.testing import assert_close

from promptlab.backbone.stacks import apart, stacked

GRID = {f"{m}.layer.{i}.query.A": torch.full((2, 3), 10.0 * m + i) for m in range(3) for i in range(2)}


def same(found, wanted):
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert_close(found[name], tensor, rtol=0, atol=0)


def test_members_and_layers_become_axes_in_the_order_of_their_numbers():
    mixed = dict(random.Random(0).sample(list(GRID.items()), len(GRID)))
    found = stacked(mixed)
    assert {name: tuple(one.shape) for name, one in found.items()} == {"{0-2}.layer.{0-1}.query.A": (3, 2, 2, 3)}
    assert found["{0-2}.layer.{0-1}.query.A"][2, 1, 0, 0] == 21
    same(apart(found), GRID)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["layer.22.w", "layer.23.w"], ["layer.{22-23}.w"]),
        (["0.head.weight"], ["0.head.weight"]),
        (["words.00", "words.01"], ["words.00", "words.01"]),  # a number that would not come back as it was
        (["layer.0.w", "layer.2.w"], ["layer.0.w", "layer.2.w"]),
        (["0.a.0.w", "0.a.1.w", "1.a.0.w"], ["0.a.0.w", "0.a.1.w", "1.a.0.w"]),
        (["9.w", "10.w", "11.w"], ["{9-11}.w"]),
    ],
)
def test_only_a_full_range_of_numbers_is_stacked(names, wanted):
    tensors = {name: torch.full((2,), float(at)) for at, name in enumerate(names)}
    assert sorted(stacked(tensors)) == sorted(wanted)
    same(apart(stacked(tensors)), tensors)


def test_what_differs_in_shape_or_number_format_stays_apart():
    tensors = {"layer.0.w": torch.ones(2), "layer.1.w": torch.ones(3), "layer.2.w": torch.ones(2, dtype=torch.int64)}
    assert set(stacked(tensors)) == set(tensors)
    same(apart(stacked(tensors)), tensors)


def test_single_numbers_without_an_axis_come_back():
    tensors = {"weights": torch.tensor(1.5), "bias": torch.arange(3)}
    same(apart(stacked(tensors)), tensors)

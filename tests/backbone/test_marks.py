"""Marks in rows of ids: what stands there is told to the embedding."""

import pytest
import torch

from promptlab.backbone.marks import embeddings, marks, speaking
from promptlab.errors import SettingError

MARKED = torch.tensor([[5, -1, 7, -2], [5, -2, 9, -1]])


def logits(backbone, ids):
    return backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def test_marks_are_numbered_through_all_slots():
    assert marks([2, 1]) == [(-1, -2), (-3,)]


def test_marks_are_read_as_the_words_of_their_member(each):
    words = torch.tensor([[11, 12], [13, 14]])
    plain = torch.tensor([[5, 11, 7, 12], [5, 14, 9, 13]])
    with torch.no_grad():
        with speaking(each, words):
            found = logits(each, MARKED)
        torch.testing.assert_close(found, logits(each, plain))


def test_the_gradient_by_the_shift_is_that_by_each_places_embedding(float64):
    for family in ("bert", "gpt2", "albert"):
        backbone, words = float64(family), torch.tensor([[11, 12]])
        shift = torch.zeros(2, embeddings(backbone).shape[1], dtype=torch.float64, requires_grad=True)
        with speaking(backbone, words, shift):
            loss = logits(backbone, MARKED).square().mean()
        (found,) = torch.autograd.grad(loss, shift)
        step = 1e-6
        for place, column in ((0, 0), (1, 3)):
            moved = torch.zeros_like(shift)
            moved[place, column] = step
            with torch.no_grad():
                with speaking(backbone, words, moved):
                    up = logits(backbone, MARKED).square().mean()
                with speaking(backbone, words, -moved):
                    down = logits(backbone, MARKED).square().mean()
            assert abs((up - down) / (2 * step) - found[place, column]) < 1e-7


def test_afterwards_the_embedding_is_what_it_was(tiny_bert):
    module = tiny_bert.model.get_input_embeddings()
    with pytest.raises(SettingError, match="2 rows are no multiple of 3"), speaking(tiny_bert, torch.ones(3, 2).long()):
        logits(tiny_bert, MARKED)
    assert "forward" not in vars(module)

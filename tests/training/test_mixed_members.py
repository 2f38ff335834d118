"""Members that cannot stand in one stack are refused before anything is trained."""

from dataclasses import replace

import numpy as np
import pytest

from promptlab.backbone.encode import Encoder
from promptlab.errors import SettingError
from promptlab.training.loop import train
from promptlab.training.member import Member, Recipe
from promptlab.tuning.lora import Lora


def test_members_with_and_without_rows_for_the_masked_loss_are_refused(tiny_bert, reviews_task, reviews):
    targets = np.array([reviews_task.labels.index(one.label) for one in reviews[:4]])
    one = Member("a", reviews[:4], targets, 2, ("text",), reviews_task.pvps[0], unlabelled=reviews[4:8])
    recipe = Recipe(steps=1, batch=2, mlm=0.1, mlm_batch=2)
    for mixed in ([one, replace(one, key="b", unlabelled=())], [replace(one, unlabelled=()), replace(one, key="b")]):
        with pytest.raises(SettingError, match="Train them apart"):
            list(train(tiny_bert, Lora(r=2), mixed, recipe, Encoder(tiny_bert)))
    alike = [one, replace(one, key="b")]
    assert len(list(train(tiny_bert, Lora(r=2), alike, recipe, Encoder(tiny_bert)))) == 2

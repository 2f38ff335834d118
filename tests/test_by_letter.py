"""Asked by letter from end to end: zero-shot, training, a saved classifier."""

import numpy as np
import pytest

from promptlab import PromptClassifier


def fitted(backbone, task, rows, method, tuning=None):
    return PromptClassifier(task, method=method, tuning=tuning, backbone=backbone).fit(rows)


@pytest.mark.parametrize("family", ["bert", "modernbert", "gpt2", "llama"])
def test_letters_answer_on_masked_and_causal_backbones(tiny, reviews_task, reviews, family):
    clf = fitted(tiny(family), reviews_task, reviews[:4], "zero-shot:patterns=letters")
    shares = clf.predict_proba([row.fields["text"] for row in reviews[:6]])
    assert shares.shape == (6, 2)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert [row["pattern"] for row in clf.show("a good film")] == ["letters"]


def test_a_model_learns_through_letters_and_is_found_again(tiny_bert, reviews_task, reviews, tmp_path):
    method = "prompt:patterns=letters,steps=40,batch=8"
    clf = fitted(tiny_bert, reviews_task, reviews[:16], method, "lora:lr=0.005")
    texts = [row.fields["text"] for row in reviews[:16]]
    right = [reviews_task.gold(row) for row in reviews[:16]]
    untrained = fitted(tiny_bert, reviews_task, [], "zero-shot:patterns=letters")
    before, after = (np.log(one.predict_proba(texts)[range(16), right]).mean() for one in (untrained, clf))
    assert after > before
    clf.save_pretrained(tmp_path / "kept")
    again = PromptClassifier.from_pretrained(tmp_path / "kept")
    np.testing.assert_array_equal(again.predict_proba(texts), clf.predict_proba(texts))


def test_letters_stand_beside_a_tasks_own_patterns(tiny_bert, reviews_task, reviews):
    clf = fitted(tiny_bert, reviews_task, [], "zero-shot:patterns=all+letters")
    assert [row["pattern"] for row in clf.show("a good film")] == ["p1", "p2", "p3", "letters"]

"""ROUGE-L counted in bits is pycocoevalcap's."""

import numpy as np
import pytest

from promptlab.metrics.captions import rouge_l


@pytest.mark.parametrize("words", [2, 5, 40])
def test_rouge_l_is_pycocoevalcaps_to_the_last_bit(words):
    from pycocoevalcap.rouge.rouge import Rouge

    random = np.random.default_rng(words)

    def text(longest=90):
        return " ".join(f"w{i}" for i in random.integers(words, size=random.integers(longest)))

    said = [text() for _ in range(60)] + ["", "w0", "none of these"]
    right = [[text() for _ in range(random.integers(1, 8))] for _ in said[:-3]] + [["", "w0"], [""], ["w1 w0"]]
    peer = [Rouge().calc_score([one], some) for one, some in zip(said, right, strict=True)]
    assert rouge_l(said, right).tolist() == peer
    assert 0 < np.mean(peer) < 1

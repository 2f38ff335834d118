"""What a step minimises, a value a row: ``(rows,)``.

    label words, head   cross-entropy of the label under a softmax over label scores          (PET, eq. 2)
    longer words        sum over wrong choices of max(0, 1 - score of the right one + theirs)  (Schick & Schütze 2021,
                        arXiv:2009.07118, section 3.1)
    soft labels         T^2 KL(q || p_T), q the soft labels, p_T = softmax(scores / T)        (Hinton et al. 2015,
                        arXiv:1503.02531; PET section 3.3)
    between two words   KL(q || p), the soft loss at T = 1, q = (1 - w, w), w the number's place in its range
                        (LM-BFF, Gao et al. 2021, arXiv:2012.15723, section 4.2)
    head, a number      squared error of its one output
    auxiliary MLM       cross-entropy of masked tokens in unlabelled text in the same pattern  (PET section 3.2)
                        L = (1 - a) CE + a MLM, a as the paper writes it (1e-4)

A member's loss is the mean over its own rows; a stack sums its members.
"""

from torch import Tensor
from torch.nn import functional


def hard(scores: Tensor, gold: Tensor) -> Tensor:
    """Cross-entropy over labels.

    Args:
        scores: ``(rows, labels)``; minus infinity where a mixed stack has no such label.
        gold: label numbers, ``(rows,)``.
    """
    return functional.cross_entropy(scores, gold, reduction="none")


def hinge(scores: Tensor, gold: Tensor) -> Tensor:
    """Multi-class hinge: every wrong choice should stay a margin of 1 behind the right one.

    Args:
        scores: log-probabilities of choices, ``(rows, labels)``; minus infinity where a row has fewer.
        gold: numbers of the right choices, ``(rows,)``.
    """
    right = scores.gather(1, gold[:, None])
    return (1 - right + scores).clamp_min(0).scatter(1, gold[:, None], 0.0).sum(1)


def soft(scores: Tensor, target: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(target || softmax(scores / T))``.

    Args:
        scores: ``(rows, labels)``.
        target: soft labels, probabilities ``(rows, labels)``, already softened at ``temperature``.
        temperature: T.
    """
    log_p = (scores / temperature).log_softmax(-1)
    return temperature**2 * functional.kl_div(log_p, target, reduction="none").nan_to_num(0.0).sum(-1)


def squared(scores: Tensor, target: Tensor) -> Tensor:
    """Squared error of one output.

    Args:
        scores: ``(rows, 1)``.
        target: what it should say, ``(rows,)``.
    """
    return (scores[:, 0] - target).square()


def masked_words(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the masked tokens of each row.

    Args:
        logits: ``(rows, slots, vocabulary)``.
        targets: token ids, ``(rows, slots)``, -100 where a slot is padding.
    """
    losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none")
    count = (targets != -100).sum(1).clamp_min(1)
    return losses.view_as(targets).sum(1) / count

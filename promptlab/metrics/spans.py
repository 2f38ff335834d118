"""Two short answers compared as SQuAD does (Rajpurkar et al. 2016, arXiv:1606.05250); ReCoRD too is scored so.

normalised    lower case, no punctuation, no articles, single spaces
exact         1 where both are then the same
overlap       F1 of their words: 2 x shared / (words of one + words of the other), repeated words counted
"""

import re
import string
from collections import Counter

_MARKS = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(answer: str) -> str:
    """An answer without case, punctuation, articles and superfluous space."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_MARKS)).split())


def exact(said: str, right: str) -> float:
    """1 where the two are the same once normalised, else 0."""
    return float(normalised(said) == normalised(right))


def overlap(said: str, right: str) -> float:
    """F1 of the words of two answers, from 0 to 1; 0 where they share none."""
    one, other = normalised(said).split(), normalised(right).split()
    shared = sum((Counter(one) & Counter(other)).values())
    return 2 * shared / (len(one) + len(other)) if shared else 0.0

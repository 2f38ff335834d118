import pytest

from promptlab.metrics.spans import exact, normalised, overlap


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("The U.S.", "us"),
        ("  an Apple,  a pear ", "apple pear"),
        ("Theatre", "theatre"),
        ("the", ""),
        ("Ana-Li", "anali"),
    ],
)
def test_case_punctuation_articles_and_spaces_do_not_count(answer, plain):
    assert normalised(answer) == plain


def test_exact_answers_agree_after_normalisation():
    assert exact("The Kremlin", "kremlin.") == 1.0
    assert exact("Kremlin", "the Kremlins") == 0.0


def test_overlap_is_f1_over_words():
    assert overlap("Rosa Diaz", "the Diaz") == pytest.approx(2 * 1 / (2 + 1))
    assert overlap("new york new york", "New York") == pytest.approx(2 * 2 / (4 + 2))
    assert overlap("Rosa", "Diaz") == overlap("the", "Diaz") == 0.0
    assert overlap("Rosa Diaz", "diaz rosa") == 1.0

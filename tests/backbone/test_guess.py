import pytest
import torch

from promptlab.backbone.encode import Encoder
from promptlab.backbone.guess import guesses
from promptlab.language.example import Example
from promptlab.language.pattern import Pattern

PATTERN = Pattern.parse("it-was", "{text} It was {mask}.")
TEXTS = ["a good film", "a very slow and boring story about two actors", "bad"]


def encoded(backbone, texts=TEXTS):
    return Encoder(backbone).cloze(PATTERN, [Example({"text": text}) for text in texts])


def test_guesses_are_the_likeliest_words_of_the_plain_model(tiny_bert):
    rows = encoded(tiny_bert)
    for row, guessed in enumerate(guesses(tiny_bert, rows, count=3)):
        with torch.no_grad():
            ids = torch.tensor([rows.ids[row]])
            shares = tiny_bert.model(ids, token_type_ids=torch.tensor([rows.segments[row]])).logits.softmax(-1)
        best = shares[0, rows.slots[row][0]].topk(3)
        assert [word for word, _ in guessed] == tiny_bert.tokenizer.convert_ids_to_tokens(best.indices.tolist())
        assert [p for _, p in guessed] == pytest.approx(best.values.tolist(), abs=1e-6)


def test_guesses_come_likeliest_first_and_as_many_as_asked_for(each):
    (guessed,) = guesses(each, encoded(each, ["a good film"]), count=7)
    shares = [p for _, p in guessed]
    assert len(guessed) == 7
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1


def test_a_small_vocabulary_gives_no_more_guesses_than_it_has(tiny_bert):
    (guessed,) = guesses(tiny_bert, encoded(tiny_bert, ["good"]), count=10_000)
    assert len(guessed) == tiny_bert.vocab
    assert sum(p for _, p in guessed) == pytest.approx(1, abs=1e-5)


def test_a_guess_is_written_without_the_marks_of_its_vocabulary(tiny_roberta):
    (guessed,) = guesses(tiny_roberta, encoded(tiny_roberta, ["good"]), count=10_000)
    words = [word for word, _ in guessed]
    assert "great" in words
    assert "Ġgreat" not in words


def test_a_guess_that_is_no_text_is_written_as_in_the_vocabulary(tiny_roberta):
    (guessed,) = guesses(tiny_roberta, encoded(tiny_roberta, ["good"]), count=10_000)
    words = {word for word, _ in guessed}
    assert "Ċ" in words  # a line end
    assert all(word.isprintable() and word.strip() for word in words)


def test_no_rows_get_no_guesses(tiny_bert):
    assert guesses(tiny_bert, encoded(tiny_bert, ["x"]).take([])) == []

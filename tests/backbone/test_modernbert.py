"""ModernBERT's language-model head as a zero-shot classifier, asked as published (arXiv:2502.03793)."""

import numpy as np
import pytest
import torch

from promptlab.backbone.ask import ask
from promptlab.backbone.encode import Encoder
from promptlab.errors import BackboneError
from promptlab.language.example import Example
from promptlab.language.library import read_task
from promptlab.language.task import Task

TASK = Task.from_parts(
    ["{text} It was {mask}."], {"negative": "bad", "positive": "great", "none": "maybe"}, about="Is the film great?"
)
TEXTS = ["a lovely movie", "the plot is poor and the actors are awful", "", "it had more music than business"]
FILMS = [Example({"text": text}) for text in TEXTS]
PUBLISHED = (
    "You will be given a question and options. Select the right answer.\n"
    "QUESTION: {}\nIs the film great?\nCHOICES:\n- A: bad\n- B: great\n- C: maybe\nANSWER: [unused0] [MASK]"
)


def asked(backbone, examples=FILMS, name="modernbert-letters", **more):
    return ask(Encoder(backbone), TASK.pvp(name), examples, **more)


def plain(backbone, prompt):
    """Log-probabilities of A, B, C at the mask, as the model's card asks for them: one prompt, the whole head."""
    inputs = backbone.tokenizer(prompt, return_tensors="pt")
    at = inputs["input_ids"][0].tolist().index(backbone.tokenizer.mask_token_id)
    with torch.no_grad():
        log_p = backbone.model(**inputs).logits[0, at].log_softmax(-1)
    [ids] = zip(*backbone.tokenizer([" A", " B", " C"], add_special_tokens=False)["input_ids"], strict=True)
    return log_p[list(ids)].numpy()


def test_the_prompts_ids_are_those_of_the_published_text(tiny_modernbert):
    encoded = Encoder(tiny_modernbert).cloze(TASK.pvp("modernbert-letters").pattern, FILMS)
    for ids, text in zip(encoded.ids, TEXTS, strict=True):
        assert ids == tiny_modernbert.tokenizer(PUBLISHED.format(text))["input_ids"]
    anchor = tiny_modernbert.tokenizer.convert_tokens_to_ids("[unused0]")
    assert all(ids.count(anchor) == 1 for ids in encoded.ids)
    assert all(ids[slot - 1] == anchor for ids, [slot] in zip(encoded.ids, encoded.slots, strict=True))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_scores_equal_a_plain_loop_of_one_row(float64, attention):
    backbone = float64("modernbert")
    backbone.model.set_attn_implementation(attention)
    found = asked(backbone).labels
    for row, text in zip(found, TEXTS, strict=True):
        np.testing.assert_allclose(row, plain(backbone, PUBLISHED.format(text)), atol=1e-6)  # it turns in float32


def test_each_row_alone_is_exactly_the_plain_loop(float64):
    backbone = float64("modernbert")
    for film, text in zip(FILMS, TEXTS, strict=True):
        np.testing.assert_allclose(
            asked(backbone, [film]).labels[0], plain(backbone, PUBLISHED.format(text)), atol=1e-10
        )


def test_without_the_anchor_the_answer_is_another_one(float64):
    backbone = float64("modernbert")
    bare = plain(backbone, PUBLISHED.format(TEXTS[0]).replace("[unused0] ", ""))
    assert np.abs(asked(backbone).labels[0] - bare).max() > 1e-3


def test_the_head_is_tied_to_the_embeddings(tiny_modernbert):
    model = tiny_modernbert.model
    assert model.decoder.weight is model.get_input_embeddings().weight


def test_a_backbone_without_the_anchor_is_refused_by_name(tiny_roberta, tiny_gpt2):
    for backbone in (tiny_roberta, tiny_gpt2):
        with pytest.raises(BackboneError, match=r"has no token '\[unused0\]', which \{token:\[unused0\]\} asks for"):
            asked(backbone)


def test_bert_has_the_anchor_too(tiny_bert):
    encoded = Encoder(tiny_bert).cloze(TASK.pvp("modernbert-letters").pattern, FILMS[:1])
    tokens = tiny_bert.tokenizer.convert_ids_to_tokens(encoded.ids[0])
    assert tokens[-4:] == [":", "[unused0]", "[MASK]", "[SEP]"]


def test_letters_are_asked_of_every_backbone(each):
    found = asked(each, name="letters")
    assert found.labels.shape == (4, 3)
    assert np.isfinite(found.labels).all()
    assert not found.cut.any()


def test_a_rows_own_answers_are_asked_by_letter(tiny_bert):
    task = read_task('task: own\ninputs: [text, choices]\ncandidates: choices\npatterns: {it: "{text} {mask}"}\n')
    rows = [
        Example({"text": "a film", "choices": ("good", "bad", "slow")}),
        Example({"text": "x", "choices": ("a", "is")}),
    ]
    found = ask(Encoder(tiny_bert), task.pvp("letters"), rows, [task.choices(row) for row in rows]).labels
    text = "a film question : which of these is right ? a : good b : bad c : slow answer : [MASK]"
    inputs = tiny_bert.tokenizer(text, return_tensors="pt")
    at = inputs["input_ids"][0].tolist().index(tiny_bert.tokenizer.mask_token_id)
    with torch.no_grad():
        log_p = tiny_bert.model(**inputs).logits[0, at].log_softmax(-1)
    expected = log_p[tiny_bert.tokenizer.convert_tokens_to_ids(["a", "b", "c"])]
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    assert np.isneginf(found[1]).tolist() == [False, False, True]

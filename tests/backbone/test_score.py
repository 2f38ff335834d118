"""Label scores against plain transformers code, one row at a time."""

import numpy as np
import pytest
import torch

from promptlab.backbone import score as scoring
from promptlab.backbone.batches import by_length, pad
from promptlab.backbone.encode import Encoder
from promptlab.backbone.heads import pool
from promptlab.backbone.score import hidden, label_mass, label_scores, narrowed, pooled, score, slot_logits
from promptlab.backbone.words import label_words
from promptlab.language.example import Example
from promptlab.language.task import Task

TASK = Task.from_parts(
    patterns=["{text} It was {mask}."],
    verbalizer={"negative": ["terrible", "bad"], "positive": "great"},
)
TEXTS = ["a boring film", "the music is lovely and the story is warm and funny", "", "actors"]


def examples():
    return [Example({"text": text}) for text in TEXTS]


def ours(backbone):
    words = label_words(backbone, TASK.pvps[0])
    return score(backbone, Encoder(backbone).cloze(TASK.pvps[0].pattern, examples(), words.pieces), words.ids)


def test_masked_scores_equal_plain_transformers_code(float64):
    backbone = float64("bert")
    found = ours(backbone)
    for row, text in enumerate(TEXTS):
        inputs = backbone.tokenizer(f"{text} It was [MASK].".strip(), return_tensors="pt")
        at = inputs["input_ids"][0].tolist().index(backbone.tokenizer.mask_token_id)
        with torch.no_grad():
            log_p = backbone.model(**inputs).logits[0, at].log_softmax(-1)
        terrible, bad, great = (
            log_p[backbone.tokenizer.convert_tokens_to_ids(word)].item() for word in ("terrible", "bad", "great")
        )
        np.testing.assert_allclose(found.labels[row], [(terrible + bad) / 2, great], atol=1e-10)
        np.testing.assert_allclose(found.mass[row], np.exp([terrible, bad, great]).sum(), atol=1e-10)


def test_the_difference_of_two_labels_is_that_of_their_raw_logits(float64):
    backbone = float64("roberta")
    found = ours(backbone).labels
    for row, text in enumerate(TEXTS[:2]):
        inputs = backbone.tokenizer(f"{text} It was<mask>.", return_tensors="pt")
        at = inputs["input_ids"][0].tolist().index(backbone.tokenizer.mask_token_id)
        with torch.no_grad():
            logits = backbone.model(**inputs).logits[0, at]
        ids = [
            backbone.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0]
            for word in ("terrible", "bad", "great")
        ]
        terrible, bad, great = (logits[one].item() for one in ids)
        np.testing.assert_allclose(found[row, 1] - found[row, 0], great - (terrible + bad) / 2, atol=1e-10)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_causal_scores_are_those_of_the_words_as_continuations(float64, family):
    backbone = float64(family)
    found = ours(backbone)
    for row, text in enumerate(TEXTS[:2]):
        prompt = backbone.tokenizer(f"{text} It was")["input_ids"]
        for label, words in enumerate((["terrible", "bad"], ["great"])):
            each = []
            for word in words:
                whole = backbone.tokenizer(f"{text} It was {word}", return_tensors="pt")["input_ids"]
                assert whole[0, :-1].tolist() == prompt
                with torch.no_grad():
                    each.append(backbone.model(whole).logits[0, -2].log_softmax(-1)[whole[0, -1]].item())
            np.testing.assert_allclose(found.labels[row, label], np.mean(each), atol=1e-10)


def test_a_rows_score_does_not_depend_on_its_neighbours(each):
    together = ours(each).labels
    words = label_words(each, TASK.pvps[0])
    for row, one in enumerate(examples()):
        alone = score(each, Encoder(each).cloze(TASK.pvps[0].pattern, [one]), words.ids).labels
        np.testing.assert_allclose(alone[0], together[row], atol=2e-5)


def test_the_head_sees_mask_rows_only(tiny_bert):
    seen = []
    hook = tiny_bert.model.get_output_embeddings().register_forward_hook(lambda module, x, y: seen.append(y.shape))
    try:
        ours(tiny_bert)
    finally:
        hook.remove()
    assert [tuple(shape) for shape in seen] == [(len(TEXTS), 1, tiny_bert.vocab)]


def test_logits_live_for_one_chunk_whatever_the_number_of_rows(tiny_bert, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK_BYTES", 3 * tiny_bert.vocab * 4)  # three mask rows
    seen = []
    hook = tiny_bert.model.get_output_embeddings().register_forward_hook(
        lambda module, x, y: seen.append(y.nelement() * 4)
    )
    try:
        words = label_words(tiny_bert, TASK.pvps[0])
        score(tiny_bert, Encoder(tiny_bert).cloze(TASK.pvps[0].pattern, examples() * 5), words.ids)
    finally:
        hook.remove()
    assert max(seen) <= scoring.CHUNK_BYTES
    assert len(seen) == 7


def test_narrowing_leaves_no_hook_behind(tiny_bert):
    ours(tiny_bert)
    assert not tiny_bert.body._forward_hooks


def test_words_of_several_tokens_sum_their_log_probabilities():
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ids = torch.tensor([[[[1, 2, -1]], [[3, -1, -1]], [[4, 5, 6]]]])
    log_p = logits.log_softmax(-1)
    expected = torch.stack(
        [log_p[:, 0, 1] + log_p[:, 1, 2], log_p[:, 0, 3], log_p[:, 0, 4] + log_p[:, 1, 5] + log_p[:, 2, 6]], 1
    )
    torch.testing.assert_close(label_scores(logits, ids), expected)


def test_members_of_a_mixed_stack_read_their_own_words():
    logits = torch.randn(2, 1, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ids = torch.tensor([[[[1], [2]], [[3], [-1]]], [[[4], [-1]], [[-1], [-1]]]])
    log_p = logits.log_softmax(-1)[:, 0]
    found = label_scores(logits, ids)
    torch.testing.assert_close(found[0], torch.stack([(log_p[0, 1] + log_p[0, 2]) / 2, log_p[0, 3]]))
    assert found[1, 0] == log_p[1, 4]
    assert found[1, 1] == -torch.inf


def test_mass_is_the_probability_of_all_label_words():
    logits = torch.randn(3, 1, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    p = logits.softmax(-1)[:, 0]
    torch.testing.assert_close(
        label_mass(logits, torch.tensor([[[[1], [-1]], [[4], [5]]]])).double(),
        p[:, [1, 4, 5]].sum(1),
        rtol=1e-5,
        atol=1e-6,
    )


def test_batches_hold_every_row_once_longest_first_under_the_budget():
    lengths = [3, 9, 1, 40, 9, 2]
    batches = list(by_length(lengths, budget=20))
    assert sorted(row for batch in batches for row in batch) == list(range(6))
    assert [max(lengths[row] for row in batch) for batch in batches] == [40, 9, 3]
    assert all(len(batch) == 1 or max(lengths[row] for row in batch) * len(batch) <= 20 for batch in batches)


def test_a_batch_never_has_more_rows_than_asked_for():
    assert [len(batch) for batch in by_length([1] * 7, budget=100, most_rows=3)] == [3, 3, 1]


def test_padding_stands_on_the_right_and_is_not_attended(tiny_bert):
    encoded = Encoder(tiny_bert).cloze(TASK.pvps[0].pattern, examples())
    batch = pad(encoded, [0, 1], tiny_bert)
    assert batch.attention.sum(1).tolist() == [len(encoded.ids[0]), len(encoded.ids[1])]
    assert batch.inputs["input_ids"][0, len(encoded.ids[0]) :].unique().tolist() == [tiny_bert.pad_id]
    assert batch.inputs["input_ids"][[0, 1], batch.slots[:, 0]].tolist() == [tiny_bert.tokenizer.mask_token_id] * 2


def test_short_rows_of_slots_repeat_their_last(tiny_bert):
    encoded = Encoder(tiny_bert).cloze(TASK.pvps[0].pattern, examples())
    encoded.slots = [[1], [2, 3], [1], [1]]
    assert pad(encoded, [0, 1], tiny_bert).slots.tolist() == [[1, 1], [2, 3]]


@pytest.mark.parametrize("how", ["mean", "cls", "last"])
def test_pooled_features_equal_one_row_at_a_time(float64, how):
    backbone = float64("bert")
    encoded = Encoder(backbone).plain(examples(), ("text",))
    found = pooled(backbone, encoded, how)
    for row in range(len(encoded)):
        batch = pad(encoded, [row], backbone)
        with torch.no_grad():
            alone = pool(hidden(backbone, batch), batch.attention, how)
        np.testing.assert_allclose(found[row], alone[0].numpy(), atol=1e-10)


def test_scoring_nothing_gives_nothing(tiny_bert):
    words = label_words(tiny_bert, TASK.pvps[0])
    assert score(tiny_bert, Encoder(tiny_bert).cloze(TASK.pvps[0].pattern, []), words.ids).labels.shape == (0, 2)
    assert pooled(tiny_bert, Encoder(tiny_bert).plain([], ("text",)), "mean").shape == (0, 32)


def test_narrowed_hands_the_chosen_states_to_the_head(each):
    encoded = Encoder(each).cloze(TASK.pvps[0].pattern, examples()[:2])
    batch = pad(encoded, [0, 1], each)
    with torch.no_grad():
        whole = each.model(**batch.inputs).logits
        with narrowed(each, batch):
            narrow = each.model(**batch.inputs).logits
    rows = torch.arange(2)[:, None]
    torch.testing.assert_close(narrow, whole[rows, batch.slots], rtol=0, atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_narrowed_gives_the_gradients_of_the_whole(float64, checkpointing):
    backbone = float64("bert")
    batch = pad(Encoder(backbone).cloze(TASK.pvps[0].pattern, examples()[:2]), [0, 1], backbone)
    first = backbone.body.encoder.layer[0].attention.self.query.weight.requires_grad_(True)
    logits = backbone.model(**batch.inputs).logits[torch.arange(2)[:, None], batch.slots]
    whole = torch.autograd.grad(logits.log_softmax(-1)[..., 7].sum(), first)[0]
    if checkpointing:
        model = backbone.model.train()
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})  # the first is its name since transformers 5.24
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    narrow = torch.autograd.grad(slot_logits(backbone, batch).log_softmax(-1)[..., 7].sum(), first)[0]
    torch.testing.assert_close(narrow, whole, rtol=0, atol=1e-12)

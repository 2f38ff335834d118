"""T5 and BART as backbones: loaded, asked for label words, read by a head."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from promptlab.backbone.ask import ask
from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.batches import pad
from promptlab.backbone.blank import blank_backbone
from promptlab.backbone.encode import Encoder
from promptlab.backbone.heads import head_for
from promptlab.backbone.score import hidden, pooled
from promptlab.backbone.words import label_words
from promptlab.errors import BackboneError, SettingError
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.training.adapt import adapt

BOTH = ["t5", "bart"]
TASK = Task.from_parts(
    patterns=["{text} It was {mask}.", "Just ({mask}) {sep} {text}"],
    verbalizer={"negative": ["terrible", "badly made"], "positive": "great"},
)
ROWS = [Example({"text": text}) for text in ("a great film", "the plot is slow and the ending is awful", "fine")]


@pytest.fixture(params=BOTH)
def both(request, tiny):
    return tiny(request.param)


def test_a_configuration_says_that_it_is_an_encoder_decoder(both):
    assert both.kind == "seq2seq"
    assert (both.layers, both.width, both.max_length) == (len(both.anatomy.blocks), 32, 128)
    assert both.entry is both.model.get_encoder()
    assert both.trunk is both.model.get_decoder()
    assert blank_backbone(both.name).layers == both.layers


def test_an_encoder_decoder_has_no_other_kind_and_no_other_model_is_one(both, folder_of):
    with pytest.raises(BackboneError, match=r"can have no masked head. Write kind=seq2seq"):
        load_backbone(both.name, device="cpu", kind="masked")
    with pytest.raises(BackboneError, match=r"can have no seq2seq head. Write kind=masked"):
        load_backbone(str(folder_of("bert")), device="cpu", kind="seq2seq")


def test_distances_have_no_end_so_a_t5_reads_as_many_tokens_as_it_has_learnt_from(tmp_path, folder_of):
    folder = shutil.copytree(folder_of("t5"), tmp_path / "t5")
    settings = (folder / "tokenizer_config.json").read_text().replace('"model_max_length": 128', '"x": 1')
    (folder / "tokenizer_config.json").write_text(settings)
    assert load_backbone(str(folder), device="cpu").max_length == 512


def test_a_t5_whose_decoders_weights_are_missing_is_damaged(tmp_path, folder_of):
    folder = shutil.copytree(folder_of("t5"), tmp_path / "t5")
    weights = load_file(folder / "model.safetensors")
    lost = "decoder.block.0.layer.0.SelfAttention.q.weight"
    save_file(
        {name: one for name, one in weights.items() if name != lost}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(BackboneError, match=f"lack {lost}, which its config.json asks for"):
        load_backbone(str(folder), device="cpu")


def test_t5_is_asked_at_its_sentinel_and_bart_at_its_mask(tiny_t5, tiny_bart):
    for backbone, gap, begun in (
        (tiny_t5, "<extra_id_0>", ["<pad>", "<extra_id_0>"]),
        (tiny_bart, "<mask>", ["</s>", "<s>"]),
    ):
        tokens, encoded = backbone.tokenizer.convert_ids_to_tokens, Encoder(backbone).cloze(TASK.pvps[0].pattern, ROWS)
        assert [tokens(ids).count(gap) for ids in encoded.ids] == [1, 1, 1]
        assert [tokens(ids) for ids in encoded.replies] == [begun] * 3
        assert encoded.slots == [[1]] * 3


def test_bart_begins_a_text_with_the_label_word_and_t5_goes_on_as_the_row_stands(tiny_t5, tiny_bart):
    def word(backbone, pvp):
        ids = label_words(backbone, pvp).ids[1, 0]
        return backbone.tokenizer.convert_ids_to_tokens(ids[ids >= 0].tolist())

    assert [word(tiny_bart, pvp) for pvp in TASK.pvps] == [["great"], ["great"]]
    assert word(tiny_t5, TASK.pvps[0]) == ["▁great"]
    assert word(tiny_t5, TASK.pvps[1])[0] != "▁great"  # right after a bracket


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize("number", [0, 1])
def test_label_scores_are_the_plain_models_log_probabilities_piece_by_piece(float64, family, number):
    backbone, pvp = float64(family), TASK.pvps[number]
    encoder = Encoder(backbone)
    encoded, words = encoder.cloze(pvp.pattern, ROWS), label_words(backbone, pvp).ids
    found = ask(encoder, pvp, ROWS)
    assert words.shape[2] > 1
    for row in range(3):
        wanted = []
        for label in words:
            scores = []
            for word in (one[one >= 0].tolist() for one in label if one[0] >= 0):
                decoder = torch.tensor([encoded.replies[row] + word])
                with torch.no_grad():
                    said = backbone.model(input_ids=torch.tensor([encoded.ids[row]]), decoder_input_ids=decoder).logits[
                        0
                    ]
                log_p = said.log_softmax(-1)[len(encoded.replies[row]) - 1 :]
                scores.append(float(sum(log_p[i, piece] for i, piece in enumerate(word))))
            wanted.append(np.mean(scores))
        np.testing.assert_allclose(found.labels[row], wanted, rtol=0, atol=1e-10)


def test_a_t5_scales_what_its_tied_head_reads(tiny_t5):
    assert tiny_t5.model.config.scale_decoder_outputs  # so the comparison above sees it
    assert tiny_t5.model.lm_head.weight is tiny_t5.model.get_input_embeddings().weight


@pytest.mark.parametrize("family", BOTH)
def test_a_head_reads_the_decoders_last_state_before_any_text(float64, family):
    backbone = float64(family)
    encoder = Encoder(backbone)
    encoded = encoder.plain(ROWS, ("text",))
    found = pooled(backbone, encoded, "last")
    for row, (ids, reply) in enumerate(zip(encoded.ids, encoded.replies, strict=True)):
        with torch.no_grad():
            said = backbone.model(
                input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([reply]), output_hidden_states=True
            )
        np.testing.assert_allclose(found[row], said.decoder_hidden_states[-1][0, -1], rtol=0, atol=1e-10)
        mean = said.encoder_last_hidden_state[0].mean(0)
        np.testing.assert_allclose(pooled(backbone, encoded, "mean")[row], mean, rtol=0, atol=1e-10)


def test_the_head_is_the_architectures_own_and_reads_nothing_else(both):
    head = head_for(both, 3).draw(torch.Generator().manual_seed(0))
    assert [name for name, _ in head.named_parameters()] == [
        f"classification_head.{part}.{kind}" for part in ("dense", "out_proj") for kind in ("weight", "bias")
    ]
    batch = pad(Encoder(both).plain(ROWS, ("text",)), range(3), both)
    with torch.no_grad():
        assert head(hidden(both, batch)[:, -1]).shape == (3, 3)
    with pytest.raises(SettingError, match="nothing but the last token has seen the row. Write pool=last"):
        head_for(both, 3, "mean")


def test_plain_text_is_nothing_that_an_encoder_decoder_is_adapted_with(both, tmp_path):
    with pytest.raises(BackboneError, match="learns from pairs of texts and not from plain text. Write a masked"):
        adapt(["a great film " * 60] * 30, both.name, tmp_path / "out")

"""The lecture's parameter columns, to the last digit, from config.json alone; the formulas stand here and only here."""

import json
from pathlib import Path

import pytest
import torch

from promptlab.errors import BackboneError, SettingError
from promptlab.methods.params import params_report
from promptlab.registry import TUNINGS
from promptlab.spec import parse_spec

CONFIGS = {  # the papers' sizes
    "roberta-large": {
        "model_type": "roberta", "architectures": ["RobertaForMaskedLM"], "vocab_size": 50265, "hidden_size": 1024,
        "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096, "type_vocab_size": 1,
        "max_position_embeddings": 514, "pad_token_id": 1,
    },
    "bert-base": {
        "model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 30522, "hidden_size": 768,
        "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "type_vocab_size": 2,
        "max_position_embeddings": 512,
    },
    "gpt2-medium": {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257, "n_embd": 1024,
        "n_layer": 24, "n_head": 16, "n_positions": 1024,
    },
    "bart-large": {
        "model_type": "bart", "architectures": ["BartForConditionalGeneration"], "vocab_size": 50265, "d_model": 1024,
        "encoder_layers": 12, "decoder_layers": 12, "encoder_attention_heads": 16, "decoder_attention_heads": 16,
        "encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096, "max_position_embeddings": 1024,
    },
}  # fmt: skip


def bottlenecks(layers, d, r, each=1, norms=0):
    return layers * each * (2 * d * r + r + d + 2 * d * norms)


def prefix(layers, d, n):
    return 2 * layers * d * n


def mlp(layers, d, n, mid):
    return n * d + (d + 1) * mid + (mid + 1) * 2 * layers * d


def experts(layers, d, r, m, up_shared=True):
    return layers * (m * (d * r + r) + (1 if up_shared else m) * (r * d + d))


def gates(layers, d, each):
    return layers * each * (d + 1)


AP = bottlenecks(12, 768, 48) + prefix(12, 768, 10) + gates(12, 768, 2)
APL = AP + 12 * 4 * 768 * 8 + gates(12, 768, 2)
MLP = mlp(12, 768, 10, 512) - prefix(12, 768, 10)
ROWS = [  # backbone, tuning, stored, training where that differs
    ("roberta-large", "full", 354_310_144),
    ("roberta-large", "pfeiffer:r=64", bottlenecks(24, 1024, 64)),
    ("roberta-large", "pfeiffer:r=16", 811_392),
    ("roberta-large", "houlsby:r=64", bottlenecks(24, 1024, 64, each=2)),
    ("roberta-large", "houlsby:r=8", 835_968),
    ("roberta-large", "lora:r=8", 786_432),
    ("roberta-large", "adamix:r=16,experts=4,share=up", 811_392, 1_992_192),
    ("roberta-large", "adamix:r=16,experts=4,share=none", 811_392, 3_245_568),
    ("bert-base", "full", 109_482_240),
    ("bert-base", "pfeiffer:r=48", 894_528),
    ("bert-base", "houlsby:r=24", 903_744),
    ("bert-base", "houlsby:r=48", 1_789_056),
    ("bert-base", "bitfit", 102_912),
    ("bert-base", "prefix:n=10,mid=0", 184_320),
    ("bert-base", "prefix:n=10,mid=512", 184_320, 9_857_024),
    ("bert-base", "lora:r=8", 294_912),
    ("bert-base", "unipelt:parts=adapter+prefix", AP, AP + MLP),
    ("bert-base", "unipelt:parts=adapter+prefix+lora", APL, APL + MLP),
    ("bert-base", "adamix:r=48,experts=4,share=up", 894_528, 2_223_360),
    ("gpt2-medium", "full", 354_823_168),
    ("gpt2-medium", "lin:r=6", bottlenecks(24, 1024, 6, norms=1)),
    ("gpt2-medium", "lin:r=224", bottlenecks(24, 1024, 224, norms=1)),
    ("gpt2-medium", "houlsby:r=112", bottlenecks(24, 1024, 112, each=2)),
    ("gpt2-medium", "top:layers=2", 2 * (12 * 1024**2 + 13 * 1024) + 2 * 1024),
    ("gpt2-medium", "prefix:n=7,mid=0", prefix(24, 1024, 7)),
    ("gpt2-medium", "prefix:n=5,mid=512", prefix(24, 1024, 5), 25_744_896),
    ("gpt2-medium", "prelayer:n=14", 24 * 14 * 1024),
    ("gpt2-medium", "lora:r=4", 393_216),
    ("gpt2-medium", "adamix:r=8,experts=8,share=up", bottlenecks(24, 1024, 8), experts(24, 1024, 8, 8)),
    ("gpt2-medium", "adamix-lora:r=4,experts=8,share=up", 393_216, 24 * 2 * 1024 * 4 * (8 + 1)),
    ("bart-large", "prefix:n=200,mid=800", prefix(3 * 12, 1024, 200), mlp(3 * 12, 1024, 200, 800)),  # one MLP for all
]


def test_the_formulas_give_the_integers_that_were_counted_elsewhere():
    assert bottlenecks(24, 1024, 16) == 811_392
    assert bottlenecks(24, 1024, 8, each=2) == 835_968
    assert (experts(24, 1024, 16, 4), experts(24, 1024, 16, 4, up_shared=False)) == (1_992_192, 3_245_568)
    assert experts(12, 768, 48, 4) == 2_223_360
    assert (prefix(12, 768, 10), mlp(12, 768, 10, 512), mlp(24, 1024, 5, 512)) == (184_320, 9_857_024, 25_744_896)
    assert (mlp(36, 1024, 200, 800), 3 * mlp(12, 1024, 200, 800)) == (60_080_928, 62_130_528)
    assert 2 * (12 * 1024**2 + 13 * 1024) + 2 * 1024 == 25_194_496


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """config("bert-base"): a folder with that config.json and nothing else."""
    root = tmp_path_factory.mktemp("configs")
    for name, content in CONFIGS.items():
        (root / name).mkdir()
        (root / name / "config.json").write_text(json.dumps(content))
    return lambda name: root / name


def test_the_page_in_docs_says_the_same(config):
    lines = (Path(__file__).parents[2] / "docs" / "parameters.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("|")]
    said = {(tuning.strip("`"), stored, training) for _, _, tuning, stored, training, *_ in cells}
    for _, tuning, stored, *training in ROWS:
        learnt = f"{training[0]:,}" if training and training != [...] else ""
        assert (tuning, f"{stored:,}", learnt) in said


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}")
def test_the_lectures_columns_come_out_to_the_last_digit(config, row):
    name, tuning, stored, *training = row
    if parse_spec(tuning).name not in TUNINGS:
        pytest.skip(f"no tuning '{parse_spec(tuning).name}' yet")
    (found,) = params_report(str(config(name)), [tuning])
    assert found.stored == stored
    assert training == [...] or found.training == (training[0] if training else stored)


@pytest.mark.parametrize(
    ("name", "head", "whole"),
    [("roberta-large", 1_051_650, 355_361_794), ("bert-base", 1_538, 109_483_778), ("gpt2-medium", 2_048, 354_825_216)],
)
def test_the_backbone_and_its_head_of_two_labels_add_up_to_the_classifier(config, name, head, whole):
    (found,) = params_report(str(config(name)), ["full"])
    assert (found.head, found.backbone_parameters + found.head) == (head, whole)


@pytest.mark.parametrize(("labels", "head"), [(1, 1_050_625), (3, 1_052_675)])
def test_a_head_grows_with_its_labels(config, labels, head):
    (found,) = params_report(str(config("roberta-large")), ["lora:r=8"], labels=labels)
    assert found.head == head


def test_under_a_cloze_the_language_models_head_belongs_to_the_backbone(config):
    full, bitfit = params_report(str(config("roberta-large")), ["full", "bitfit"], head="cloze")
    assert (full.stored, full.head, full.backbone_parameters) == (355_412_057, 0, 355_412_057)
    (with_head,) = params_report(str(config("roberta-large")), ["bitfit"])
    assert bitfit.stored == with_head.stored  # its own biases stay frozen


def test_a_poolers_bias_learns_under_bitfit_with_a_head_alone(config):
    (found,) = params_report(str(config("bert-base")), ["bitfit"], head="cloze")
    assert found.stored == 102_912 - 768


def test_what_is_counted_is_what_a_trained_member_holds(tiny, folder_of, reviews, reviews_task):
    from promptlab.methods.finetune import Finetune
    from promptlab.methods.method import Job

    for family in ("bert", "gpt2", "distilbert", "roberta", "albert", "modernbert"):
        for tuning in ("lora:r=2", "bitfit", "top:layers=1", "full"):
            if (family, tuning) == ("modernbert", "bitfit"):  # it has no biases
                continue
            spec = parse_spec(tuning)
            job = Job(reviews_task, reviews[:4])
            ((_, trained),) = Finetune(steps=1).fit(tiny(family), TUNINGS.build(spec.name, spec.settings), [job])
            (found,) = params_report(str(folder_of(family)), [tuning])
            sizes = {name: one.numel() for name, one in trained.state.items()}
            head = sum(size for name, size in sizes.items() if name.startswith("head.") and ".pooler." not in name)
            assert (found.stored, found.head) == (sum(sizes.values()) - head, head), (family, tuning)


def test_a_checkpoint_without_a_pooler_is_counted_without_one(folder_of, tmp_path):
    import shutil

    from transformers import BertForMaskedLM

    from promptlab.backbone.checkpoint import quiet

    folder = shutil.copytree(folder_of("bert"), tmp_path / "bare")
    with quiet():
        BertForMaskedLM.from_pretrained(folder).save_pretrained(folder)
    with_pooler, without = (params_report(str(one), ["bitfit"])[0] for one in (folder_of("bert"), folder))
    assert with_pooler.stored - without.stored == 32
    assert with_pooler.backbone_parameters - without.backbone_parameters == 32 * 32 + 32


def test_a_file_that_is_a_config_is_read_whatever_its_name(config, tmp_path):
    (tmp_path / "small.json").write_text((config("bert-base") / "config.json").read_text())
    (found,) = params_report(str(tmp_path / "small.json"), ["lora:r=8"])
    assert found.stored == 294_912


def test_sweeps_and_lists_are_opened_in_their_order(config):
    found = params_report(str(config("bert-base")), ["lora:r=4|8,alpha=8", "bitfit,top:layers=1"])
    assert [one.tuning for one in found] == ["lora:r=4,alpha=8", "lora:r=8,alpha=8", "bitfit", "top:layers=1"]
    assert found[0].share == found[0].stored / 109_482_240


def test_found_words_are_text_and_no_weights(config):
    (found,) = params_report(str(config("bert-base")), ["words"], head="cloze")
    assert (found.stored, found.training) == (0, 0)


def test_a_family_that_is_not_known_is_counted_by_probing(tmp_path):
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "ernie", "vocab_size": 60, **sizes}))
    (found,) = params_report(str(tmp_path), ["lora:r=2"], head="cloze")
    assert found.stored == 3 * 4 * 32 * 2


def test_counting_leaves_torchs_own_random_stream_alone(config):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    params_report(str(config("bert-base")), ["lora:r=8", "full"])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("tuning", "head", "message"),
    [
        ("lorra:r=8", "cloze", "no tuning 'lorra'. Did you mean 'lora'"),
        ("lora:rank=8", "cloze", "lora has no setting 'rank'"),
        ("lora:r=4000", "cloze", "r=4000 does not fit"),
        ("lora", "close", "head=close: no such head. Did you mean 'cloze'"),
        ("top:layers=30", "cloze", "layers=30, but .* has 12"),
        ("lora:targets=gate", "cloze", r"lora: no target 'gate' in .*bert-base\. Known: q\+k\+v\+o\+in\+out, or all"),
        ("adamix-lora:targets=gate", "cloze", "adamix-lora: no target 'gate' in .*bert-base"),
        ("mix:parts=lora+ia3,targets=gate", "cloze", "lora: no target 'gate' in .*bert-base"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(config, tuning, head, message):
    with pytest.raises(SettingError, match=message):
        params_report(str(config("bert-base")), [tuning], head)


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(BackboneError, match="has no config.json, so it is no model. Write a folder"):
        params_report(str(tmp_path), ["lora"])
    with pytest.raises(BackboneError, match="no folder or config.json 'not/there/x.json'. Write one"):
        params_report("not/there/x.json", ["lora"])


def test_what_needs_words_says_that_a_config_has_none(config):
    from promptlab.backbone.blank import blank_backbone

    with pytest.raises(BackboneError, match="made of its config.json alone has no tokenizer"):
        blank_backbone(str(config("bert-base"))).tokenizer("a text")

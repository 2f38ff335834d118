"""``promptlab params`` on the command line."""

import json

import pytest

CONFIG = {
    "model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 30522, "hidden_size": 768,
    "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 512,
}  # fmt: skip


@pytest.fixture
def bert(tmp_path):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path / "bert"


def test_json_is_one_array_in_the_order_of_the_tunings(say, bert):
    said = say("params", bert, "-t", "lora:r=8", "-t", "bitfit", "--json")
    assert said.code == 0
    assert said.json == [
        {
            "backbone": str(bert), "tuning": "lora:r=8", "stored": 294912, "training": 294912, "head": 1538,
            "backbone_parameters": 109482240,
        },
        {
            "backbone": str(bert), "tuning": "bitfit", "stored": 102912, "training": 102912, "head": 1538,
            "backbone_parameters": 109482240,
        },
    ]  # fmt: skip
    assert said.err == ""


def test_the_table_says_the_share_in_percent(say, bert):
    lines = say("params", bert, "-t", "lora:r=8", "--head", "cloze").out.splitlines()
    assert lines[0].split() == ["tuning", "stored", "share", "training", "head", "backbone"]
    assert lines[1].split() == ["lora:r=8", "294,912", "0.269", "%", "294,912", "0", "109,514,298"]


def test_without_tunings_all_are_counted_and_what_does_not_fit_is_named(say, tmp_path):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 60, **sizes}))
    said = say("params", tmp_path, "--json")
    assert said.code == 0
    assert {"full", "lora", "top"} <= {row["tuning"] for row in said.json}
    assert "bitfit is left out: bitfit: " in said.err


def test_an_unknown_tuning_is_one_message(say, bert):
    said = say("params", bert, "-t", "lorra")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: no tuning 'lorra'. Did you mean 'lora'?")

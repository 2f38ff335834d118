"""Families beyond those of conftest.py, as small; ``tiny``, ``fresh`` and ``float64`` know them by their names here."""

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    DebertaV2Config,
    ElectraConfig,
    ErnieConfig,
    GPTJConfig,
    GPTNeoXConfig,
    OPTConfig,
    PhiConfig,
    Qwen2Config,
)

from promptlab.backbone.checkpoint import quiet

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 128, "initializer_range": 0.1,
}  # fmt: skip
CONFIGS = {
    "electra": lambda own: ElectraConfig(**own, embedding_size=16),
    "deberta-v2": lambda own: DebertaV2Config(
        **own, relative_attention=True, position_buckets=8, share_att_key=True, pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm", position_biased_input=False,
    ),
    "ernie": lambda own: ErnieConfig(**own, type_vocab_size=1),  # no layout: probed
    "gpt_neox": lambda own: GPTNeoXConfig(**own),
    "opt": lambda own: OPTConfig(**{**own, "ffn_dim": 48, "init_std": 0.1, "word_embed_proj_dim": 16}),
    "phi": lambda own: PhiConfig(**own),
    "qwen2": lambda own: Qwen2Config(**own, num_key_value_heads=2),
    "gptj": lambda own: GPTJConfig(
        vocab_size=own["vocab_size"], n_positions=128, n_embd=32, n_layer=2, n_head=4, n_inner=48, rotary_dim=4,
        initializer_range=0.1, bos_token_id=0, eos_token_id=0,
    ),  # no layout either
}  # fmt: skip
MASKED = ("electra", "deberta-v2", "ernie")


def build(family: str, like: Path, folder: Path) -> Path:
    """Writes a tiny model of a family with the tokenizer of another's folder."""
    tokenizer = AutoTokenizer.from_pretrained(like)
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": 0, "eos_token_id": 0}
    auto = AutoModelForMaskedLM if family in MASKED else AutoModelForCausalLM
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = auto.from_config(CONFIGS[family]({**SIZES, **ids, "vocab_size": len(tokenizer)}))
        for weight in model.parameters():
            weight.data.add_(0.05 * torch.randn_like(weight))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder

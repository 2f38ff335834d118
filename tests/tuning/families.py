"""Raw tiny models of many architectures, without tokenizers: two blocks, 32 wide, four heads of eight."""

import torch
import transformers
from transformers import PreTrainedModel

from promptlab.backbone.anatomy import unroll
from promptlab.backbone.checkpoint import quiet

_MANY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 50,
    "max_position_embeddings": 64, "initializer_range": 0.2,
}  # fmt: skip
_ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
_NAMED = {"bos_token_id": 0, "eos_token_id": 0, "vocab_size": 50, "initializer_range": 0.2}
_BOTH = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "vocab_size": 50,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "init_std": 0.2, "dropout": 0.0,
    "decoder_start_token_id": 0, **_ENDS,
}  # fmt: skip
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, **_NAMED}

INSIDE = {
    "bert": ("Bert", "MaskedLM", _MANY),
    "roberta": ("Roberta", "MaskedLM", {**_MANY, "pad_token_id": 1}),
    "albert": ("Albert", "MaskedLM", {**_MANY, "embedding_size": 16}),
    "modernbert": ("ModernBert", "MaskedLM",
                   {**_MANY, **_ENDS, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 8,
                    "global_attn_every_n_layers": 2, "initializer_cutoff_factor": 3.0}),
    "distilbert": ("DistilBert", "MaskedLM",
                   {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "vocab_size": 50,
                    "initializer_range": 0.2}),
    "electra": ("Electra", "MaskedLM", {**_MANY, "embedding_size": 16}),
    "gpt2": ("GPT2", "LMHeadModel", _GPT2),
    "llama": ("Llama", "CausalLM", {**_MANY, **_ENDS, "num_key_value_heads": 2}),
    "mistral": ("Mistral", "CausalLM", {**_MANY, **_ENDS, "num_key_value_heads": 2, "sliding_window": 8}),
    "qwen3": ("Qwen3", "CausalLM", {**_MANY, **_ENDS, "num_key_value_heads": 2, "head_dim": 16}),
    "opt": ("OPT", "CausalLM",
            {**_MANY, **_ENDS, "ffn_dim": 48, "init_std": 0.2, "dropout": 0.0, "word_embed_proj_dim": 32}),
    "t5": ("T5", "ForConditionalGeneration",
           {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 50,
            "decoder_start_token_id": 0, "initializer_factor": 1.0, "dropout_rate": 0.0}),
    "bart": ("Bart", "ForConditionalGeneration", {**_BOTH, "max_position_embeddings": 64}),
}  # fmt: skip
"""Architectures that attend through transformers' interface."""

OUTSIDE = {
    "deberta-v2": ("DebertaV2", "MaskedLM", {**_MANY, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "gpt-neo": ("GPTNeo", "CausalLM",
                {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]],
                 **_NAMED}),
    "rembert": ("RemBert", "MaskedLM", {**_MANY, **_ENDS, "input_embedding_size": 16, "output_embedding_size": 16}),
    "convbert": ("ConvBert", "MaskedLM", {**_MANY, "embedding_size": 32}),
    "megatron-bert": ("MegatronBert", "MaskedLM", _MANY),
    "xlm": ("XLM", "WithLMHeadModel",
            {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "vocab_size": 50, "max_position_embeddings": 64}),
    "mpnet": ("MPNet", "MaskedLM", _MANY),
    "led": ("LED", "ForConditionalGeneration",
            {**_BOTH, "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64,
             "attention_window": 4}),
}  # fmt: skip
"""Architectures with an attention of their own. GPT-J was one of them until transformers 5."""


def made(family: str, layers: int = 2, unrolled: bool = True) -> PreTrainedModel:
    """A tiny model, the same one each time, frozen and in evaluation mode."""
    stem, kind, settings = {**INSIDE, **OUTSIDE}[family]
    settings = {name: layers if name == "num_hidden_layers" else value for name, value in settings.items()}
    name = stem + ("For" + kind if kind in ("MaskedLM", "CausalLM") else kind)
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        config = getattr(transformers, f"{stem}Config")(**settings)
        model = getattr(transformers, name)(config)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.05 * torch.randn_like(weight))
    model.eval().requires_grad_(False)
    if unrolled:
        unroll(model)
    return model

"""Where each family keeps its parts: paths of blocks below the body, and of projections and norms below a block.

    a.b[2/3]           the second of three equal, contiguous parts of the module's output features
    a.b[2/3 a head]    the second third of every head's features (GPT-NeoX keeps them head by head)
    a.b|a.c            the first of the two that the model has
    a.*.b              each module of a list

Norms, gates and final norms that a model lacks are passed over. Families without a layout are probed (probing.py).
"""

from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class Layout:
    """Paths below the body (``blocks``, ``final_norm``) and below a block (the rest).

    Args:
        blocks: the list of blocks.
        query: as :class:`~promptlab.backbone.anatomy.Block` calls its parts; so are the next ones.
        key: see ``query``.
        value: see ``query``.
        attention_out: see ``query``.
        ffn_in: see ``query``.
        ffn_out: see ``query``.
        norms: in the order of the forward.
        ffn_gate: where feed-forwards are gated.
        final_norm: above the last block.
        cross: query, key, value and output of the attention to an encoder.
        decoder: of an encoder-decoder's second half.
        stackable: all that a block's modules read has the rows of the batch.
    """

    blocks: str
    query: str
    key: str
    value: str
    attention_out: str
    ffn_in: str
    ffn_out: str
    norms: tuple[str, ...]
    ffn_gate: str | None = None
    final_norm: str | None = None
    cross: tuple[str, str, str, str] | None = None
    decoder: "Layout | None" = None
    stackable: bool = True


_BERT = Layout(
    blocks="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_out="attention.output.dense",
    ffn_in="intermediate.dense",
    ffn_out="output.dense",
    norms=("attention.output.LayerNorm", "output.LayerNorm"),
)
_DEBERTA = replace(  # its embeddings of distances, one row, go through the projections of queries and keys too
    _BERT,
    query="attention.self.query_proj",
    key="attention.self.key_proj",
    value="attention.self.value_proj",
    stackable=False,
)
_LLAMA = Layout(
    blocks="layers",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    attention_out="self_attn.o_proj",
    ffn_in="mlp.up_proj",
    ffn_gate="mlp.gate_proj",
    ffn_out="mlp.down_proj",
    norms=("input_layernorm", "self_attn.q_norm", "self_attn.k_norm", "post_attention_layernorm"),
    final_norm="norm",
)
_PHI = replace(
    _LLAMA,
    attention_out="self_attn.dense",
    ffn_in="mlp.fc1",
    ffn_gate=None,
    ffn_out="mlp.fc2",
    norms=("input_layernorm", "self_attn.q_layernorm", "self_attn.k_layernorm"),
    final_norm="final_layernorm",
)
_OPT = Layout(
    blocks="decoder.layers",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    attention_out="self_attn.out_proj",
    ffn_in="fc1",
    ffn_out="fc2",
    norms=("self_attn_layer_norm", "final_layer_norm"),
    final_norm="decoder.final_layer_norm",
)
_BART_DECODER = replace(
    _OPT,
    norms=("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
    final_norm=None,
    cross=("encoder_attn.q_proj", "encoder_attn.k_proj", "encoder_attn.v_proj", "encoder_attn.out_proj"),
)
_T5 = Layout(
    blocks="encoder.block",
    query="layer.0.SelfAttention.q",
    key="layer.0.SelfAttention.k",
    value="layer.0.SelfAttention.v",
    attention_out="layer.0.SelfAttention.o",
    ffn_in="layer.1.DenseReluDense.wi|layer.1.DenseReluDense.wi_1",
    ffn_gate="layer.1.DenseReluDense.wi_0",
    ffn_out="layer.1.DenseReluDense.wo",
    norms=("layer.0.layer_norm", "layer.1.layer_norm"),
    final_norm="encoder.final_layer_norm",
)
_T5_DECODER = replace(
    _T5,
    blocks="decoder.block",
    ffn_in="layer.2.DenseReluDense.wi|layer.2.DenseReluDense.wi_1",
    ffn_gate="layer.2.DenseReluDense.wi_0",
    ffn_out="layer.2.DenseReluDense.wo",
    norms=("layer.0.layer_norm", "layer.1.layer_norm", "layer.2.layer_norm"),
    final_norm="decoder.final_layer_norm",
    cross=(
        "layer.1.EncDecAttention.q",
        "layer.1.EncDecAttention.k",
        "layer.1.EncDecAttention.v",
        "layer.1.EncDecAttention.o",
    ),
)
LAYOUTS = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _BERT),
    "deberta-v2": _DEBERTA,
    "distilbert": Layout(
        blocks="transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attention_out="attention.out_lin",
        ffn_in="ffn.lin1",
        ffn_out="ffn.lin2",
        norms=("sa_layer_norm", "output_layer_norm"),
    ),
    "albert": Layout(
        blocks="encoder.albert_layer_groups.*.albert_layers",
        query="attention.query",
        key="attention.key",
        value="attention.value",
        attention_out="attention.dense",
        ffn_in="ffn",
        ffn_out="ffn_output",
        norms=("attention.LayerNorm", "full_layer_layer_norm"),
    ),
    "modernbert": Layout(
        blocks="layers",
        query="attn.Wqkv[1/3]",
        key="attn.Wqkv[2/3]",
        value="attn.Wqkv[3/3]",
        attention_out="attn.Wo",
        ffn_gate="mlp.Wi[1/2]",
        ffn_in="mlp.Wi[2/2]",
        ffn_out="mlp.Wo",
        norms=("attn_norm", "mlp_norm"),
        final_norm="final_norm",
    ),
    "gpt2": Layout(
        blocks="h",
        query="attn.c_attn[1/3]",
        key="attn.c_attn[2/3]",
        value="attn.c_attn[3/3]",
        attention_out="attn.c_proj",
        ffn_in="mlp.c_fc",
        ffn_out="mlp.c_proj",
        norms=("ln_1", "ln_2"),
        final_norm="ln_f",
    ),
    "gpt_neox": Layout(
        blocks="layers",
        query="attention.query_key_value[1/3 a head]",
        key="attention.query_key_value[2/3 a head]",
        value="attention.query_key_value[3/3 a head]",
        attention_out="attention.dense",
        ffn_in="mlp.dense_h_to_4h",
        ffn_out="mlp.dense_4h_to_h",
        norms=("input_layernorm", "post_attention_layernorm"),
        final_norm="final_layer_norm",
    ),
    "opt": _OPT,
    "phi": _PHI,
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3"), _LLAMA),
    "t5": replace(_T5, decoder=_T5_DECODER),
    "bart": replace(_OPT, blocks="encoder.layers", final_norm=None, decoder=_BART_DECODER),
}


def submodule(module: nn.Module, path: str) -> nn.Module | None:
    """The module at a path, or at the first of several parted by ``|``; None where there is none."""
    for one in path.split("|"):
        try:
            found = module.get_submodule(one)
        except AttributeError:  # also where the attribute is there, and None
            continue
        return None if isinstance(found, nn.Identity) else found  # ModernBERT's first block has no norm at its start
    return None


def sizes(module: nn.Module) -> tuple[int, int]:
    """Widths of what a Linear or GPT-2's Conv1D reads and writes; weights of four bits have a shape of their own."""
    if isinstance(inputs := getattr(module, "in_features", None), int):
        return inputs, cast(int, module.out_features)
    first, second = cast(Tensor, module.weight).shape
    return (first, second) if isinstance(module, Conv1D) else (second, first)

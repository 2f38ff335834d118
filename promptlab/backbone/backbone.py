"""A language model with its tokenizer, loaded frozen: the one place where transformers builds a model.

load_backbone(name) -> Backbone      masked (BERT and its kin), causal (GPT-2, Llama), seq2seq (T5, BART)
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from promptlab.backbone import checkpoint
from promptlab.backbone.anatomy import Anatomy, anatomy_of, unroll
from promptlab.backbone.catalog import Place, locate
from promptlab.backbone.device import pick_device, pick_dtype
from promptlab.backbone.files import fingerprint, stored_part
from promptlab.errors import BackboneError
from promptlab.folders import some

_TRUNKS = {"opt": "decoder"}
_TRAINED = 512  # tokens of the rows that T5 and its kin have learnt from


@dataclass(eq=False, repr=False)
class Backbone:
    """A frozen model, its tokenizer, and what the floors above ask about them.

    Args:
        name: as written by the user.
        kind: ``masked``, ``causal`` or ``seq2seq``.
        place: where the files lie.
        model: with its language-model head, in evaluation mode, no weight asking for gradients.
        tokenizer: a fast one.
        device: where the model is.
        dtype: its number format.
        max_length: the most positions of one row, special tokens counted.
        new_head: its language-model head was not in the checkpoint but newly drawn.
        fingerprint: follows from the files' contents.
    """

    name: str
    kind: str
    place: Place
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    device: torch.device
    dtype: torch.dtype
    max_length: int
    new_head: bool
    fingerprint: str

    def __repr__(self) -> str:
        return f"Backbone({self.name!r}, {self.kind}, {self.layers} x {self.width}, {self.dtype}, {self.device})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "Backbone":
        return self  # frozen: scikit-learn's clones share it

    @property
    def body(self) -> nn.Module:
        """The model below its head; its output's ``last_hidden_state`` is ``(rows, tokens, width)``."""
        return self.model.base_model

    @property
    def no_states(self) -> Tensor:
        """``(width, 0)``: in the states' number format and on their device, whatever those of the weights are."""
        return torch.empty(self.width, 0, dtype=self.dtype, device=self.device)

    @property
    def trunk(self) -> nn.Module:
        """What every forward runs and the head reads: the body, or OPT's decoder, which its head calls by itself.

        Of an encoder-decoder the decoder.
        """
        if self.kind == "seq2seq":
            return self.model.get_decoder()
        return self.body.get_submodule(_TRUNKS.get(self.config.model_type, ""))

    @property
    def entry(self) -> nn.Module:
        """What every forward runs first: the trunk, or an encoder-decoder's encoder."""
        return self.model.get_encoder() if self.kind == "seq2seq" else self.trunk

    @property
    def folder(self) -> Path:
        """Where config and tokenizer lie, and the weights unless they are a difference."""
        return self.place.folder

    @property
    def config(self) -> PreTrainedConfig:
        """The model's configuration."""
        return self.model.config

    @property
    def layers(self) -> int:
        """How many blocks the model runs, those of both halves of an encoder-decoder."""
        if self.kind == "seq2seq":
            decoder = getattr(self.config, "num_decoder_layers", None) or self.config.decoder_layers
            return self.config.num_hidden_layers + decoder
        return self.config.num_hidden_layers * getattr(self.config, "inner_group_num", 1)

    @property
    def width(self) -> int:
        """Width of the hidden states."""
        return self.config.hidden_size

    @property
    def vocab(self) -> int:
        """Rows of the word embeddings, and columns of the logits."""
        return self.model.get_input_embeddings().num_embeddings

    @property
    def pad_id(self) -> int:
        """What fills the end of a short row; 0 where the tokenizer has no padding token, since masks decide."""
        return 0 if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id

    @cached_property
    def anatomy(self) -> Anatomy:
        """Blocks, projections and norms of the model.

        Raises:
            BackboneError: an unknown family.
        """
        return anatomy_of(self.model)

    @cached_property
    def stackable(self) -> bool:
        """Whether rows of several members may go through it in one batch; not where its parts are unknown."""
        try:
            return self.anatomy.stackable
        except BackboneError:
            return False

    @cached_property
    def pooler_weights(self) -> dict[str, Tensor]:
        """The checkpoint's pooler (``dense.weight`` and ``dense.bias``; ALBERT's lack the ``dense.``), on the CPU.

        None of a difference: its base's pooler reads an encoder that has changed.
        """
        return {} if self.place.base or self.place.gguf else stored_part(self.folder, "pooler")

    @property
    def has_pooler_weights(self) -> bool:
        """Whether the checkpoint holds a pooler, which language models leave aside."""
        return bool(self.pooler_weights)


def load_backbone(
    name: str,
    device: str = "auto",
    dtype: str = "auto",
    *,
    allow_new_head: bool = False,
    kind: str | None = None,
    trust_remote_code: bool = False,
) -> Backbone:
    """Loads a model, frozen, and its tokenizer.

    Args:
        name: ``mini``, ``smollm2``, a folder, a .gguf file or a hub name.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        dtype: ``auto`` (bfloat16 on CUDA, else float32), ``float32``, ``bfloat16``, ``float16``, ``float64``.
        allow_new_head: draws a language-model head where the checkpoint has none, instead of refusing.
        kind: ``masked``, ``causal`` or ``seq2seq``, where the configuration's own answer is not wanted.
        trust_remote_code: lets a hub model run code of its own.

    Raises:
        BackboneError: files are missing or damaged, or the model is of a kind that cannot be used.
        SettingError: no such device, number format or kind.
    """
    on, number = pick_device(device), pick_dtype(dtype, pick_device(device))
    place = locate(name)
    found = checkpoint.read(place, name, kind, number, trust_remote_code)
    if found.missing and not allow_new_head:
        raise BackboneError(
            f"{name} has no language-model head, so it cannot fill in a word: its weights lack "
            f"{some(sorted(found.missing))}. Write a model that has one, train one (promptlab adapt TEXT "
            "--new-head), or write allow_new_head=True (--allow-new-head) to start from a random one."
        )
    model = found.model.eval().requires_grad_(False).to(on)
    unroll(model)
    length = _max_length(model, found.tokenizer)
    return Backbone(
        name, found.kind, place, model, found.tokenizer, on, number, length, bool(found.missing), fingerprint(place)
    )


def _max_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> int:
    positions = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    if positions >= VERY_LARGE_INTEGER:  # neither says: distances between tokens are what T5 reads
        positions = getattr(model.config, "n_positions", None) or _TRAINED
    for path, module in model.named_modules():
        if path.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= module.padding_idx + 1  # RoBERTa and its kin count positions from there
    return min(positions, tokenizer.model_max_length)

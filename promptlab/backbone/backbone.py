"""A language model with its tokenizer, loaded frozen: the one place where transformers builds a model.

load_backbone(name) -> Backbone      masked (BERT and its kin) or causal (GPT-2, Llama and theirs)
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from promptlab.backbone.anatomy import Anatomy, anatomy_of, unroll
from promptlab.backbone.catalog import first_line, locate, read_config
from promptlab.backbone.device import pick_device, pick_dtype
from promptlab.backbone.files import fingerprint, stored_part
from promptlab.errors import BackboneError, SettingError

KINDS = {"masked": MODEL_FOR_MASKED_LM_MAPPING_NAMES, "causal": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}
_ANEW = "Copy its files anew from where the model came."


@dataclass(eq=False, repr=False)
class Backbone:
    """A frozen model, its tokenizer, and what the floors above ask about them.

    Args:
        name: as written by the user.
        kind: ``masked`` or ``causal``.
        folder: where the files lie.
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
    folder: Path
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
    def config(self) -> PreTrainedConfig:
        """The model's configuration."""
        return self.model.config

    @property
    def layers(self) -> int:
        """How many blocks the model runs."""
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
    def pooler_weights(self) -> dict[str, Tensor]:
        """The checkpoint's pooler (``dense.weight`` and ``dense.bias``; ALBERT's lack the ``dense.``), on the CPU."""
        return stored_part(self.folder, "pooler")

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
        name: a folder or a hub name.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        dtype: ``auto`` (bfloat16 on CUDA, else float32), ``float32``, ``bfloat16``, ``float16``, ``float64``.
        allow_new_head: draws a language-model head where the checkpoint has none, instead of refusing.
        kind: ``masked`` or ``causal``, where the configuration's own answer is not wanted.
        trust_remote_code: lets a hub model run code of its own.

    Raises:
        BackboneError: files are missing or damaged, or the model is of a kind that cannot be used.
        SettingError: no such device, number format or kind.
    """
    place = pick_device(device)
    number = pick_dtype(dtype, place)
    folder = locate(name)
    raw = read_config(folder, name)
    with quiet():
        config = _config(folder, raw, name, trust_remote_code)
        kind = _kind(config, raw, name, kind)
        tokenizer = _tokenizer(folder, name, trust_remote_code)
        model, missing = _model(folder, name, kind, config, dtype=number, trust=trust_remote_code)
    _check_complete(model, missing, name, allow_new_head)
    _check_tokenizer(tokenizer, model, kind, name)
    _check_tied(model, name)
    model.eval().requires_grad_(False).to(place)
    unroll(model)
    length = _max_length(model, tokenizer)
    return Backbone(name, kind, folder, model, tokenizer, place, number, length, bool(missing), fingerprint(folder))


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' reports, progress bars and warnings back; the user's settings are afterwards as they were."""

    def no_bar(factory: Any, args: tuple, kwargs: dict) -> Any:
        return transformers_logging.EmptyTqdm(*args, **kwargs)

    root = logging.getLogger("transformers")
    level, hook = root.level, transformers_logging.set_tqdm_hook(no_bar)
    root.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
        transformers_logging.set_tqdm_hook(hook)


def _config(folder: Path, raw: dict[str, Any], name: str, trust: bool) -> PreTrainedConfig:
    if raw.get("auto_map") and raw.get("model_type") not in CONFIG_MAPPING_NAMES and not trust:
        raise BackboneError(
            f"{name} brings code of its own, which would run on this machine. Read it first, "
            "then write trust_remote_code=True."
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
    except Exception as error:  # a config checks its fields with errors of its own
        raise BackboneError(f"{name}/config.json is not understood: {first_line(error)} {_ANEW}") from error
    if config.is_encoder_decoder:
        raise BackboneError(
            f"{name} is an encoder-decoder ({config.model_type}), which no method here can use yet. "
            "Write a masked model (BERT and its kin) or a causal one (GPT-2, Llama)."
        )
    return config


def _kind(config: PreTrainedConfig, raw: dict[str, Any], name: str, wanted: str | None) -> str:
    if wanted is not None and wanted not in KINDS:
        raise SettingError(f"kind={wanted}: no such kind. Write {' or '.join(KINDS)}.")
    possible = [kind for kind, types in KINDS.items() if config.model_type in types or raw.get("auto_map")]
    if not possible:
        raise BackboneError(
            f"{name} is of type '{config.model_type}', for which transformers knows no language-model head. "
            "Write a masked or a causal language model."
        )
    if wanted is not None and wanted not in possible:
        raise BackboneError(f"{name} ({config.model_type}) can have no {wanted} head. Write kind={possible[0]}.")
    built = " ".join(config.architectures or [])
    causal = "CausalLM" in built or "LMHead" in built  # types that know both heads: the one it was saved with
    return wanted or ("causal" if causal and "causal" in possible else possible[0])


def _tokenizer(folder: Path, name: str, trust: bool) -> PreTrainedTokenizerFast:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare exceptions on files it cannot read
        raise BackboneError(f"the tokenizer of {name} cannot be loaded: {first_line(error)} {_ANEW}") from error
    if not tokenizer.is_fast:
        kind = type(tokenizer).__name__
        raise BackboneError(f"the tokenizer of {name} ({kind}) is not a fast one. Put a tokenizer.json in the folder.")
    return tokenizer


def _model(
    folder: Path, name: str, kind: str, config: PreTrainedConfig, *, dtype: torch.dtype, trust: bool
) -> tuple[PreTrainedModel, set[str]]:
    auto = AutoModelForMaskedLM if kind == "masked" else AutoModelForCausalLM
    options = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": trust, "dtype": dtype}
    reports = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # read below, instead of an error's log
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # a newly drawn head follows from nothing but this
            model, info = auto.from_pretrained(folder, config=config, **options, **reports)
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"the weights of {name} cannot be loaded: {first_line(error)} {_ANEW}") from error
    for key, found, expected in sorted(info["mismatched_keys"]):
        raise BackboneError(
            f"the weights of {name} do not fit its config.json: {key} is {tuple(found)}, not {tuple(expected)}. {_ANEW}"
        )
    return model, set(info["missing_keys"])


def _check_complete(model: PreTrainedModel, missing: set[str], name: str, allow_new_head: bool) -> None:
    body = sorted(key for key in missing if key.startswith(f"{model.base_model_prefix}."))
    if body:
        raise BackboneError(f"the weights of {name} lack {_some(body)}, which its config.json asks for. {_ANEW}")
    if missing and not allow_new_head:
        raise BackboneError(
            f"{name} has no language-model head, so it cannot fill in a word: its weights lack "
            f"{_some(sorted(missing))}. Write a model that has one, or allow_new_head=True (--allow-new-head) to "
            "start from a random one."
        )


def _check_tokenizer(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel, kind: str, name: str) -> None:
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise BackboneError(
            f"the tokenizer of {name} knows {len(tokenizer)} tokens, the model only {rows}: they do not belong "
            f"together. {_ANEW}"
        )
    if kind == "masked" and tokenizer.mask_token_id is None:
        raise BackboneError(
            f"the tokenizer of {name} has no mask token, which a masked model asks with. "
            "Set mask_token in its tokenizer_config.json."
        )


def _check_tied(model: PreTrainedModel, name: str) -> None:
    head = model.get_output_embeddings()
    tied = head is None or head.weight is model.get_input_embeddings().weight
    if model.config.tie_word_embeddings and not tied:
        raise BackboneError(
            f"{name}: its config.json ties the output embeddings to the input's, but its weights hold two. "
            'Write "tie_word_embeddings": false there if that is meant.'
        )


def _max_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> int:
    positions = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    for path, module in model.named_modules():
        if path.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= module.padding_idx + 1  # RoBERTa and its kin count positions from there
    return min(positions, tokenizer.model_max_length)


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more

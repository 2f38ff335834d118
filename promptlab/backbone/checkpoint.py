"""A place's files into config, tokenizer and model: where transformers reads them, and what it says in our words."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)
from transformers.utils import logging as transformers_logging

from promptlab.backbone import difference
from promptlab.backbone.anatomy import unroll
from promptlab.backbone.catalog import Place, first_line, read_config
from promptlab.errors import BackboneError, MissingExtra, SettingError
from promptlab.folders import some

KINDS = {
    "masked": MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    "causal": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    "seq2seq": MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
}
BUILDERS: dict[str, Any] = {
    "masked": AutoModelForMaskedLM,
    "causal": AutoModelForCausalLM,
    "seq2seq": AutoModelForSeq2SeqLM,
}
"""What builds a model of each kind, with its language-model head."""
_ANEW = "Copy its files anew from where the model came."


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


@dataclass(frozen=True)
class Checkpoint:
    """What a place's files hold.

    Args:
        kind: ``masked``, ``causal`` or ``seq2seq``.
        model: on the CPU.
        tokenizer: a fast one.
        missing: weights of the language-model head that the files lack, newly drawn.
    """

    kind: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    missing: set[str]


def read(place: Place, name: str, kind: str | None, dtype: torch.dtype, trust: bool) -> Checkpoint:
    """Reads config, tokenizer and weights, and adds the difference where the place holds one.

    Args:
        place: where the files are.
        name: as the user wrote it.
        kind: ``masked``, ``causal`` or ``seq2seq``, where the configuration's own answer is not wanted.
        dtype: of the weights.
        trust: let the model run code of its own.

    Raises:
        BackboneError: files that are damaged or do not belong together, or a model of a kind that cannot be used.
        MissingExtra: a GGUF without the package that reads it.
        SettingError: no such kind.
    """
    raw = {} if place.gguf else read_config(place.folder, name)
    with quiet():
        config = configured(place, raw, name, trust)
        kind = kind_of(config, raw, name, kind)
        tokenizer = _tokenizer(place, name, trust)
        model, missing = _model(place, name, kind, config, dtype=dtype, trust=trust)
    _check_body(model, missing, name)
    _check_tokenizer(tokenizer, model, kind, name)
    _check_tied(model, name)
    return Checkpoint(kind, model, tokenizer, missing)


def configured(place: Place, raw: dict[str, Any], name: str, trust: bool) -> PreTrainedConfig:
    """The configuration of a place; ``raw`` is its file as it stands.

    Raises:
        BackboneError: it cannot be understood, or brings code of its own.
        MissingExtra: a GGUF without the package that reads it.
    """
    if raw.get("auto_map") and raw.get("model_type") not in CONFIG_MAPPING_NAMES and not trust:
        raise BackboneError(
            f"{name} brings code of its own, which would run on this machine. Read it first, "
            "then write trust_remote_code=True."
        )
    what = f"{name}/config.json"
    try:
        if place.gguf:
            what = f"what {name} says of its architecture"
            return _gguf_config(place)
        return AutoConfig.from_pretrained(place.folder, trust_remote_code=trust, local_files_only=True)
    except MissingExtra:
        raise
    except Exception as error:  # a config checks its fields with errors of its own
        raise BackboneError(f"{what} is not understood: {first_line(error)} {_ANEW}") from error


def _gguf_config(place: Place) -> PreTrainedConfig:
    lacking = [package for package in ("gguf", "accelerate") if find_spec(package) is None]
    if lacking:
        needs = " and ".join(lacking)
        raise MissingExtra(f"{place.gguf} is a GGUF file, to read which {needs} is needed. Type: pip install {needs}")
    return AutoConfig.from_pretrained(place.folder, gguf_file=place.gguf, local_files_only=True)


def kind_of(config: PreTrainedConfig, raw: dict[str, Any], name: str, wanted: str | None) -> str:
    """``masked``, ``causal`` or ``seq2seq``: as wanted, or as the configuration says.

    Raises:
        BackboneError: transformers knows no such head for it.
        SettingError: no such kind.
    """
    if wanted is not None and wanted not in KINDS:
        raise SettingError(f"kind={wanted}: no such kind. Write masked, causal or seq2seq.")
    halves = ("seq2seq",) if config.is_encoder_decoder else ("masked", "causal")  # BART's name is in every list
    possible = [kind for kind in halves if config.model_type in KINDS[kind] or raw.get("auto_map")]
    if not possible:
        raise BackboneError(
            f"{name} is of type '{config.model_type}', for which transformers knows no language-model head. "
            "Write a masked or a causal language model, or an encoder-decoder."
        )
    if wanted is not None and wanted not in possible:
        raise BackboneError(f"{name} ({config.model_type}) can have no {wanted} head. Write kind={possible[0]}.")
    built = " ".join(config.architectures or [])
    causal = "CausalLM" in built or "LMHead" in built  # types that know both heads: the one it was saved with
    return wanted or ("causal" if causal and "causal" in possible else possible[0])


def _tokenizer(place: Place, name: str, trust: bool) -> PreTrainedTokenizerFast:
    try:
        if place.gguf:
            tokenizer = _gguf_tokenizer(place)
        else:
            tokenizer = AutoTokenizer.from_pretrained(place.folder, local_files_only=True, trust_remote_code=trust)
    except Exception as error:  # the tokenizers library raises bare exceptions on files it cannot read
        raise BackboneError(f"the tokenizer of {name} cannot be loaded: {first_line(error)} {_ANEW}") from error
    if not tokenizer.is_fast:
        kind = type(tokenizer).__name__
        raise BackboneError(f"the tokenizer of {name} ({kind}) is not a fast one. Put a tokenizer.json in the folder.")
    return tokenizer


def _gguf_tokenizer(place: Place) -> PreTrainedTokenizerFast:
    with TemporaryDirectory() as alone:  # a tokenizer of another model beside the file would be mixed in
        link = Path(alone) / str(place.gguf)
        link.symlink_to((place.folder / str(place.gguf)).resolve())
        return AutoTokenizer.from_pretrained(alone, gguf_file=link.name, local_files_only=True)


def _model(
    place: Place, name: str, kind: str, config: PreTrainedConfig, *, dtype: torch.dtype, trust: bool
) -> tuple[PreTrainedModel, set[str]]:
    auto = BUILDERS[kind]
    exact = torch.float32 if place.base and dtype in (torch.float16, torch.bfloat16) else dtype  # to add in
    options: dict[str, Any] = {"local_files_only": True, "dtype": exact}
    options |= {"gguf_file": place.gguf} if place.gguf else {"use_safetensors": True, "trust_remote_code": trust}
    reports = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # read below, instead of an error's log
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # a newly drawn head follows from nothing but this
            with redirect_stderr(StringIO()) if place.gguf else nullcontext():  # its bar heeds no setting
                model, info = auto.from_pretrained(place.base or place.folder, config=config, **options, **reports)
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"the weights of {name} cannot be loaded: {first_line(error)} {_ANEW}") from error
    for key, found, expected in sorted(info["mismatched_keys"]):
        raise BackboneError(
            f"the weights of {name} do not fit its config.json: {key} is {tuple(found)}, not {tuple(expected)}. {_ANEW}"
        )
    missing = set(info["missing_keys"])
    if place.gguf:  # its weights are plain numbers now, and may be saved as such
        model.hf_quantizer = None
        vars(model.config).pop("quantization_config", None)
    if place.base is not None:
        unroll(model)  # a difference names every block's own weights
        missing = _still_missing(model, missing, difference.apply(model, place.folder))
    return model.to(dtype), missing


def _still_missing(model: PreTrainedModel, missing: set[str], brought: set[str]) -> set[str]:
    """What neither base nor difference holds; a tied weight is there under any of its names."""
    own = dict(model.named_parameters(remove_duplicate=False))
    there = {id(own[name]) for name in brought}
    return {name for name in missing if id(own.get(name)) not in there}


def _check_body(model: PreTrainedModel, missing: set[str], name: str) -> None:
    below = "" if model.base_model is model else f"{model.base_model_prefix}."  # T5's language model is its own body
    body = sorted(key for key in missing if key.startswith(below) and not key.startswith("lm_head."))
    if body:
        raise BackboneError(f"the weights of {name} lack {some(body)}, which its config.json asks for. {_ANEW}")


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
    table = model.get_input_embeddings().weight
    tied = head is None or head.weight is table or head.weight.shape != table.shape  # DeBERTa-v3 reads the table itself
    if model.config.tie_word_embeddings and not tied:
        raise BackboneError(
            f"{name}: its config.json ties the output embeddings to the input's, but its weights hold two. "
            'Write "tie_word_embeddings": false there if that is meant.'
        )

"""Tiny backbones of seven families, built on the spot, loaded the way any model is, and a small task for them."""

import json
from collections.abc import Callable
from pathlib import Path

import beyond
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AlbertForPreTraining,
    AlbertTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForPreTraining,
    BertTokenizer,
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    MistralConfig,
    MistralForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.backbone.checkpoint import quiet

FAMILIES = ("bert", "roberta", "distilbert", "albert", "modernbert", "gpt2", "llama")
MASKED = FAMILIES[:5]

WORDS = """
a about actor actors all an and answer are as awful bad best boring brilliant business but by category choice correct
dull ending every fails false film fine for from funny great good had has he her his if in is it its just lovely make
maybe minute more movie moving music news no not of one or plot poor question really review right scene she slow so
sports story tech text than that the their there they this to true truth two very warm was watch weak were what with
words world worst writing wrong yes you terrible
""".split()
POSITIVE = "brilliant fine funny good lovely moving warm best".split()
NEGATIVE = "awful bad boring dull poor slow weak worst".split()
PUNCTUATION = list(""".,!?'"-:;()&/`""")


# ---------------------------------------------------------------- tokenizers: each word above is one token of each


def _cased() -> list[str]:
    return WORDS + [word.capitalize() for word in WORDS]


def _letters() -> list[str]:
    return [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789")


def _wordpiece() -> dict[str, int]:
    special = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [word for word in WORDS if len(word) > 1]
    pieces = PUNCTUATION + _letters() + ["##" + letter for letter in _letters()] + words
    return {piece: i for i, piece in enumerate(special + pieces)}


def _byte_bpe(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _train(raw, special, alphabet)


def _metaspace_bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    raw = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    alphabet = _letters() + PUNCTUATION
    return _train(raw, special, alphabet)


def _train(raw: Tokenizer, special: list[str], alphabet: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    trainer = trainers.BpeTrainer(
        vocab_size=4000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([f"{word} {word}" for word in _cased()], trainer)
    model = json.loads(raw.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def _unigram(names: str = "<pad> <unk> [CLS] [SEP] [MASK]") -> list[tuple[str, float]]:
    special = [(token, 0.0) for token in names.split()]
    words = [("▁" + word, -4.0) for word in WORDS if len(word) > 1]
    return special + words + [(letter, -9.0) for letter in ["▁", *_letters(), *PUNCTUATION]]


def _modernbert_tokenizer() -> PreTrainedTokenizerFast:
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    vocab, merges = _byte_bpe([*special.values(), "[unused0]"])
    special["mask_token"] = AddedToken("[MASK]", lstrip=True, special=True)  # as published
    raw = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, vocab[token]) for token in ("[CLS]", "[SEP]")],
    )
    raw.add_tokens([AddedToken("[unused0]", normalized=True, special=False)])  # as published too
    return PreTrainedTokenizerFast(tokenizer_object=raw, model_input_names=["input_ids", "attention_mask"], **special)


def _tokenizer(family: str) -> PreTrainedTokenizerFast:
    if family in ("bert", "distilbert"):
        return BertTokenizer(vocab=_wordpiece(), model_max_length=128)
    if family == "albert":
        return AlbertTokenizer(vocab=_unigram(), model_max_length=128)
    if family == "modernbert":
        return _modernbert_tokenizer()
    if family == "t5":
        vocab = _unigram("<pad> </s> <unk>") + [(f"<extra_id_{i}>", 0.0) for i in (2, 1, 0)]
        return T5Tokenizer(vocab=vocab, extra_ids=3, model_max_length=128)
    if family in ("roberta", "bart"):
        vocab, merges = _byte_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
        return RobertaTokenizer(vocab=vocab, merges=merges, mask_token=AddedToken("<mask>", lstrip=True, special=True))
    if family == "gpt2":
        vocab, merges = _byte_bpe(["<|endoftext|>"])
        return GPT2Tokenizer(vocab=vocab, merges=merges)
    vocab, merges = _metaspace_bpe()
    return LlamaTokenizer(vocab=vocab, merges=merges, add_bos_token=True)


# ---------------------------------------------------------------- models: two blocks, 32 wide, no weight at its default

_COMMON = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.1,
    "max_position_embeddings": 128,
}


_HALF = {"layers": 2, "attention_heads": 4, "ffn_dim": 48}


def _model(family: str, vocab: int, pad: int | None) -> PreTrainedModel:
    common = {**_COMMON, "vocab_size": vocab, "pad_token_id": pad}
    if family == "bert":
        return BertForPreTraining(BertConfig(**common))
    if family == "roberta":  # numbers its positions from pad + 1 = 2
        return RobertaForMaskedLM(RobertaConfig(**{**common, "max_position_embeddings": 130}, type_vocab_size=1))
    if family == "albert":
        return AlbertForPreTraining(AlbertConfig(**common, embedding_size=16))
    if family == "modernbert":
        special = {"cls_token_id": 1, "bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2}
        return ModernBertForMaskedLM(
            ModernBertConfig(**common, **special, local_attention=8, global_attn_every_n_layers=2)
        )
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=2))
    if family == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**common, num_key_value_heads=2, head_dim=16))
    if family == "mistral":  # each token sees seven before it
        return MistralForCausalLM(MistralConfig(**common, num_key_value_heads=2, sliding_window=8))
    if family == "t5":
        sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4}
        return T5ForConditionalGeneration(T5Config(vocab_size=vocab, decoder_start_token_id=0, **sizes))
    if family == "bart":
        sizes = {f"{half}_{name}": value for half in ("encoder", "decoder") for name, value in _HALF.items()}
        special = {"bos_token_id": 0, "pad_token_id": pad, "eos_token_id": 2, "decoder_start_token_id": 2}
        config = BartConfig(vocab_size=vocab, d_model=32, max_position_embeddings=128, init_std=0.1, **special, **sizes)
        return BartForConditionalGeneration(config)
    if family == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "n_positions": 128, "initializer_range": 0.1}
        return GPT2LMHeadModel(GPT2Config(vocab_size=vocab, bos_token_id=0, eos_token_id=0, **sizes))
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 128}
    return DistilBertForMaskedLM(DistilBertConfig(vocab_size=vocab, pad_token_id=pad, initializer_range=0.1, **sizes))


def build(family: str, folder: Path, architecture: str | None = None) -> Path:
    """Writes a tiny model of a family, the same one each time."""
    tokenizer = _tokenizer(family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _model(family, len(tokenizer), tokenizer.pad_token_id)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.05 * torch.randn_like(weight))
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    if family in ("bert", "albert"):  # as published: written with the pooler, named after the language model
        edit_config(folder, architectures=[type(model).__name__.replace("PreTraining", "MaskedLM")])
    return folder


def edit_config(folder: Path, **values: object) -> None:
    """Changes entries of a folder's config.json; None removes one."""
    config = {**json.loads((folder / "config.json").read_text()), **values}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """folder_of("bert"): the folder of a tiny model, written once."""
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            borrowed = "roberta" if family in beyond.MASKED else "gpt2"
            known = family not in beyond.CONFIGS
            made[family] = build(family, folder) if known else beyond.build(family, get(borrowed), folder)
        return made[family]

    return get


@pytest.fixture(scope="session")
def tiny(folder_of: Callable[[str], Path]) -> Callable[[str], Backbone]:
    """tiny("bert"): a tiny backbone shared by all tests, which leave it as it is."""
    loaded: dict[str, Backbone] = {}

    def get(family: str) -> Backbone:
        if family not in loaded:
            loaded[family] = load_backbone(str(folder_of(family)), device="cpu")
        return loaded[family]

    return get


@pytest.fixture(scope="session")
def fresh(folder_of: Callable[[str], Path]) -> Callable[..., Backbone]:
    """fresh("bert") or fresh(tiny_bert): a copy of one's own, to be changed at will; ``dtype`` as for load_backbone."""

    def get(family: str | Backbone, dtype: str = "float32") -> Backbone:
        name = family.name if isinstance(family, Backbone) else str(folder_of(family))
        return load_backbone(name, device="cpu", dtype=dtype)

    return get


@pytest.fixture(scope="session")
def float64(fresh: Callable[..., Backbone]) -> Callable[[str | Backbone], Backbone]:
    """float64("bert") or float64(tiny_bert): a copy of one's own in double precision."""
    return lambda family: fresh(family, dtype="float64")


@pytest.fixture(scope="session", params=FAMILIES)
def each(request: pytest.FixtureRequest, tiny: Callable[[str], Backbone]) -> Backbone:
    """Each of the seven families in turn."""
    return tiny(request.param)


@pytest.fixture(scope="session", params=MASKED)
def each_masked(request: pytest.FixtureRequest, tiny: Callable[[str], Backbone]) -> Backbone:
    """Each of the five masked families in turn."""
    return tiny(request.param)


@pytest.fixture(scope="session")
def tiny_bert(tiny):
    return tiny("bert")


@pytest.fixture(scope="session")
def tiny_roberta(tiny):
    return tiny("roberta")


@pytest.fixture(scope="session")
def tiny_distilbert(tiny):
    return tiny("distilbert")


@pytest.fixture(scope="session")
def tiny_albert(tiny):
    return tiny("albert")


@pytest.fixture(scope="session")
def tiny_modernbert(tiny):
    return tiny("modernbert")


@pytest.fixture(scope="session")
def tiny_gpt2(tiny):
    return tiny("gpt2")


@pytest.fixture(scope="session")
def tiny_llama(tiny):
    return tiny("llama")


@pytest.fixture(scope="session")
def tiny_t5(tiny):
    return tiny("t5")


@pytest.fixture(scope="session")
def tiny_bart(tiny):
    return tiny("bart")


@pytest.fixture(scope="session")
def tiny_bert_folder(folder_of):
    return folder_of("bert")


@pytest.fixture(scope="session")
def tiny_gpt2_folder(folder_of):
    return folder_of("gpt2")


# ---------------------------------------------------------------- a task


@pytest.fixture(scope="session")
def reviews_task():
    from promptlab.language.task import Task

    return Task.from_parts(
        patterns=["{text} It was {mask}.", "Just {mask}! {sep} {text}", "{text} All in all, it was {mask}."],
        verbalizer={"negative": "terrible", "positive": "great"},
    )


@pytest.fixture(scope="session")
def reviews():
    """Forty short reviews, twenty a label, told apart by one word each."""
    from promptlab.language.example import Example

    frames = ["a {} film", "the plot is {}", "{} actors, {} story", "a {} ending and a {} scene", "it has {} music"]
    rows = []
    for i in range(20):
        for label, words in (("negative", NEGATIVE), ("positive", POSITIVE)):
            chosen = (words[i % len(words)], words[(i + 3) % len(words)])
            rows.append(Example({"text": frames[i % len(frames)].format(*chosen)}, label))
    return rows


# ---------------------------------------------------------------- a task that asks for a text


@pytest.fixture(scope="session")
def notes_task():
    from promptlab.language.task import Task

    return Task.from_parts(
        patterns={"plain": "{source} : {target}", "asked": "{source} in words : {target}"}, verbalizer=None,
        about="Say it in words.", name="notes",
    )  # fmt: skip


@pytest.fixture(scope="session")
def notes():
    """Eight notes with a sentence each; the last two have a second one."""
    from promptlab.language.example import Example

    nouns = "film story plot scene music ending actor movie".split()
    rows = []
    for i, (noun, word) in enumerate(zip(nouns, POSITIVE[:4] + NEGATIVE[:4], strict=True)):
        said = f"the {noun} is {word}." if i % 2 else f"it has {word} {noun}, and the {noun} is {word}."
        rows.append(Example({"source": f"{noun} , {word}"}, said, answers=(said, f"{word}!") if i > 5 else ()))
    return rows

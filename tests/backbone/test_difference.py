import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AlbertForMaskedLM, AutoConfig, AutoModel

from promptlab.backbone.backbone import Backbone, load_backbone
from promptlab.backbone.catalog import Place
from promptlab.backbone.checkpoint import quiet
from promptlab.backbone.export import base_parameters, write_difference
from promptlab.backbone.files import fingerprint
from promptlab.backbone.identity import base_named, describe, recover
from promptlab.errors import BackboneError

FILE, NOTE = "difference.safetensors", "adapt.json"
QUERY = "bert.encoder.layer.0.attention.self.query.weight"
BIAS = "bert.encoder.layer.0.attention.self.query.bias"


@pytest.fixture
def copy_of(folder_of: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """copy_of("bert"): a base of one's own."""
    return lambda family: Path(shutil.copytree(folder_of(family), tmp_path / "here" / "models" / family))


def difference_over(base, folder, factors=None, learn=None, dtype="float32", new_head=False):
    """A backbone that learnt something, and the folder with its difference over the base."""
    learnt = load_backbone(str(base), "cpu", dtype, allow_new_head=new_head)
    generator = torch.Generator().manual_seed(1)
    for name, weight in learnt.model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        weight.data += (0.02 * noise if learn is None else learn(name, noise)).to(weight)
    folder.mkdir(parents=True)
    write_difference(learnt, base_parameters(learnt), factors or {}, folder)
    note(folder, base_named(learnt, folder))
    return learnt, folder


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., tuple[Backbone, Path]]:
    """made(base): what learnt, and its difference in a folder of the test's own."""
    return lambda base, place="made", **how: difference_over(base, tmp_path / "here" / place, **how)


@pytest.fixture(scope="module")
def one(each: Backbone, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Of each family in turn: the base, what learnt, the folder of its difference, and what that loads as."""
    learnt, folder = difference_over(each.name, tmp_path_factory.mktemp("one") / "made")
    return SimpleNamespace(base=each, learnt=learnt, folder=folder, loaded=load(folder))


def note(folder, base):
    (folder / NOTE).write_text(json.dumps({"base": base}))


def edit(folder, change):
    save_file(change(load_file(folder / FILE)), folder / FILE)


def load(folder, dtype="float32", **options):
    return load_backbone(str(folder), "cpu", dtype, **options)


def refusal(folder, **options) -> str:
    with pytest.raises(BackboneError) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def weights(backbone):
    return {name: weight.detach().double() for name, weight in backbone.model.named_parameters()}


def answers(backbone):
    ids = torch.randint(8, backbone.vocab, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.double()


def headless(folder):
    """Writes the folder's model again without its language-model head."""
    with quiet():
        AutoModel.from_pretrained(folder).save_pretrained(folder)
    return folder


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def nothing(name, noise):
    return 0 * noise


def check(learnt, loaded, base):
    """The bounds of int8 and float16, each parameter against the base's, in double precision."""
    learnt, loaded, base = weights(learnt), weights(loaded), weights(base)
    assert loaded.keys() == learnt.keys()
    for name, now in learnt.items():
        off, moved = (loaded[name] - now).abs(), (now - base[name]).abs()
        rounding = 2**-23 * now.abs().max()
        if now.dim() < 2:
            assert bool((off <= 2**-11 * moved + 2**-25 + rounding).all()), name
        else:
            level = moved.flatten(1).amax(1) / 127
            worst = off.flatten(1).amax(1)
            assert bool((worst <= level / 2 + rounding).all()), name
            assert bool((worst > level / 5).any()), name  # it is no finer than that either


def test_every_matrix_comes_back_within_half_a_level_and_every_vector_as_float16(one):
    check(one.learnt, one.loaded, one.base)
    assert (one.loaded.kind, one.loaded.new_head) == (one.base.kind, False)
    off, moved = (answers(each) - answers(one.learnt) for each in (one.loaded, one.base))
    assert off.abs().max() < 0.05 * moved.abs().max()


def test_each_row_of_a_matrix_has_levels_of_its_own(tiny_bert, made):
    sizes = 10.0 ** -torch.arange(32)[:, None].remainder(7)
    learnt, folder = made(tiny_bert.name, learn=lambda name, noise: sizes * noise if name == QUERY else 0 * noise)
    before = weights(tiny_bert)[QUERY].float()
    moved, stored = weights(learnt)[QUERY].float() - before, load_file(folder / FILE)
    scale, levels = stored[f"{QUERY}.s"], stored[f"{QUERY}.q"]
    assert torch.equal(scale, moved.abs().amax(1, keepdim=True) / 127)
    assert torch.equal(levels, torch.round(moved / scale).to(torch.int8))
    assert bool((levels.abs().amax(1) == 127).all())
    assert torch.equal(weights(load(folder))[QUERY], (before + levels.float() * scale).double())


def test_what_did_not_change_comes_back_to_the_bit(each, made):
    loaded = load(made(each.name, learn=nothing)[1])
    assert all(torch.equal(weights(loaded)[name], weight) for name, weight in weights(each).items())
    assert torch.equal(answers(loaded), answers(each))


def test_the_file_holds_int8_matrices_with_a_scale_a_row_and_float16_vectors(one):
    stored, own = load_file(one.folder / FILE), dict(one.base.model.named_parameters())
    expected = {}
    for name, weight in own.items():
        if weight.dim() > 1:
            expected |= {f"{name}.q": (torch.int8, weight.shape), f"{name}.s": (torch.float32, (len(weight), 1))}
        else:
            expected[f"{name}.plus"] = (torch.float16, weight.shape)
    assert {key: (tensor.dtype, tensor.shape) for key, tensor in stored.items()} == expected


def test_a_difference_that_overflows_float16_is_kept_in_float32(tiny_bert, made):
    learnt, folder = made(tiny_bert.name, learn=lambda name, noise: 1e5 * noise if name == BIAS else 0 * noise)
    assert load_file(folder / FILE)[f"{BIAS}.plus"].dtype == torch.float32
    assert torch.allclose(weights(load(folder))[BIAS], weights(learnt)[BIAS], rtol=1e-6)


def test_tied_embeddings_are_stored_once_and_stay_tied(one):
    output, read = (getattr(one.loaded.model, f"get_{side}_embeddings")().weight for side in ("output", "input"))
    tied = one.base.config.model_type != "llama"
    assert (output is read) == tied
    assert sum(tensor.shape == read.shape for tensor in load_file(one.folder / FILE).values()) == (1 if tied else 2)
    assert 0 < (read - one.learnt.model.get_input_embeddings().weight).abs().max() < 0.02 * 6 / 254


def factors(rows, columns, seed=1, rank=3):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(rows, rank, generator=generator), 0.1 * torch.randn(rank, columns, generator=generator)


@pytest.mark.parametrize(
    ("family", "name", "parts"),
    [
        ("bert", QUERY, {"": (32, 32)}),
        ("bert", "bert.embeddings.word_embeddings.weight", {"": (191, 32)}),
        ("gpt2", "transformer.h.1.mlp.c_fc.weight", {"@0,0": (32, 48)}),
        ("gpt2", "transformer.h.1.attn.c_attn.weight", {"@0,0": (32, 32), "@0,64": (32, 32)}),
        ("modernbert", "model.layers.1.attn.Wqkv.weight", {"@0,0": (32, 32), "@64,0": (32, 32)}),
        ("modernbert", "model.layers.0.mlp.Wi.weight", {"@48,0": (48, 32)}),
    ],
)
def test_a_low_rank_difference_lands_where_it_was_learnt(tiny, made, family, name, parts):
    pairs = {f"{name}{place}": factors(*size, seed) for seed, (place, size) in enumerate(parts.items())}
    _, folder = made(tiny(family).name, learn=nothing, factors=pairs)
    stored, before = load_file(folder / FILE), dict(tiny(family).model.named_parameters())
    expected = before[name].detach().clone()
    for place, (rows, columns) in parts.items():
        left, right = pairs[f"{name}{place}"]
        assert torch.equal(stored[f"{name}{place}.U"], left.half())
        assert torch.equal(stored[f"{name}{place}.V"], right.half())
        row, column = map(int, place[1:].split(",")) if place else (0, 0)
        expected[row : row + rows, column : column + columns] += left.half().float() @ right.half().float()
    assert {key for key in stored if key.startswith(f"{name}.")} <= {f"{name}.U", f"{name}.V"}
    for other, weight in load(folder).model.named_parameters():
        assert torch.equal(weight, expected if other == name else before[other]), other


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_half_format_is_rounded_once_after_the_difference_is_added(tiny_bert, made, dtype):
    _, folder = made(tiny_bert.name)
    half = load(folder, dtype)
    assert str(half.dtype) == f"torch.{dtype}"
    for (name, weight), exact in zip(half.model.named_parameters(), load(folder).model.parameters(), strict=True):
        assert torch.equal(weight, exact.to(half.dtype)), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_base_in_bfloat16_serves_as_one(copy_of, made, dtype):
    base = copy_of("llama")
    with quiet():
        load(base).model.to(torch.bfloat16).save_pretrained(base)
    assert {one.dtype for one in load_file(base / "model.safetensors").values()} == {torch.bfloat16}
    learnt, folder = made(base, dtype=dtype)
    check(learnt, load(folder), load(base))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "albert", "modernbert", "llama"])
def test_a_difference_over_a_headless_model_brings_its_head_as_float16(copy_of, made, family):
    base = headless(copy_of(family))
    learnt, folder = made(base, new_head=True)
    loaded = load(folder)
    assert (learnt.new_head, loaded.new_head) == (True, False)
    stored, now, before = load_file(folder / FILE), weights(loaded), weights(learnt)
    new = {key.removesuffix(".new") for key in stored if key.endswith(".new")}
    inside = {name for name in now if name.startswith(f"{learnt.model.base_model_prefix}.")}
    assert new == now.keys() - inside != set()
    for name in new:
        assert stored[f"{name}.new"].dtype == torch.float16
        assert torch.equal(now[name], before[name].half().double()), name


def test_a_head_that_neither_base_nor_difference_holds_is_refused(copy_of, made):
    _, folder = made(headless(copy_of("bert")), new_head=True)
    lost = "cls.predictions.transform.dense.weight"
    edit(folder, lambda stored: {key: one for key, one in stored.items() if key != f"{lost}.new"})
    assert f"{folder} has no language-model head, so it cannot fill in a word: its weights lack {lost}." in refusal(
        folder
    )
    assert load(folder, allow_new_head=True).new_head


def test_a_pooler_of_the_base_does_not_serve_an_encoder_that_has_changed(one):
    assert one.base.has_pooler_weights == (one.base.config.model_type in ("bert", "albert"))
    assert not one.loaded.has_pooler_weights


def test_the_parameters_of_the_base_are_those_on_disk_whatever_the_backbone_holds_now(one):
    own = dict(one.base.model.named_parameters())
    for backbone in (one.learnt, one.loaded):  # a difference has no other base than its own
        torch.manual_seed(5)
        base, drawn = base_parameters(backbone), torch.rand(3)
        assert base.keys() == own.keys()
        assert all(torch.equal(base[name], own[name]) for name in own)
        torch.manual_seed(5)
        assert torch.equal(torch.rand(3), drawn)


def test_a_base_is_named_by_its_folder_or_the_hub_and_by_the_sha256_of_all_its_weights(copy_of, made, tmp_path):
    base = copy_of("bert")
    with quiet():
        load(base).model.save_pretrained(base, max_shard_size="40KB")
    (base / "model.safetensors").unlink()
    hashes = {path.name: sha256(path) for path in base.glob("*.safetensors")}
    assert len(hashes) > 2
    places = ["here/models/bert", str(base)]
    assert base_named(load(base), tmp_path) == {"name": str(base), "places": places, "sha256": hashes}
    from_hub = replace(load(base), name="somebody/bert")
    assert base_named(from_hub, tmp_path) == {"name": "somebody/bert", "places": [], "sha256": hashes}
    learnt, folder = made(base)
    check(learnt, load(folder), load(base))


def test_the_base_of_a_difference_is_the_base_of_what_learns_on_from_it(one, made):
    learnt, second = made(one.folder, "second")
    assert load(second).place.base == one.base.folder
    check(learnt, load(second), one.base)


def test_the_base_of_a_second_difference_is_seen_from_where_that_lies(copy_of, made, tmp_path):
    _, first = made(copy_of("bert"), "deeper/down/first")
    made(first, "second")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert load(tmp_path / "there" / "second").place.base == tmp_path / "there" / "models" / "bert"


def test_a_difference_finds_its_base_where_it_was_and_moved_together_with_it(copy_of, made, tmp_path):
    base = copy_of("bert")
    _, folder = made(base)
    before, alone = load(folder), load(shutil.copytree(folder, tmp_path / "far" / "away" / "made"))
    assert (before.place.base, alone.place.base) == (base, base)
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = load(tmp_path / "there" / "made")
    assert moved.place.base == tmp_path / "there" / "models" / "bert"
    assert torch.equal(answers(moved), answers(before))
    assert moved.fingerprint == alone.fingerprint == before.fingerprint


def test_of_two_folders_the_one_that_holds_the_base_is_taken(copy_of, folder_of, made, tmp_path):
    base = copy_of("bert")
    _, folder = made(base)
    shutil.copytree(folder_of("distilbert"), tmp_path / "other" / "models" / "bert")
    assert load(shutil.move(folder, tmp_path / "other" / "made")).place.base == base


def test_a_base_that_is_no_model_any_more_or_nowhere_is_named_with_the_difference(copy_of, made):
    base = copy_of("bert")
    _, folder = made(base)
    (base / "config.json").unlink()
    assert "models/bert has no config.json, so it is no model." in refusal(folder)
    shutil.rmtree(base)
    assert f"{folder} is a difference over {base}, which is not here: no folder '{base}'." in refusal(folder)


def test_a_difference_over_another_base_is_refused_and_both_are_named(copy_of, made):
    base = copy_of("bert")
    _, folder = made(base)
    file = base / "model.safetensors"
    wanted, stored = sha256(file)[:12], load_file(file)
    save_file({**stored, BIAS: stored[BIAS] + 1e-3}, file, {"format": "pt"})
    here = sha256(file)[:12]
    assert refusal(folder) == (
        f"{folder} is a difference over {base} (model.safetensors {wanted}), and {base} holds another model "
        f"(model.safetensors {here}). Install or download the one it was made over."
    )


@pytest.mark.parametrize("each", ["bert"], indirect=True)
def test_a_difference_is_known_by_a_fingerprint_of_its_own_and_recovered_by_it(one, made, tmp_path):
    again = recover(json.loads(json.dumps(describe(one.loaded, tmp_path))), tmp_path, device="cpu")
    assert again.fingerprint == one.loaded.fingerprint
    assert torch.equal(answers(again), answers(one.loaded))
    _, other = made(one.base.name, learn=nothing)
    prints = [one.loaded.fingerprint, load(other).fingerprint, one.base.fingerprint]
    note(other, {**base_named(one.base, other), "sha256": {"model.safetensors": "0" * 64}})
    assert len({*prints, fingerprint(Place(other, one.base.folder))}) == 4


@pytest.mark.parametrize("keep", [0, 5, 20_000, -7])
def test_a_damaged_file_is_one_error(tiny_bert, made, keep):
    _, folder = made(tiny_bert.name)
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:keep])
    message = refusal(folder)
    assert message.startswith(f"{folder}/{FILE} cannot be read: ")
    assert message.endswith(". Copy the folder anew.")


def test_a_part_without_its_other_half_is_one_error(tiny_bert, made):
    key = QUERY.replace("query", "key")
    _, folder = made(tiny_bert.name, factors={key: factors(32, 32)})
    whole = load_file(folder / FILE)
    for lost in (f"{QUERY}.s", f"{key}.V"):
        save_file({name: one for name, one in whole.items() if name != lost}, folder / FILE)
        assert f"{FILE} cannot be read: File does not contain tensor {lost}" in refusal(folder)


@pytest.mark.parametrize("part", ["q", "plus", "new", "U"])
def test_a_parameter_that_the_model_has_not_is_named(tiny_bert, made, part):
    _, folder = made(tiny_bert.name)
    other = {f"bert.own.weight.{each}": torch.ones(2, 2) for each in {"q": "qs", "U": "UV"}.get(part, [part])}
    edit(folder, lambda stored: {**stored, **other})
    assert f"{FILE} holds a difference of bert.own.weight, which its model has not. Copy it" in refusal(folder)


def test_a_difference_of_another_shape_is_one_error(tiny_bert, made):
    _, folder = made(tiny_bert.name)
    edit(folder, lambda stored: {**stored, f"{QUERY}.q": torch.zeros(3, 3, dtype=torch.int8)})
    assert QUERY in refusal(folder)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"base": null}', '{"base": {"name": "x"}}', "\xff"])
def test_a_difference_without_the_name_of_its_base_is_one_error(tiny_bert, made, text):
    _, folder = made(tiny_bert.name)
    (folder / NOTE).unlink()
    if text is not None:
        (folder / NOTE).write_text(text, encoding="latin-1")
    assert f"{folder}/{NOTE} does not name the base of the difference beside it. Copy" in refusal(folder)


@pytest.mark.parametrize("wrong", [{"places": 3}, {"places": [3]}, {"sha256": {"model.safetensors": 3}}])
def test_a_note_that_makes_no_sense_is_one_error(tiny_bert, made, wrong):
    _, folder = made(tiny_bert.name)
    note(folder, {**base_named(tiny_bert, folder), **wrong})
    assert NOTE in refusal(folder)


def test_a_shared_layer_in_several_groups_comes_back(copy_of, made):
    base = copy_of("albert")
    config = AutoConfig.from_pretrained(base, num_hidden_layers=4, num_hidden_groups=2)
    with quiet():
        AlbertForMaskedLM(config).save_pretrained(base)
    learnt, folder = made(base)
    check(learnt, load(folder), load(base))

"""Adapters in PEFT's format that lack something, or mean what nothing here does: said, and never guessed."""

import json
import logging

import pytest
from interchange import learnt
from safetensors.torch import load_file, save_file

from promptlab.errors import SettingError
from promptlab.tuning.ia3 import Ia3
from promptlab.tuning.lora import Lora
from promptlab.tuning.peft_format import CONFIG, WEIGHTS, export_peft, import_peft
from promptlab.tuning.prefix import Prefix
from promptlab.tuning.soft import Soft


@pytest.fixture
def adapter(tiny_bert, tmp_path):
    """adapter(tuning, keep=..., **settings): one of PEFT's, some tensors left out, other settings written."""

    def get(tuning, keep=lambda name: True, shrunk=None, **settings):
        export_peft(tmp_path, tiny_bert, tuning, learnt(tiny_bert, tuning))
        tensors = {name: one for name, one in load_file(tmp_path / WEIGHTS).items() if keep(name)}
        save_file({name: shrunk(name, one) if shrunk else one for name, one in tensors.items()}, tmp_path / WEIGHTS)
        config = json.loads((tmp_path / CONFIG).read_text())
        (tmp_path / CONFIG).write_text(json.dumps({**config, **settings}))
        return tmp_path

    return get


@pytest.mark.parametrize("tuning", [Lora(r=2), Ia3()], ids=lambda one: one.name)
def test_a_target_without_tensors_is_named(tiny_bert, adapter, tuning):
    folder = adapter(tuning, keep=lambda name: ".layer.1." not in name)
    with pytest.raises(SettingError, match=r"targets include bert\.encoder\.layer\.1\..* no tensor of that"):
        import_peft(folder, tiny_bert)


@pytest.mark.parametrize(
    "settings", [{"layers_to_transform": [0]}, {"target_modules": r".*layer\.0\.attention\.self\.(query|value)"}]
)
def test_a_difference_that_some_layers_never_had_is_read(tiny_bert, adapter, settings):
    folder = adapter(Lora(r=2), keep=lambda name: ".layer.1." not in name, **settings)
    tuning, state = import_peft(folder, tiny_bert)
    assert tuning.targets == "q+v"
    assert not state["bert.encoder.layer.1.attention.self.query.B"].any()
    assert state["bert.encoder.layer.0.attention.self.query.B"].any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"keep": lambda name: False}, "holds no tensor of it"),
        ({"shrunk": lambda name, one: one[:0] if "lora_A" in name else one[:, :0].contiguous()}, "rank 0"),
        ({"lora_alpha": None}, "lora_alpha=None for bert.* Write the number"),
    ],
)
def test_what_no_difference_can_be_read_from_is_refused(tiny_bert, adapter, change, said):
    with pytest.raises(SettingError, match=said):
        import_peft(adapter(Lora(r=2), **change), tiny_bert)


def test_soft_tokens_for_a_decoder_are_not_read_into_the_encoder(tiny, tiny_bert, tmp_path):
    soft = Soft(n=2, place="front")
    export_peft(tmp_path, tiny_bert, soft, learnt(tiny_bert, soft))
    config = json.loads((tmp_path / CONFIG).read_text())
    t5 = tiny("t5")
    for submodules, refused in ((2, True), (None, True), (1, False)):
        (tmp_path / CONFIG).write_text(json.dumps({**config, "num_transformer_submodules": submodules}))
        if refused:
            with pytest.raises(SettingError, match="others for the decoder.*num_transformer_submodules=1"):
                import_peft(tmp_path, t5, allow_other_backbone=True)
        else:
            assert import_peft(tmp_path, t5, allow_other_backbone=True)[0].n == 2


def test_a_prefix_beside_a_window_is_written_and_read_with_a_warning(tiny, float64, tmp_path, caplog):
    tuning = Prefix(n=3, shift=True)
    with caplog.at_level(logging.WARNING, logger="promptlab"):
        for family, warned in (("llama", 0), ("mistral", 2)):
            caplog.clear()
            export_peft(tmp_path / family, tiny(family), tuning, learnt(tiny(family), tuning))
            import_peft(tmp_path / family, tiny(family))
            assert sum("window of" in one.getMessage() for one in caplog.records) == warned

"""One adapter here and in PEFT: written on either side, read on the other, with equal outputs.

``goes_there(fresh, backbone, tuning, folder)`` and ``comes_here(fresh, backbone, config, folder)``; skips without PEFT.
"""

import json

import pytest
import torch

from promptlab.backbone.device import generator
from promptlab.backbone.heads import default_pool, head_for
from promptlab.backbone.marks import marks
from promptlab.tuning.peft_format import CONFIG, export_peft, import_peft
from promptlab.tuning.soft import Soft

peft = pytest.importorskip("peft")

TOKENS = ((5, 6, 7, 8, 9, 10), (11, 12, 13, 14, 15, 16))


def close(found, wanted):
    """To 1e-5, and of the largest output where that is above 1: single precision promises no more."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * max(1.0, float(wanted.abs().max())))


def learnt(backbone, tuning, head=0):
    """A state far from its start, with a head of as many labels."""
    made = generator("a member")
    with tuning.learn(backbone, not head, [made]) as found:
        state = found.state(0)
    if head:
        drawn = head_for(backbone, head, default_pool(backbone)).draw(made)
        state |= {f"head.{name}": one.detach() for name, one in drawn.named_parameters() if "pooler" not in name}
    return {name: one + 0.3 * torch.randn(one.shape, generator=made) for name, one in state.items()}


def here(backbone, tuning, state):
    """What the backbone says as that member, at the real tokens."""
    inside = {name: one for name, one in state.items() if not name.startswith("head.")}
    before = marks([tuning.n])[0] if isinstance(tuning, Soft) else ()
    with torch.no_grad(), tuning.applied(backbone, inside):
        rows = torch.tensor([(*before, *row) for row in TOKENS])
        return backbone.model(input_ids=rows, **_begun(backbone.model)).logits[:, len(before) :]


def there(model, tokens=TOKENS):
    """What a model of PEFT's says at the real tokens: those of a soft prompt left out."""
    rows = {"input_ids": torch.tensor(tokens), "attention_mask": torch.ones(len(tokens), len(tokens[0]))}
    with torch.no_grad():
        if isinstance(model, peft.PeftModelForSequenceClassification) and model.active_peft_config.is_prompt_learning:
            model, rows = _entered(model, rows)
        logits = model.eval()(**rows, **_begun(model)).logits
    return logits[:, -len(tokens[0]) :] if logits.dim() == 3 else logits


def _begun(model):
    """What the decoder of an encoder-decoder reads."""
    return {"decoder_input_ids": torch.tensor(TOKENS)[:, :3]} if model.config.is_encoder_decoder else {}


def _entered(model, rows):
    """A classifier with its prefix in the cache: PEFT's own way looks for an argument that has got another name."""
    config, count = model.active_peft_config, len(rows["input_ids"])
    if config.peft_type != "PREFIX_TUNING":
        return model, rows
    mask = torch.ones(count, config.num_virtual_tokens + rows["input_ids"].shape[1])
    return model.base_model, {**rows, "attention_mask": mask, "past_key_values": model.get_prompt(count)}


def loaded(fresh, backbone, folder):
    """A plain model with PEFT's reading of the folder around it."""
    return peft.PeftModel.from_pretrained(fresh(backbone).model, str(folder))


def goes_there(fresh, backbone, tuning, folder):
    """Written here, read by PEFT: equal outputs."""
    state = learnt(backbone, tuning)
    export_peft(folder, backbone, tuning, state)
    found = there(loaded(fresh, backbone, folder))
    close(found, here(backbone, tuning, state))
    plain = there(fresh(backbone).model)
    assert (found - plain).abs().max() > 1e-2
    return json.loads((folder / CONFIG).read_text()), state


def comes_here(fresh, backbone, config, folder):
    """Written by PEFT, read here: equal outputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = peft.get_peft_model(fresh(backbone).model, config)
    with torch.no_grad():
        for name, one in model.named_parameters():
            if one.requires_grad:
                one.add_(0.3 * torch.randn(one.shape, generator=generator(name)))
    model.save_pretrained(str(folder))
    tuning, state = import_peft(folder, backbone)
    close(here(backbone, tuning, state), there(model))
    return tuning, state

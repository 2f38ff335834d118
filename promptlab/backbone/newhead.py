"""A language-model head for an encoder that has none, started where it already says something.

    square matrices of the head     the identity             (the states pass through)
    the output's own bias           log unigram frequency    (what a model says that knows no context)
    output embeddings not tied      a copy of the input's

The rest (norms, biases) stays as the architecture draws it: ones and zeros.
"""

import numpy as np
import torch
from torch import nn

from promptlab.backbone.backbone import Backbone


@torch.no_grad()
def grow_head(backbone: Backbone, counts: np.ndarray) -> None:
    """Sets a newly drawn head's weights in place.

    Args:
        backbone: loaded with ``allow_new_head``, its head missing in the checkpoint.
        counts: how often each token stands in the text, ``(vocabulary,)``; one is added to each.
    """
    model, output = backbone.model, backbone.model.get_output_embeddings()
    below = {id(module) for module in backbone.body.modules()}
    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not output and id(module) not in below:
            _start(module)
    embeddings = model.get_input_embeddings().weight
    if output.weight is not embeddings and output.weight.shape == embeddings.shape:
        output.weight.copy_(embeddings)
    if getattr(output, "bias", None) is not None:
        share = torch.from_numpy((counts + 1) / (counts + 1).sum()).log()
        output.bias.copy_((share - share.mean()).to(output.bias))


def _start(module: nn.Linear) -> None:
    if module.in_features == module.out_features:
        nn.init.eye_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)

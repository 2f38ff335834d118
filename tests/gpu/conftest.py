"""The same tiny backbones on a CPU and on a CUDA device; every test here needs one."""

import pytest
import torch

from promptlab.backbone.backbone import load_backbone


def pytest_collection_modifyitems(items):
    absent = pytest.mark.skip(reason="no CUDA device here")
    for item in items:
        if item.path.parent.name == "gpu" and not torch.cuda.is_available():
            item.add_marker(absent)


@pytest.fixture(scope="session")
def on_cuda(folder_of):
    """on_cuda("bert"): a copy of one's own on the CUDA device, in double precision unless said."""
    return lambda family, dtype="float64": load_backbone(str(folder_of(family)), device="cuda", dtype=dtype)

import subprocess
import sys

import pytest
import torch

from promptlab.backbone import device
from promptlab.backbone.device import (
    generator,
    peak_memory_bytes,
    pick_device,
    pick_dtype,
    reset_peak,
    token_budget,
)
from promptlab.errors import SettingError

CPU = torch.device("cpu")


def test_a_device_is_found_by_its_name():
    assert pick_device("cpu") == CPU


def test_auto_takes_an_accelerator_only_where_there_is_one():
    there = torch.cuda.is_available() or torch.backends.mps.is_available()
    assert (pick_device("auto").type != "cpu") == there


def test_an_unknown_device_is_refused_with_the_nearest_name():
    with pytest.raises(SettingError, match=r"device=cpus: no such device\. Did you mean 'cpu'\? Write auto or"):
        pick_device("cpus")


def test_a_device_that_torch_knows_but_the_machine_lacks_is_refused():
    with pytest.raises(SettingError, match="device=xpu: this machine has none"):
        pick_device("xpu")


def test_a_card_number_beyond_the_last_is_refused():
    with pytest.raises(SettingError, match="device=cuda:99: this machine has none"):
        pick_device("cuda:99")


@pytest.mark.parametrize(
    ("place", "expected"), [("cpu", torch.float32), ("mps", torch.float32), ("cuda", torch.bfloat16)]
)
def test_auto_is_bfloat16_on_cuda_and_float32_elsewhere(place, expected):
    assert pick_dtype("auto", torch.device(place)) is expected


@pytest.mark.parametrize(
    ("name", "expected"), [("float64", torch.float64), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_number_format_has_a_long_and_a_short_name(name, expected):
    assert pick_dtype(name, CPU) is expected


def test_an_unknown_number_format_is_refused_with_the_nearest_name():
    with pytest.raises(SettingError, match=r"dtype=float23.*Did you mean 'float32'\? Write auto or float32, "):
        pick_dtype("float23", CPU)


def test_the_same_key_gives_the_same_numbers_whatever_ran_before():
    first = torch.rand(4, generator=generator("mr/seed 3/member 1"))
    torch.rand(100)
    assert torch.equal(first, torch.rand(4, generator=generator("mr/seed 3/member 1")))


def test_another_key_gives_other_numbers():
    assert not torch.equal(torch.rand(4, generator=generator("seed 1")), torch.rand(4, generator=generator("seed 11")))


def test_a_key_means_the_same_numbers_in_another_process():
    code = "from promptlab.backbone.device import generator; print(generator('a key').initial_seed())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == generator("a key").initial_seed()


def test_a_large_tensor_shows_in_the_peak_though_it_is_gone_again():
    reset_peak()
    before = peak_memory_bytes() or 0
    torch.ones(16, 2**20).sum()  # 64 MiB
    after = peak_memory_bytes()
    assert after is None or after - before > 40 * 2**20


@pytest.mark.skipif(torch.cuda.is_available(), reason="the card's own counter answers")
def test_a_mark_that_did_not_rise_since_the_reset_says_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "_PROC", tmp_path / "none")  # a system whose mark cannot be reset
    monkeypatch.setattr(device, "_usage", lambda: 1000)
    reset_peak()
    assert peak_memory_bytes() is None
    monkeypatch.setattr(device, "_usage", lambda: 1001)
    assert peak_memory_bytes() == 1001


@pytest.mark.skipif(torch.cuda.is_available(), reason="the card's own counter answers")
def test_a_system_that_counts_no_memory_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "_PROC", tmp_path / "none")
    monkeypatch.setattr(device, "_usage", lambda: None)
    reset_peak()
    assert peak_memory_bytes() is None


def test_the_token_budget_of_a_cpu_is_a_constant():
    assert token_budget(CPU) == token_budget(CPU) > 0


@pytest.mark.parametrize(("gibibytes", "expected"), [(1, 4096), (16, 32768), (80, 131072)])
def test_the_token_budget_of_a_card_follows_from_its_whole_memory(monkeypatch, gibibytes, expected):
    class Card:
        total_memory = gibibytes * 2**30

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Card)
    assert token_budget(torch.device("cuda")) == expected

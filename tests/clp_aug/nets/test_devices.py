"""Devices by name: what there is, what there is not, and one that does not answer."""

import pytest
import torch

from clp_aug.contract.errors import SettingError
from clp_aug.nets import devices
from clp_aug.nets.devices import (
    USUAL,
    describe,
    find_device,
    found,
    free_memory_of,
    has_precision,
    memory_of,
    require_precision,
)


@pytest.fixture(autouse=True)
def no_usual_one(monkeypatch):
    """Let "auto" look for itself."""
    monkeypatch.delenv(USUAL, raising=False)


@pytest.fixture
def two_there(monkeypatch):
    """Two accelerators of a kind, the second current; they answer."""
    monkeypatch.setattr(devices, "found", lambda: iter([torch.device("xpu", i) for i in range(2)]))
    monkeypatch.setattr(devices, "describe", lambda device: f"chip {device.index}, 8.0 GiB")
    monkeypatch.setattr("torch.accelerator.current_device_index", lambda: 1)
    real = torch.ones
    monkeypatch.setattr("torch.ones", lambda *sizes, device=None: real(*sizes))


@pytest.mark.parametrize(
    ("name", "expected"), [("auto", "xpu:1"), ("xpu", "xpu:1"), ("xpu:0", "xpu:0"), ("cpu", "cpu")]
)
@pytest.mark.usefixtures("two_there")
def test_a_kind_is_its_current_one(name, expected):
    assert str(find_device(name)) == expected


@pytest.mark.parametrize(("usual", "expected"), [("cpu", "cpu"), ("xpu:0", "xpu:0"), ("", "xpu:1"), ("auto", "xpu:1")])
@pytest.mark.usefixtures("two_there")
def test_the_environment_says_what_auto_takes_and_nothing_else(usual, expected, monkeypatch):
    monkeypatch.setenv(USUAL, usual)
    assert str(find_device("auto")) == expected
    assert str(find_device("xpu:1")) == "xpu:1"


@pytest.mark.usefixtures("two_there")
def test_a_usual_one_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv(USUAL, "cuda")
    with pytest.raises(SettingError) as caught:
        find_device("auto")
    assert str(caught.value) == (
        "device = auto: $CLP_DEVICE is cuda; there is no such device; there are: cpu, xpu:0 (chip 0, 8.0 GiB), xpu:1"
        " (chip 1, 8.0 GiB); take device = cpu"
    )


@pytest.mark.parametrize("name", ["xpu:2", "cuda", "CPU", "gpu", "", "cpu:0", "xpu:"])
@pytest.mark.usefixtures("two_there")
def test_one_that_is_not_there_lists_those_that_are(name):
    with pytest.raises(SettingError) as caught:
        find_device(name)
    assert str(caught.value) == (
        f"device = {name}: there is no such device; there are: cpu, xpu:0 (chip 0, 8.0 GiB), xpu:1 (chip 1, 8.0 GiB);"
        " take device = auto"
    )


def test_without_accelerators_auto_is_the_cpu(monkeypatch):
    monkeypatch.setattr(devices, "found", lambda: iter(()))
    assert str(find_device("auto")) == str(find_device("cpu")) == "cpu"
    with pytest.raises(
        SettingError, match=r"^device = cuda: there is no such device; there are: cpu; take device = auto$"
    ):
        find_device("cuda")


@pytest.mark.usefixtures("two_there")
def test_one_that_does_not_answer_is_one_line(monkeypatch):
    def refuse(*sizes, device=None):
        raise RuntimeError("the driver is too old\nand more lines")

    monkeypatch.setattr("torch.ones", refuse)
    with pytest.raises(SettingError) as caught:
        find_device("auto")
    assert str(caught.value) == "device = auto: it does not answer (the driver is too old); take device = cpu"


def test_what_torch_finds_is_listed(monkeypatch):
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda check_available: torch.device("xpu"))
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 3)
    assert list(map(str, found())) == ["xpu:0", "xpu:1", "xpu:2"]
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda check_available: None)
    assert list(found()) == []


class Chip:
    """A module of a device that says all; one of another kind says nothing."""

    total_memory = 3 << 30

    @staticmethod
    def get_device_name(device):
        return "Chip 9000"

    @classmethod
    def get_device_properties(cls, device):
        return cls

    @staticmethod
    def mem_get_info(device):
        return (5, 10)


@pytest.mark.parametrize(
    ("module", "words", "total", "free"), [(Chip, "Chip 9000, 3.0 GiB", 3 << 30, 5), (object, "mps", None, None)]
)
def test_a_device_is_described_by_what_it_says_of_itself(module, words, total, free, monkeypatch):
    monkeypatch.setattr("torch.get_device_module", lambda device: module)
    device = torch.device("mps")
    assert (describe(device), memory_of(device), free_memory_of(device)) == (words, total, free)


@pytest.mark.parametrize(("rounds", "has"), [(True, "float32, tf32"), (False, "float32")])
def test_a_precision_that_is_not_there_is_one_line(rounds, has, monkeypatch):
    class Module(Chip):
        @staticmethod
        def is_tf32_supported():
            return rounds

        @staticmethod
        def is_bf16_supported():
            return False

    monkeypatch.setattr("torch.get_device_module", lambda device: Module)
    device = torch.device("mps")
    assert [has_precision(device, name) for name in ("float32", "tf32", "bf16")] == [True, rounds, False]
    with pytest.raises(SettingError) as caught:
        require_precision(device, "bf16", ("float32", "tf32", "bf16"))
    assert str(caught.value) == (
        f"precision = bf16: mps (Chip 9000, 3.0 GiB) does not have it; it has {has}; take precision = float32"
    )


def test_the_cpu_is_described_by_its_threads(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    assert describe(torch.device("cpu")).endswith(", 7 threads")

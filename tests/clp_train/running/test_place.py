"""Where a run's networks live and the precision that they compute in: what is there, what is refused, what is said."""

import pytest
import torch

from clp_aug.common.rounding import convolutions
from clp_aug.contract.errors import InputError, SettingError
from clp_train.running import place as module
from clp_train.running.assembly import assemble
from clp_train.running.place import Place, find_place
from tests.clp_train.builders import batch_of, config_of, load, train
from tests.clp_train.resuming import short


def place_of(**settings):
    return find_place(config_of(**settings).run)


def test_the_usual_place_here_is_the_cpu_in_float32(monkeypatch):
    monkeypatch.setattr("clp_aug.nets.devices.found", lambda: iter(()))
    monkeypatch.setattr(module, "describe", lambda device: "chip, 2 threads")
    place = place_of()
    assert str(place) == "cpu (chip, 2 threads), float32"
    assert place.name == "cpu (chip, 2 threads)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"device": "cpu", "precision": "tf32"},
            "precision = tf32: cpu (a chip) does not have it; it has float32, bf16",
        ),
        ({"device": "abacus"}, "device = abacus: there is no such device; there are: cpu"),
    ],
)
def test_what_is_not_there_is_one_line(settings, message, monkeypatch):
    monkeypatch.setattr("clp_aug.nets.devices.found", lambda: iter(()))
    monkeypatch.setattr("clp_aug.nets.devices.describe", lambda device: "a chip")
    with pytest.raises(SettingError) as caught:
        place_of(**settings)
    assert str(caught.value).startswith(message)


class Old:
    """The module of a device without bfloat16."""

    @staticmethod
    def is_bf16_supported():
        return False


def test_a_device_without_bfloat16_says_so(monkeypatch):
    monkeypatch.setattr("torch.get_device_module", lambda device: Old)
    with pytest.raises(SettingError, match=r"^precision = bf16: cpu .* it has float32; take precision = float32$"):
        place_of(device="cpu", precision="bf16")


def test_the_cpu_is_left_alone_and_another_device_is_told():
    before = [flag.fp32_precision for flag in convolutions()]
    with Place(torch.device("cpu"), "float32").active():
        assert [flag.fp32_precision for flag in convolutions()] == before
    for precision, expected in (("float32", "ieee"), ("tf32", "tf32")):
        with Place(torch.device("xpu"), precision).active():
            assert {flag.fp32_precision for flag in convolutions()} == {expected}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no"), RuntimeError("MPS backend out of memory (used 9 GB)")])
def test_too_little_memory_is_one_line_with_what_helps(error, monkeypatch):
    monkeypatch.setattr(module, "describe", lambda device: "a chip, 2.0 GiB")
    with pytest.raises(InputError) as caught, Place(torch.device("xpu"), "float32").active():
        raise error
    assert str(caught.value) == (
        "xpu (a chip, 2.0 GiB) is out of memory; lower batch_size and meta_batch_size, or take store = memory or"
        " precision = bf16"
    )


@pytest.mark.parametrize("device", ["cpu", "xpu"])
def test_other_errors_go_on_as_they_are(device):
    with pytest.raises(RuntimeError, match=r"^shapes$"), Place(torch.device(device), "float32").active():
        raise RuntimeError("shapes")


def test_networks_of_a_run_compute_in_its_precision(demo_shard):
    images = batch_of(side=64, dtype=torch.float32).images
    logits = {}
    for precision in ("float32", "bf16"):
        config = config_of("erm", demo_shard, device="cpu", precision=precision)
        assembly = assemble(config, load(config))
        assert assembly.place.precision == precision
        logits[precision] = [network.eval()(images).logits for network in (assembly.network, assembly.start())]
    for plain, low in zip(*logits.values(), strict=True):
        assert 0 < (plain - low).abs().max() < 0.1 * plain.abs().max()
        assert low.dtype == torch.float32


def test_a_run_in_bfloat16_learns_with_its_weights_in_float32(demo_shard, tmp_path):
    config = short(demo_shard, tmp_path, method="erm", epochs=1, batch_size=40, device="cpu", precision="bf16")
    trained = train(config, load(config))
    assert all(w.dtype == torch.float32 for w in trained.network.parameters())
    assert trained.history[-1]["train_loss"] > 0

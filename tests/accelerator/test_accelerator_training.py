"""Ten steps in float32 on the accelerator are those of the CPU to 1e-4."""

import pytest
import torch

from clp_aug.nets.devices import has_precision
from tests.accelerator.beside_cpu import assert_close, on_both, run_on

BY_DIFFERENCES = 1e-3
"""What a meta step learns from central differences in float32 is known to three digits, on the CPU too."""
PLAIN = {"saliency_lambda": 0.0}
SPLIT = {"share": 0.5}
ROWS = [
    ("erm", None, {}),
    ("erm", None, {"transform": "none", "batch_size": 27}),
    ("clp", None, {}),
    ("clp", None, {"meta_step": "lagged"}),
    ("clp", None, {"hypergradient": "forward"}),
    ("clp", None, {"hypergradient": "reference"}),
    ("clp", None, {"meta_scope": "last-block"}),
    ("clp", None, {"meta_interval": 3, "saliency_interval": 2}),
    ("clp", None, {"meta_batch_norm": "running", "virtual_momentum": True}),
    ("clp", None, {"meta_delta": "paper", **PLAIN}),
    ("clp", None, {"saliency_target": "logit-gap", "saliency_subset": 0.5, "saliency_lambda": 0.002}),
    ("clp", {"omega_start": "log-prior", "omega_schedule": "network", "batches": "class"}, {}),
    ("clp", {"omega_start": "background"}, PLAIN),
    ("meta-lp", None, {"meta_step": "lagged", "hypergradient": "forward"}),
    ("mwn", None, {}),
    ("l2rw", None, {"hypergradient": "forward"}),  # its weights are cut at 0: central differences decide by noise
    ("mfrw-mes", None, {}),
    ("mentornet", {"burn_in": 0.0}, {}),
    ("logit-adjust", None, {}),
    ("ldam-drw", None, {}),
    ("isda", None, {}),
    ("risda", {"start": 0.0}, {}),
    ("group-dro", None, {}),
    ("v-rex", {"anneal": 1}, {}),
    ("co-teaching", {"ramp": 1}, {}),
    ("crt", SPLIT, {"epochs": 2}),
    ("lisa", None, {}),
    ("rand-aug", None, {}),
    ("clp", None, {"online": "mix-rand", **PLAIN}),
    ("clp", None, {"online": "fgsm", **PLAIN}),
    ("clp", None, {"trainable": "head", **PLAIN}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "options", "settings"), ROWS, ids=str)
def test_ten_steps(method, options, settings, shard, run, device):
    cpu, there = on_both(device, shard, run, method, options, **settings)
    assert_close(there.trained.last.state, cpu.trained.last.state)
    assert_close(there.method, cpu.method, BY_DIFFERENCES)
    for found, expected in zip(there.trained.history, cpu.trained.history, strict=True):
        assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-4)


@pytest.mark.parametrize("store", ["device", "memory"])
def test_where_pictures_live_changes_nothing(store, shard, run, device):
    """The CPU has one place for them, which a dry run takes for both."""
    _, auto = on_both(device, shard, run, "clp")
    _, there = on_both(device, shard, run, "clp", store="auto" if device == "cpu" else store)
    assert_close(there.trained.last.state, auto.trained.last.state)


def test_two_runs_are_the_same(shard, run, device):
    """To 1e-4: a device may add in another order each time."""
    _, one = on_both(device, shard, run, "clp")
    _, again = on_both(device, shard, run, "clp")
    assert_close(again.trained.last.state, one.trained.last.state)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_fewer_bits_still_train(precision, shard, run, device):
    """Losses stay near those of float32, and weights stay float32."""
    if not has_precision(torch.device(device), precision):
        pytest.skip(f"{device} does not have {precision}")
    cpu, there = run_on("cpu", shard, run, "clp"), run_on(device, shard, run, "clp", precision=precision)
    assert all(value.dtype in (torch.float32, torch.int64) for value in there.trained.last.state.values())
    assert there.trained.history[-1]["train_loss"] == pytest.approx(cpu.trained.history[-1]["train_loss"], rel=0.1)

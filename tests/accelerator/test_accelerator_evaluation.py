"""EVALUATE on the accelerator: scores, metrics and Grad-CAM are those of the CPU; so are exported classifiers."""

from dataclasses import replace

import pytest
import torch

from clp_train.evaluating.gradcam import gradcam
from clp_train.evaluating.metrics import evaluate
from clp_train.evaluating.outputs import score
from clp_train.evaluating.raised_losses import raised_losses
from clp_train.models import build_model
from clp_train.pictures.types import as_input
from clp_train.running.assembly import assemble
from tests.accelerator.beside_cpu import CLOSE, TEN_STEPS, assert_close, distance, its_kernels, run_on
from tests.clp_train.builders import config_of, generator

MODELS = ["resnet8", "efficientnet-lite0-scratch", "torchvision:resnet18"]


@pytest.fixture(scope="module")
def pair(shard, run, device):
    """A network that has learnt ten steps on the CPU, and the same on the device; both in evaluation mode."""
    state = run_on("cpu", shard, run, "erm").trained.last.state
    networks = []
    for where in ("cpu", device):
        network = assemble(config_of("erm", shard, **TEN_STEPS, device=where), run).network
        network.load_state_dict(state)
        networks.append(network.eval())
    return networks


def test_scores(pair, run, device):
    cpu = score(pair[0], run.evaluation["test"])
    with its_kernels(device):
        there = score(pair[1], run.evaluation["test"])
    assert distance(there.features, cpu.features) <= CLOSE
    assert distance(there.logits, cpu.logits) <= CLOSE


def test_metrics(pair, run, device):
    """A picture between two classes may fall on either side: none does here."""
    test = run.evaluation["test"]
    gap = score(pair[0], test).logits.topk(2, 1).values.diff(dim=1).abs().min()
    assert gap > CLOSE
    cpu = evaluate(pair[0], test, 2, list(run.weights))
    with its_kernels(device):
        there = evaluate(pair[1], test, 2, list(run.weights))
    assert there.ece == pytest.approx(cpu.ece, abs=CLOSE)
    assert there.auroc == pytest.approx(cpu.auroc, abs=CLOSE)
    assert replace(there, ece=cpu.ece, auroc=cpu.auroc) == cpu


def test_raised_losses(pair, shard, run, device):
    found = []
    for network, where in zip(pair, ("cpu", device), strict=True):
        method = assemble(config_of("clp", shard, **TEN_STEPS, device=where), run).method
        with its_kernels(where):
            found.append(raised_losses(network, method, run.train, run.wrong, 0, 8, 1.0))
        network.eval()
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=CLOSE, abs=CLOSE)


def test_gradcam(pair, run, device):
    test = run.evaluation["test"]
    maps = []
    for network, where in zip(pair, ("cpu", device), strict=True):
        with its_kernels(where):
            found = gradcam(network, as_input(test.images).to(where), test.label.to(where))
        assert found.device.type == where
        maps.append(found.cpu())
    assert maps[0].max() > 0
    assert distance(maps[1], maps[0]) <= CLOSE


@pytest.mark.parametrize("name", MODELS)
def test_networks_start_and_compute_alike(name, device):
    images = torch.rand(4, 3, 64, 64, generator=generator())
    cpu, there = (build_model(name, 3, [0.5] * 3, [0.25] * 3, generator(1)).eval() for _ in range(2))
    there.to(device)
    assert_close({name: value.cpu() for name, value in there.state_dict().items()}, cpu.state_dict(), 0)
    with torch.no_grad(), its_kernels(device):
        found = there(images.to(device))
        assert distance(found.logits.cpu(), cpu(images).logits) <= CLOSE


def test_tables_of_a_whole_run(shard, run, device):
    """From the first step to the last table: history, metrics, and weights that lie on the CPU."""
    with its_kernels(device):
        there = run_on(device, shard, run, "clp", epochs=2).trained
    cpu = run_on("cpu", shard, run, "clp", epochs=2).trained
    assert len(there.history) == len(cpu.history) == 2
    assert there.last.metrics.keys() == cpu.last.metrics.keys()
    assert there.last.metrics["test"].average == pytest.approx(cpu.last.metrics["test"].average, abs=0.03)
    assert all(value.device.type == "cpu" for value in there.last.state.values())

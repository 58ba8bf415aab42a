"""The examples of own training loops run, and what they learn gets better."""

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    """Return a module of the examples' folder."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def one_seed():
    """The examples seed torch as scripts do; what is drawn after them is as if they had not been."""
    with torch.random.fork_rng([]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the frameworks
        yield


def test_the_cifar_loop_learns_from_wrong_labels(capsys):
    assert example("own_loop_cifar").main(None, True) > 0.6
    assert "epoch 2: loss " in capsys.readouterr().out


def test_the_cifar_loop_is_sixty_lines_at_most():
    assert len((EXAMPLES / "own_loop_cifar.py").read_text().splitlines()) <= 60


def test_a_network_of_timm():
    pytest.importorskip("timm", reason="extra [timm] is not there")
    losses = example("timm_model").main(steps=3)
    assert losses[-1] < 0.7 * losses[0]


def test_lightnings_manual_optimisation():
    pytest.importorskip("lightning", reason="extra [examples] is not there")
    assert example("lightning_manual").main() < 0.7


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_loop_of_accelerate(precision):
    accelerate = pytest.importorskip("accelerate", reason="extra [examples] is not there")
    accelerate.state.AcceleratorState._reset_state(True)
    assert example("accelerate_loop").main(precision) < 0.7

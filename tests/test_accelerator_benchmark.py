"""benchmarks/accelerator.py goes through its list, here with networks so small that its figures mean nothing."""

from pathlib import Path

import pytest
import torch

CPU = torch.device("cpu")


@pytest.fixture
def module(monkeypatch):
    """The module, with the others of its folder beside it."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    import accelerator

    return accelerator


@pytest.fixture
def tiny(module):
    """The scale of a dry run, all networks the smallest."""
    network = module.Network("resnet8", 8, 3)
    return module.Scale(dict.fromkeys(module.NETWORKS, network), 0.0, 1, 12, 6, network)


def test_every_entry_finds_something(module, tiny, tmp_path):
    entries = [entry for entry in module.entries_of(tiny, CPU, True) if not entry.name.startswith(("graph", "comp"))]
    names = [entry.name for entry in entries]
    some = [entry for entry in entries if names.index(entry.name) in (0, 2, *range(12, len(names)))]
    result = {}
    module.measure(some, float("inf"), tmp_path / "result.json", result)
    assert result["left_out"] == []
    assert {name: found["failed"] for name, found in result["entries"].items() if "failed" in found} == {}
    rows = result["entries"]["steps of resnet32, float32"]["rows"]
    assert not any("failed" in row for row in rows.values())
    assert rows["plain"]["ratio"] == 1


def test_a_step_is_measured_beside_one_that_a_graph_could_hold(module, tiny):
    experiments = [entry.name for entry in module.entries_of(tiny, CPU, True) if entry.least == 40]
    assert experiments == [
        f"{kind}: {row} step of resnet8" for kind in ("graph", "compile") for row in ("plain", "full CLP")
    ]
    place = module.place_of(CPU, "float32")
    import accelerator_steps

    for row in ("plain", "full CLP"):
        stepper, other = (accelerator_steps.Stepper(tiny.child, row, place) for _ in range(2))
        losses = [float(stepper.bare_step()) for _ in range(3)]
        assert losses[0] != losses[2]
        assert losses == [float(other.step().train) for _ in range(3)], "no network here draws noise of its own"
    with pytest.raises(RuntimeError, match=r"^the CPU has no graphs$"):
        module.experiment_of("graph", "plain", tiny.child, CPU, 0.0, 1)

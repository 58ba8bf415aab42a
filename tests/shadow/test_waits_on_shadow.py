"""How often a step makes the host wait for the device: never, but where a method says why; and what it sends there."""

import pytest

from clp_train.algorithm.step import train_step
from clp_train.methods import METHODS
from clp_train.running import loop
from tests.shadow import second_device
from tests.shadow.both import run_on
from tests.shadow.test_registry_on_shadow import OWN

WAITS = {"csa": {"nonzero"}, "l-dmi": {"item"}}
"""What a method waits for: csa, for how many pictures it is sure of, since each costs a Grad-CAM; l-dmi, for whether
its determinant exists."""
UPLOADS = {"background-adjust": 1, "glc": 1, "mentornet": 1, "ifl": 2}
"""What a method sends in a step: something for each picture of the batch, by its row in the stream; ifl, its centres,
once they are made."""


def waits_of(shard, run, name, options, **settings):
    """Return what each step of a run waited for, and how much it sent."""
    found = []

    def step(*args, **more):
        second_device.forget()
        losses = train_step(*args, **more)
        found.append((second_device.waits(), second_device.uploads()))
        return losses

    run_on(second_device.NAME, shard, run, name, options, hooks=loop.Hooks(train_step=step), **settings)
    return found


@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits(name, shard, run):
    found = waits_of(shard, run, name, OWN.get(name), epochs=2)
    assert {what for waits, _ in found for what in waits} <= WAITS.get(name, set())
    assert max(uploads for _, uploads in found) <= UPLOADS.get(name, 0)


@pytest.mark.parametrize(("name", "options", "most"), [
    ("mentornet", {"curriculum": "dd", "burn_in": 0.5}, 1), ("clp", {"omega_start": "background"}, 2),
], ids=str)  # fmt: skip
def test_no_step_of_another_form_waits(name, options, most, shard, run):
    found = waits_of(shard, run, name, options, epochs=2)
    assert not any(waits for waits, _ in found)
    assert max(uploads for _, uploads in found) <= most


@pytest.mark.parametrize("settings", [
    {"meta_step": "lagged"}, {"meta_scope": "last-block"}, {"hypergradient": "forward"}, {"saliency_subset": 0.4},
    {"saliency_relative": True}, {"online": "mix-rand"}, {"online": "fgsm"}, {"virtual_momentum": True},
], ids=str)  # fmt: skip
def test_no_step_of_clp_waits(settings, shard, run):
    assert not any(waits for waits, _ in waits_of(shard, run, "clp", None, **settings))

"""How often a step, and what brings its batch, makes the host wait for the device: never; what a step sends there."""

import pytest

from clp_train.algorithm.step import train_step
from clp_train.methods import METHODS
from clp_train.running import loop
from tests.shadow import second_device
from tests.shadow.both import run_on
from tests.shadow.test_registry_on_shadow import LONGER, OWN

UPLOADS = {"background-adjust": 1, "dac": 1, "glc": 1, "lff": 1, "mentornet": 1, "afr": 2, "eiil": 2, "ifl": 2}
"""What a method sends in a step: something for each picture of the batch, by its row in the stream; afr, its weights
twice; ifl, its centres, once they are made; eiil, groups and their weights."""


def waits_of(shard, run, name, options, **settings):
    """Return what each step of a run waited for, and how much it sent."""
    found = []

    def step(*args, **more):
        second_device.forget()
        losses = train_step(*args, **more)
        found.append((second_device.waits(), second_device.uploads()))
        second_device.forget()
        return losses

    run_on(second_device.NAME, shard, run, name, options, hooks=loop.Hooks(train_step=step), **settings)
    return found


@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits(name, shard, run):
    found = waits_of(shard, run, name, OWN.get(name), epochs=LONGER.get(name, 2))
    assert not any(waits for waits, _ in found)
    assert max(uploads for _, uploads in found) <= UPLOADS.get(name, 0)


def between_steps(shard, run, name, options, **settings):
    """Return what this thread waited for, and how much it sent, to make each batch of a run but the first of epochs."""
    found = []

    def step(*args, **more):
        found.append((second_device.waits(), second_device.uploads()))
        losses = train_step(*args, **more)
        second_device.forget()
        return losses

    run_on(second_device.NAME, shard, run, name, options, hooks=loop.Hooks(train_step=step), **settings)
    return found[1::2]  # two steps an epoch; after its last one losses are read


@pytest.mark.parametrize("name", ["clp", "lisa", "csa", "ace", "train-infills", "rand-aug", "co-teaching"])
def test_no_batch_waits(name, shard, run):
    found = between_steps(shard, run, name, OWN.get(name), epochs=2, transform="pad-crop-flip")
    assert len(found) >= 2
    assert not any(waits for waits, _ in found)


@pytest.mark.parametrize("online", ["none", "mix-rand", "fgsm"])
def test_no_meta_batch_waits_and_a_thread_sends_its_pictures(online, shard, run):
    sent = {}
    for store in ("device", "memory"):
        found = between_steps(shard, run, "clp", None, epochs=2, saliency_lambda=0.0, online=online, store=store)
        assert not any(waits for waits, _ in found)
        sent[store] = max(uploads for _, uploads in found)
    assert sent["memory"] == sent["device"] - 2  # the rows of both batches, which the thread gathers on the CPU


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

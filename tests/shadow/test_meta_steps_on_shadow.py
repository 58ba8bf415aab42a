"""Every form of the meta step and of the saliency term on the second device: equal to the CPU to the last bit."""

import itertools

import pytest
import torch

from clp_train.algorithm.settings import META_STEP
from clp_train.methods import METHODS
from tests.shadow import second_device
from tests.shadow.both import assert_same_on_both, run_on

EXACT_ONLY = ("metasaug", "l2rw", "mfrw-mes")
OWN = {"metasaug": {"start": 0.0}}
STEPS = {
    "exact": {}, "lagged": {"meta_step": "lagged"}, "last block": {"meta_scope": "last-block"},
    "interval 2": {"meta_interval": 2}, "momentum": {"virtual_momentum": True},
    "running statistics": {"meta_batch_norm": "running"},
}  # fmt: skip
SLOPES = ("central", "forward", "reference")
SALIENCY = {
    "without": {"saliency_lambda": 0.0}, "all": {}, "subset": {"saliency_subset": 0.4},
    "relative": {"saliency_relative": True, "saliency_target": "logit-gap"},
}  # fmt: skip
ONLINE = {"none": {}, "mix-rand": {"online": "mix-rand"}, "fgsm": {"online": "fgsm"}}


def every(forms, slopes):
    """Return every pair of a form and a slope that there is; lagged has no reference."""
    return [pair for pair in itertools.product(forms, slopes) if pair != ("lagged", "reference")]


PLAIN = [
    (name, form, slope)
    for name in (name for name, entry in METHODS.items() if META_STEP in entry.parts and name != "clp")
    for form, slope in [*every(STEPS, SLOPES[:1]), *every(["exact"], SLOPES[1:])]
    if form != "lagged" or name not in EXACT_ONLY
]
CLP = [
    *((form, slope, "all", "none") for form, slope in every(STEPS, SLOPES)),
    *itertools.product(["exact"], SLOPES[1:], ["without", "subset"], ["none"]),
    *itertools.product(["exact"], SLOPES[:1], SALIENCY, ONLINE),
    *itertools.product(["lagged"], SLOPES[1:2], ["subset"], ["fgsm", "mix-rand"]),
]


def slope_settings(slope):
    """Return the settings of a slope; forward with frozen batch norm: torch has another formula, which rounds
    otherwise, for the tangent of batch statistics where tensors are not its own.
    """
    return {"hypergradient": slope} | ({"freeze_batch_norm": True} if slope == "forward" else {})


@pytest.mark.parametrize(("name", "form", "slope"), PLAIN)
def test_methods_with_a_meta_step(name, form, slope, shard, run):
    assert_same_on_both(shard, run, name, OWN.get(name), **slope_settings(slope), **STEPS[form])


@pytest.mark.parametrize(("form", "slope", "saliency", "online"), CLP)
def test_clp(form, slope, saliency, online, shard, run):
    assert_same_on_both(
        shard, run, "clp", **slope_settings(slope), **STEPS[form], **SALIENCY[saliency], **ONLINE[online],
    )  # fmt: skip


@pytest.mark.parametrize("name", ["mwn", "clp"])
def test_forward_through_batch_statistics(name, shard, run):
    cpu, shadow = (run_on(device, shard, run, name, hypergradient="forward") for device in ("cpu", second_device.NAME))
    for one, other in ((cpu.trained.last.state, shadow.trained.last.state), (cpu.method, shadow.method)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["clp", "meta-lp"])
def test_perturbed_meta_logits(name, shard, run):
    assert_same_on_both(shard, run, name, meta_delta="paper")


def test_so_many_cases():
    assert (len(PLAIN), len(CLP)) == (37, 35)

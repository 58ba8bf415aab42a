"""Every registered method through all its stages on the second device: equal to the CPU to the last bit."""

import pytest

from clp_train.methods import METHODS
from tests.shadow.both import assert_same_on_both

EARLY = {"start": 0.0}
OWN = {  # settings with which a run of two epochs goes through all of a method
    "ldam-drw": EARLY, "isda": None, "metasaug": EARLY, "risda": EARLY, "ifl": {"first": 0.4, "second": 0.6},
    "crt": {"share": 0.5}, "lws": {"share": 0.5}, "cb-fine-tune": {"share": 0.5}, "ace": {"tuning": 0.5, "copies": 1},
    "dac": {"first": 0.5}, "jtt": {"first": 0.5}, "afr": {"first": 0.5}, "self": {"share": 0.34, "early": 0.5},
    "csa": EARLY | {"confidence": 0.2}, "pde": {"interval": 1, "warm_up": 0.5}, "irm": {"anneal": 1},
    "ib-irm": {"anneal": 1, "bottleneck_anneal": 1}, "v-rex": {"anneal": 1}, "l-dmi": {"start": 0.5},
    "co-teaching": {"ramp": 1}, "jocor": {"ramp": 1}, "mentornet": {"burn_in": 0.5, "soft_from": 0.5},
}  # fmt: skip
LONGER = {"self": 3}  # it looks at the network between two epochs
OTHER_FORMS = [
    ("focal", {"form": "sigmoid"}), ("ifl", {"loss": "balanced-softmax", "first": 0.0}),
    ("isda", {"covariance": "diag"}), ("risda", EARLY | {"covariance": "diag"}),
    ("metasaug", EARLY | {"covariance": "diag"}), ("apl", {"active": "nfl"}),
    ("irm", {"anneal": 0, "estimate": "halves"}), ("ib-irm", {"anneal": 0, "bottleneck_anneal": 0}),
    ("mentornet", {"curriculum": "dd", "burn_in": 0.5}), ("glc", {"smoothing": 0.1}), ("ala", {"base": 3.0}),
    ("csa", EARLY | {"confidence": 0.2, "judge": "mean"}), ("ace", {"source": "reveal", "tuning": 0.5}),
    ("group-dro", {"adjustment": 2.0}), ("mfrw-mes", {"equalise": False}), ("mwn", {"normaliser": "sum_w"}),
    ("mwn", {"attached": True, "omega_optimiser": "sgd"}), ("crt", {"share": 0.5, "sampler": "class-aware"}),
    ("lpl", {"prior": True}), ("focal", {"detached": True}),
    ("clp", {"leave_out": 3, "omega_form": "true-class"}), ("clp", {"omega_form": "bounded"}),
    ("clp", {"omega_start": "log-prior", "omega_schedule": "network", "batches": "class"}),
    ("clp", {"omega_start": "background", "background_step": 0.01}), ("clp", {"omega_start": "background"}),
    ("clp", {"omega_start": "background", "background_step": 0.01, "omega_form": "none",
             "counterfactual_target": "chance"}), ("dfr", {"fit": "sgd"}),
]  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_method(name, shard, run):
    assert_same_on_both(shard, run, name, OWN.get(name), epochs=LONGER.get(name, 2))


@pytest.mark.parametrize(("name", "options"), OTHER_FORMS, ids=str)
def test_other_forms(name, options, shard, run):
    assert_same_on_both(shard, run, name, options, epochs=2)


def test_so_many_cases():
    assert (len(METHODS), len(OTHER_FORMS)) == (58, 27)

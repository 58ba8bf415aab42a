"""Fig. 5: whose losses the perturbation raises, beside the same picture by picture; no method sees which are wrong."""

import math

import numpy as np
import pytest
import torch

from clp_train.algorithm.method import Method
from clp_train.algorithm.objective import Terms
from clp_train.evaluating.raised_losses import raised_losses, raises
from clp_train.models import build_model
from clp_train.pictures.types import BoxedPictures
from clp_train.report.curves import panels
from clp_train.report.table import remarks
from clp_train.result import result_of
from tests.clp_train.builders import config_of, generator, load, make_demo_shard, method_of, table_of, train

RUN = {"seed": 0, "batch_size": 7, "progress": 0.5}


def loss(logits, label):
    """Cross entropy of one picture, written out."""
    return math.log(sum(math.exp(z - logits[label]) for z in logits))


@pytest.mark.parametrize("seed", range(5))
def test_raised_is_a_larger_cross_entropy(seed):
    rng = np.random.default_rng(seed)
    logits, delta, label = rng.normal(size=(20, 4)), rng.normal(size=(20, 4)), rng.integers(0, 4, 20)
    delta[:3] = 0  # what is not perturbed is not raised
    delta[3:6] = 1.5  # nor what all classes share
    found = raises(*map(torch.from_numpy, (logits, delta, label)))
    expected = [loss(z + d, y) > loss(z, y) + 1e-9 for z, d, y in zip(logits, delta, label, strict=True)]
    assert found.tolist() == expected
    assert found[:6].tolist() == [False] * 6
    assert found.any()


class OwnClass(Method):
    """Lowers the own logit of pictures with an even row, which raises their loss, and raises that of the others."""

    perturbs = True

    def terms(self, view):
        self.seen = (*getattr(self, "seen", ()), len(view.row))
        sign = torch.where(view.row % 2 == 0, -1.0, 1.0)
        return Terms(delta=sign[:, None] * torch.nn.functional.one_hot(view.label, view.logits.shape[1]))


def pictures(n):
    images = torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=generator())
    label = torch.arange(n) % 3
    return BoxedPictures(images, label, label, torch.arange(n), torch.zeros(n, 4), torch.zeros(n, dtype=torch.uint8))


@pytest.fixture(scope="module")
def network():
    return build_model("resnet8", 3, [0.5] * 3, [0.25] * 3, generator())


def test_shares_are_of_the_right_and_of_the_wrong_labels(network):
    method, wrong = OwnClass(), torch.zeros(30, dtype=torch.bool)
    wrong[[0, 1, 2, 4, 6]] = True  # four of these five have an even row, 11 of the other 25
    found = raised_losses(network, method, pictures(30), wrong, **RUN)
    assert found == {"raised_right": pytest.approx(11 / 25), "raised_wrong": pytest.approx(4 / 5)}
    assert method.seen == (6, 6, 6, 6, 6), "in even batches, none larger than the run's"


def test_without_wrong_labels_or_perturbation_there_is_nothing_to_say(network):
    wrong = torch.ones(4, dtype=torch.bool)
    assert raised_losses(network, OwnClass(), pictures(4), None, **RUN) == {}
    assert raised_losses(network, Method(), pictures(4), wrong, **RUN) == {}
    assert raised_losses(network, OwnClass(), pictures(4), wrong, **RUN) == {
        "raised_right": None, "raised_wrong": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["clp", "meta-lp"])
def test_asking_changes_neither_network_nor_method(name, network):
    label = torch.arange(12) % 3
    method = method_of(name, table_of(label), seed=1)
    torch.nn.init.normal_(method.network.last.weight, generator=generator(2))
    before = [{k: v.clone() for k, v in thing.state_dict().items()} for thing in (network, method)]
    found = raised_losses(network, method, pictures(12), label == 0, 0, 5, 0.5)
    assert 0 <= found["raised_wrong"] <= 1
    for old, thing in zip(before, (network, method), strict=True):
        assert all(torch.equal(old[k], v) for k, v in thing.state_dict().items())


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A shard whose labels are wrong in every other picture."""
    return make_demo_shard(tmp_path_factory.mktemp("noisy") / "noisy.h5", size=8, per_group=2, train=40, noisy="half")


def test_a_run_on_noise_has_a_share_an_epoch_and_reports_it(noisy, tmp_path):
    config = config_of(meta=noisy, method="meta-lp", epochs=2, batch_size=20, out=tmp_path)
    run = load(config)
    assert run.wrong.tolist() == (run.train.label != run.train.group // 2).tolist()
    assert run.wrong.sum() == 20
    assert load(config_of(meta=noisy, limit=8)).wrong.shape == (8,)
    trained = train(config, run)
    result = result_of(config.as_json(), run, trained, {}, "cpu")
    for line in trained.history:
        assert 0 <= line["raised_right"] <= 1
        assert 0 <= line["raised_wrong"] <= 1
    assert [p["title"] for p in panels(result)][-1] == "Losses raised by the perturbation"
    right, wrong = (f"{100 * trained.history[-1][key]:.1f} %" for key in ("raised_right", "raised_wrong"))
    said = f"the perturbation raised the losses of {right} of the right labels, {wrong} of the wrong ones"
    assert f"in the last epoch {said}" in remarks(result)


def test_a_run_on_right_labels_says_nothing_of_it(demo_shard):
    config = config_of(meta=demo_shard, method="meta-lp", epochs=1, batch_size=40)
    run = load(config)
    assert run.wrong is None
    assert "raised_right" not in train(config, run).history[0]

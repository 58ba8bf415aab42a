"""What pictures without their objects are taken for, as what delta starts from."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import meta_losses
from clp_train.algorithm.method import BACKGROUND
from clp_train.backgrounds.prior import DECAYS, FOLDS, background_log_prior, fit_logistic, folds, never_zero
from clp_train.config import make_config
from clp_train.evaluating.outputs import score, score_backgrounds, scores_of, without_object
from clp_train.loading.data import channel_statistics
from clp_train.loading.features import probe_of
from clp_train.models import build_model
from clp_train.models.parts import Output
from clp_train.pictures.types import Pictures
from clp_train.running import assembly
from clp_train.running.part import originals_of
from tests.clp_train.builders import batch_of, build, config_of, generator, parts, step, train
from tests.clp_train.resuming import assert_resumed_is_the_same

ORACLES = ("background-adjust",)


def two_epochs(shard, **settings):
    """Return a configuration without saliency."""
    more = {"epochs": 2, "batch_size": 30, "saliency_lambda": 0.0}
    return config_of(meta=shard, **more | settings)


def started(run):
    """Return a classifier of a run's pictures."""
    return build_model("resnet8", 2, *channel_statistics(run.train.images), generator())


def scores_by(network, run, learnt=None):
    """Return what gives a method the scores of a run's pictures."""
    return scores_of(network, run.train, originals_of(run), run.background, learnt)


def built(config, run):
    """Return the method as before its first step."""
    return build(config, assembly.table_of(run))


def test_the_object_is_grey_and_the_rest_as_it_was():
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (5, 3, 9, 7), dtype=np.uint8))
    box = torch.tensor([[0, 0, 7, 9], [2, 3, 5, 8], [6, 8, 7, 9], [0, 4, 1, 5], [3, 3, 3, 3]])
    found = without_object(images, box)
    for i, (x0, y0, x1, y1) in enumerate(box.tolist()):
        expected = images[i].clone()
        expected[:, y0:y1, x0:x1] = 128
        assert torch.equal(found[i], expected)
    assert found.dtype == torch.uint8


def test_backgrounds_are_scored_alike_as_pictures_and_as_features(loaded):
    network = started(loaded)
    hidden = without_object(loaded.train.images, loaded.train.box)
    expected = score(network, Pictures(hidden, *(loaded.train.label,) * 3))
    found = score_backgrounds(network, loaded.train)
    torch.testing.assert_close(found.logits, expected.logits)
    head, run = probe_of(network, loaded, background=True)
    torch.testing.assert_close(scores_by(head, run)(BACKGROUND).logits, expected.logits)
    torch.testing.assert_close(scores_by(network, loaded)(BACKGROUND).logits, expected.logits)
    assert probe_of(network, loaded)[1].background is None


@pytest.mark.parametrize("seed", range(10))
def test_folds_hold_every_class_and_every_picture_once(seed):
    rng = np.random.default_rng(seed)
    label = rng.choice(4, 60, p=[0.6, 0.2, 0.15, 0.05])
    found = folds(label, rng)
    assert set(found) <= set(range(FOLDS))
    for c in range(4):
        sizes = np.bincount(found[label == c], minlength=FOLDS)
        assert sizes.max() - sizes.min() <= 1
    assert not np.array_equal(found, folds(label, rng))


@pytest.mark.parametrize("decay", DECAYS[:-1])
def test_the_fit_is_where_the_slope_is_zero(decay):
    g = generator()
    x, label = torch.randn(80, 5, generator=g), torch.randint(3, (80,), generator=g)
    weight, bias = (values.double().requires_grad_() for values in fit_logistic(x, label, 3, decay))
    loss = torch.nn.functional.cross_entropy(x.double() @ weight.T + bias, label) + decay / 2 * weight.square().sum()
    for slope in torch.autograd.grad(loss, (weight, bias)):
        assert slope.abs().max() < 1e-3


def test_backgrounds_that_say_nothing_leave_the_class_priors_and_others_the_class():
    g, rng = generator(), np.random.default_rng(0)
    label = (torch.arange(300) % 10 == 0).long()  # 9 : 1
    noise = torch.randn(300, 400, generator=g)  # more features than pictures: they could be learnt by heart
    found = background_log_prior(noise, label, 3, rng)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(300))
    torch.testing.assert_close(found[:, :2], torch.tensor([0.9, 0.1]).log().expand(300, 2), atol=0.7, rtol=0)
    assert found.isfinite().all(), "no picture is of the third class"
    telling = background_log_prior(noise + 3 * label[:, None], label, 2, rng)
    assert telling.exp().gather(1, label[:, None]).min() > 0.5


@pytest.mark.parametrize("tau", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("better", ["linear", "learnt"])
def test_background_adjustment_adds_it_and_clp_starts_from_it(demo_shard, loaded, tau, better):
    network, rows = started(loaded), torch.tensor([5, 0, 7, 2])
    features, labels = score_backgrounds(network, loaded.train).features, loaded.train.label
    linear = background_log_prior(features, labels, 2, rng_for(0, 0, "background"))
    told = 6.0 * F.one_hot(labels, 2) * (1 if better == "learnt" else -1)
    expected = (linear if better == "linear" else never_zero(told.softmax(1), labels))[rows]
    out, label = score(network, loaded.train.take(rows)), labels[rows]
    view = View(out.logits, out.features, network.head.weight.detach(), label, label, rows)
    for name, more, factor in (
        ("background-adjust", {"options": {"tau": tau}}, tau),
        ("clp", {"omega_start": "background"}, 1),
        ("clp", {"omega_start": "background", "options": {"background_share": tau}}, tau),
        ("clp", {"omega_start": "background", "options": {"background_share": tau, "background_step": 1.0}}, tau),
        ("meta-lp", {"omega_start": "background"}, 1),
    ):
        config = two_epochs(demo_shard, method=name, **more)
        method = built(config, loaded)
        for epoch in (0, 1):
            method.begin_epoch(epoch, 2, scores_by(network, loaded, lambda: Output(told, told)))
        torch.testing.assert_close(method.terms(view).delta, factor * expected)
    torch.nn.init.normal_(method.network.last.weight)
    assert not torch.allclose(method.terms(view).delta, expected), "and goes on from there"


def test_a_frozen_body_is_not_asked_what_it_could_learn(demo_shard, loaded):
    config = two_epochs(demo_shard, method="background-adjust", trainable="head")
    method = built(config, loaded)
    method.begin_epoch(0, 2, scores_by(started(loaded), loaded))
    assert method.prior.isfinite().all()


def with_share(share, **settings):
    """Return configuration, network, method and optimiser, as before the first step; backgrounds say something."""
    options = {"background_share": share, "background_step": 0.1}
    made = parts("clp", omega_start="background", lr=0.2, head_lr=0.7, saliency_lambda=0.0, options=options, **settings)
    g = generator(4)
    made[2].prior = torch.randn(10, 3, dtype=torch.float64, generator=g).log_softmax(1)
    return made


def meta_loss_with_share(share, batch, meta):
    """Return the meta loss once the network has stepped along the training loss with so much of the background."""
    _, network, method, _ = with_share(share)
    out = network(batch.images)
    seen = [values.detach() for values in (out.logits, out.features, network.head.weight)]
    view = View(*seen, batch.label, batch.group, batch.row)
    method.observe(view)
    loss = F.cross_entropy(out.logits + method.terms(view).delta.detach(), batch.label)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    with torch.no_grad():
        for (name, w), gradient in zip(network.named_parameters(), gradients, strict=True):
            w -= (0.7 if name.startswith("head.") else 0.2) * gradient
    return meta_losses(network(meta.images).logits, meta.label, meta.kind).mean().item()


@pytest.mark.parametrize("mode", ["reference", "forward", "central"])
@pytest.mark.parametrize("share", [0.01, 1.3])
def test_the_meta_step_moves_the_share_along_finite_differences(mode, share):
    batch, meta, given = batch_of(1, 7, rows=True), batch_of(2, 6, [0, 1, 2]), []
    config, network, method, optimiser = with_share(share, hypergradient=mode)
    plain = method.update
    method.update = lambda gradients: (given.extend(gradients), plain(gradients))
    step(network, method, optimiser, batch, meta, config)
    ends = [meta_loss_with_share(share + moved, batch, meta) for moved in (1e-4, -1e-4)]
    assert given[-1].item() == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3)
    assert method.share.item() == pytest.approx(share - 0.1 * torch.sign(given[-1]).item(), rel=1e-4), "Adam's first"


@pytest.mark.parametrize("start", ["zero", "background"])
@pytest.mark.parametrize("trainable", ["all", "head"])
def test_killed_and_resumed_it_is_the_same(demo_shard, loaded, tmp_path, trainable, start):
    options = {"background_step": 0.1} if start == "background" else {}
    config = two_epochs(demo_shard, trainable=trainable, omega_start=start, checkpoint_interval=1, options=options)
    assert_resumed_is_the_same(config, loaded, tmp_path, 3)


def test_delta_on_meta_pictures_is_refused(demo_shard, loaded):
    config = two_epochs(demo_shard, method="clp", meta_delta="paper", omega_start="background")
    message = (
        "omega_start = background: only backgrounds of training pictures are scored; set meta_delta to none, or"
        " omega_start to zero"
    )
    with pytest.raises(UsageError, match=message):
        built(config, loaded)


@pytest.mark.parametrize("step", [0.0, 0.1])
def test_the_share_is_told_after_each_epoch(demo_shard, loaded, step):
    options = {"background_share": 0.5, "background_step": step}
    config = two_epochs(demo_shard, omega_start="background", trainable="head", options=options)
    found = [line["background_share"] for line in train(config, loaded).history]
    assert (found == [0.5, 0.5]) == (step == 0)
    assert len(set(found)) == (2 if step else 1)
    plain = train(two_epochs(demo_shard, omega_start="zero"), loaded)
    assert "background_share" not in plain.history[0]


@pytest.mark.parametrize("option", ["background_share", "background_step"])
def test_a_share_of_nothing_is_refused(demo_shard, option):
    message = f"{option} = 0.5: has no effect where omega_start is zero; take omega_start = background"
    for given, texts in (({option: 0.5}, ()), ({}, (f"{option}=0.5",))):
        with pytest.raises(UsageError) as error:
            make_config({"meta": demo_shard} | given, texts)
        assert str(error.value) == message

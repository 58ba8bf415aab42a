"""Infills inside a batch: Mix-Rand against the stored fill, FGSM against a linear classifier."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from clp_aug.contract import boxes
from clp_aug.contract.errors import SettingError, UsageError
from clp_aug.contract.seeds import rng_for
from clp_aug.fills import F as FACTUAL
from clp_aug.fills import infill
from clp_aug.fills.scene import Materials, NoBackground, Scene
from clp_aug.fills.tile import background_rectangle
from clp_train.pictures import infills as online
from clp_train.pictures.types import masks
from tests.clp_train.builders import config_of, generator, load, train


class Out(NamedTuple):
    logits: torch.Tensor


class Linear(nn.Module):
    """A linear classifier, after batch norm without parameters that in evaluation mode is nearly the identity."""

    def __init__(self, height, width, classes=3):
        super().__init__()
        self.norm = nn.BatchNorm2d(3, affine=False)
        self.head = nn.Linear(3 * height * width, classes)

    def forward(self, x):
        return Out(self.head(self.norm(x).flatten(1)))


def batch(seed, n=9, classes=3):
    """Random pictures of a random size, random boxes among which some cover nearly all or all, random labels."""
    g = generator(seed)
    height, width = torch.randint(6, 30, (2,), generator=g).tolist()
    x0, y0 = torch.randint(width - 2, (n,), generator=g), torch.randint(height - 2, (n,), generator=g)
    x1 = x0 + 1 + (torch.rand(n, generator=g) * (width - x0)).long()
    y1 = y0 + 1 + (torch.rand(n, generator=g) * (height - y0)).long()
    box = torch.stack([x0, y0, x1, y1], 1)
    box[0] = torch.tensor([0, 0, width, height])
    box[1] = torch.tensor([1, 0, width, height])
    images = torch.randint(256, (n, 3, height, width), generator=g, dtype=torch.uint8)
    return images, box, torch.randint(classes, (n,), generator=g)


def scene(images, box, label, i):
    return Scene(images[i].permute(1, 2, 0).numpy(), tuple(box[i].tolist()), int(label[i]))


@pytest.mark.parametrize("seed", range(30))
def test_strips_are_those_of_the_stored_fill(seed):
    images, box, label = batch(seed)
    strips, usable = online.background_strips(box, *images.shape[2:])
    for i in range(len(images)):
        try:
            expected = background_rectangle(scene(images, box, label, i))
        except NoBackground:
            assert not usable[i]
        else:
            assert usable[i]
            assert tuple(strips[i].tolist()) == expected


@pytest.mark.parametrize("seed", range(30))
def test_mix_rand_equals_the_stored_fill_for_the_same_partner(seed):
    images, box, label = batch(seed)
    before = images.clone()
    mixed, ok = online.mix_rand(images, box, label, generator(seed))
    _, usable = online.background_strips(box, *images.shape[2:])
    partner, _ = online.choose_partners(label, usable, generator(seed))
    for i in np.flatnonzero(ok.numpy()):
        other = scene(images, box, label, partner[i])
        assert other.label != label[i]
        materials = Materials(partners=lambda label, rng, other=other: iter([other]))
        expected, fill = infill("mix-rand", FACTUAL, scene(images, box, label, i), rng_for(0, 0, "x"), materials)
        assert fill == "mix-rand"
        np.testing.assert_array_equal(mixed[i].permute(1, 2, 0).numpy(), expected)
    assert torch.equal(mixed[~ok], images[~ok])
    assert torch.equal(images, before)
    assert torch.equal(online.mix_rand(images, box, label, generator(seed))[0], mixed)
    as_float, _ = online.mix_rand(images.float() / 255, box, label, generator(seed))
    torch.testing.assert_close(as_float, mixed.float() / 255)


def test_every_fitting_partner_is_as_likely_as_the_others():
    label = torch.tensor([0, 0, 1, 1, 2, 1])
    usable = torch.tensor([True, True, True, False, True, True])
    g = generator()
    drawn = torch.stack([online.choose_partners(label, usable, g)[0] for _ in range(3000)])
    assert sorted(drawn[:, 0].unique().tolist()) == [2, 4, 5]
    assert sorted(drawn[:, 4].unique().tolist()) == [0, 1, 2, 5]
    shares = torch.bincount(drawn[:, 0], minlength=6)[[2, 4, 5]] / 3000
    assert (shares - 1 / 3).abs().max() < 0.04
    shares = torch.bincount(drawn[:, 4], minlength=6)[[0, 1, 2, 5]] / 3000
    assert (shares - 1 / 4).abs().max() < 0.04


def test_without_a_partner_the_background_stays():
    images, box, _ = batch(1)
    mixed, ok = online.mix_rand(images, box, torch.ones(len(images), dtype=torch.long), generator())
    assert not ok.any()
    assert torch.equal(mixed, images)
    # the only picture of another class is all object
    mixed, ok = online.mix_rand(images, box, (torch.arange(len(images)) == 0).long(), generator())
    assert ok.tolist() == [True] + [False] * (len(images) - 1)
    assert torch.equal(mixed, images)  # the first has a partner, and no background to replace
    mixed, ok = online.mix_rand(images[:1], box[:1], torch.zeros(1, dtype=torch.long), generator())
    assert not ok.any()


def closed_form(network, images, label):
    """Return d CE / d x of the linear classifier in evaluation mode, (n, 3, H, W)."""
    with torch.no_grad():
        norm, head = network.norm, network.head
        scale = (norm.running_var + norm.eps).rsqrt()[:, None, None]
        x = (images - norm.running_mean[:, None, None]) * scale
        surplus = (x.flatten(1) @ head.weight.T + head.bias).softmax(1)
        surplus[torch.arange(len(label)), label] -= 1
        return (surplus @ head.weight).view_as(images) * scale


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("epsilon", [0.02, 0.5])
@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_is_one_sign_step_of_the_known_gradient(seed, epsilon, targeted):
    torch.manual_seed(seed)
    images, box, label = batch(seed)
    images = images.float() / 255
    network = Linear(*images.shape[2:])
    network.norm.running_mean.uniform_(0, 1)
    network.norm.running_var.uniform_(0.5, 2)
    goal = online.other_class(label, 3, generator(seed)) if targeted else label
    expected = images + (-epsilon if targeted else epsilon) * closed_form(network, images, goal).sign()
    moved = online.fgsm(network, images, box, label, epsilon, targeted, generator(seed))
    inside = masks(box, *images.shape[2:])[:, None].expand_as(images)
    assert torch.equal(moved[inside], images[inside])
    torch.testing.assert_close(moved[~inside], expected.clamp(0, 1)[~inside])
    assert torch.equal(moved[0], images[0])  # its box covers the picture
    assert (moved - images).abs().max() <= epsilon + 1e-6
    assert (moved - images).abs().max() > 0
    assert not moved.requires_grad


def test_a_small_step_moves_the_loss_as_asked():
    torch.manual_seed(0)
    images, _, label = batch(4)
    images, box = images.float() / 255, torch.tensor([[2, 2, 4, 4]]).expand(len(images), 4)
    network = Linear(*images.shape[2:]).eval()

    def loss(x, y):
        return nn.functional.cross_entropy(network(x).logits, y, reduction="none")

    away = online.fgsm(network, images, box, label, 1e-3, False, generator())
    assert (loss(away, label) > loss(images, label)).all()
    goal = online.other_class(label, 3, generator())
    towards = online.fgsm(network, images, box, label, 1e-3, True, generator())
    assert (loss(towards, goal) < loss(images, goal)).all()


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_as_it_was(fails):
    images, box, label = batch(2)
    images = (images.float() / 255).requires_grad_()
    network = Linear(*images.shape[2:], classes=1 if fails else 3).train()
    network.norm.eval()
    network.head.bias.grad = torch.ones_like(network.head.bias)
    before, random = {n: v.clone() for n, v in network.state_dict().items()}, torch.get_rng_state()
    if fails:
        with pytest.raises(UsageError, match=r"^targeted FGSM has only one class, expected at least two; "):
            online.fgsm(network, images, box, label * 0, 0.1, True, generator())
    else:
        with torch.no_grad():
            online.fgsm(network, images, box, label, 0.1, True, generator())
    assert all(torch.equal(network.state_dict()[n], v) for n, v in before.items())
    assert (network.training, network.norm.training, network.head.training) == (True, False, True)
    assert network.head.weight.grad is None
    assert (network.head.bias.grad == 1).all()
    assert network.head.weight.requires_grad
    assert images.grad is None
    assert torch.equal(torch.get_rng_state(), random)


def test_goals_are_all_other_classes_and_never_the_own():
    label = torch.arange(4).repeat(500)
    goal = online.other_class(label, 4, generator())
    assert not (goal == label).any()
    pairs = torch.bincount(label * 4 + goal, minlength=16).view(4, 4)
    assert (pairs.fill_diagonal_(500 // 3) - 500 / 3).abs().max() < 50


def test_masks_agree_with_the_contract():
    images, box, _ = batch(3)
    for one, inside in zip(box.tolist(), masks(box, *images.shape[2:]), strict=True):
        np.testing.assert_array_equal(inside.numpy(), boxes.mask(tuple(one), *images.shape[2:]))


@pytest.mark.parametrize("method", ["meta-lp", "mwn"])
def test_who_learns_from_originals_alone_gets_no_factuals(demo_shard, method):
    config = config_of(meta=demo_shard, method=method, epochs=1, batch_size=40, online="mix-rand")
    with pytest.raises(SettingError, match=f"^online = mix-rand: {method} learns only from meta originals; take "):
        train(config, load(config))

"""Networks that learn pictures without their objects: who judges whom, and which epoch is taken."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import SettingError
from clp_train.algorithm.losses import DivergedError
from clp_train.backgrounds import networks
from clp_train.backgrounds.networks import Fitting, halves_of, learn_backgrounds
from clp_train.models import build_model
from clp_train.models.parts import Output, start_linear
from clp_train.pictures.types import BoxedPictures
from clp_train.running.assembly import assemble
from tests.clp_train.builders import config_of, generator

LABEL = torch.arange(60) % 3


class Counting(torch.nn.Module):
    """Remembers which pictures it has learnt, by their first pixel; says of a picture how often it has."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(1, 3)
        self.seen = torch.zeros(60)

    def forward(self, images):
        number = (images[:, 0, 0, 0] * 255).round().long()
        if self.training:
            self.seen[number] += 1
        features = self.seen[number][:, None]
        return Output(features, self.head(torch.zeros_like(features)))


def numbered_pictures():
    """Pictures whose first pixel is their number, and whose last column is a box."""
    images = torch.zeros(60, 3, 4, 4, dtype=torch.uint8)
    images[:, :, 0, 0] = torch.arange(60, dtype=torch.uint8)[:, None]
    box = torch.tensor([3, 0, 4, 4]).expand(60, 4)
    ids = torch.arange(60)
    return BoxedPictures(images, LABEL, LABEL, ids, box, torch.zeros(60, dtype=torch.uint8))


def fitting(start, **settings):
    """Return how background networks of short runs learn. start: makes a classifier."""
    config = config_of(**{"epochs": 3, "batch_size": 7, "transform": "none"} | settings)
    return Fitting(start, config.run.seed, config.run.epochs, config.sgd, config.batches)


def test_who_judges_has_not_seen_and_who_learns_sees_each_once_an_epoch():
    made, epochs = [], []

    def start():
        made.append(Counting())
        return made[-1]

    def watch(rows, name):
        for epoch in rows:
            epochs.append((name, epoch))
            yield epoch

    found = learn_backgrounds(fitting(start), numbered_pictures(), watch)
    assert not found.features.any(), "judged by the network that has not learnt it"
    first, second = (network.seen for network in made)
    assert torch.equal(first + second, torch.full((60,), 3.0))
    assert not (first * second).any()
    assert {int(LABEL[first > 0].eq(c).sum()) for c in range(3)} == {10}, "halves of each class"
    assert epochs == [("BACKGROUND", 0), ("BACKGROUND", 1), ("BACKGROUND", 2)]


def test_the_object_is_hidden_from_both():
    shown = []

    class Looking(Counting):
        def forward(self, images):
            shown.append(images)
            return super().forward(images)

    pictures = numbered_pictures()
    pictures.images[:, :, :, 3] = 200
    learn_backgrounds(fitting(Looking, epochs=1), pictures)
    assert sum(map(len, shown)) == 122, "each judges one twice: what it takes at a time is measured first"
    assert all(torch.all(images[:, :, :, 3] == 128 / 255) for images in shown)


@pytest.mark.parametrize("good", [0, 2, 4])
def test_the_epoch_that_foretells_best_is_taken(monkeypatch, good):
    told = iter([float(epoch == good) * 5 for epoch in range(5) for _ in range(2)])

    def judge(network, pictures, rows):
        own = next(told) * F.one_hot(pictures.label[torch.from_numpy(rows)], 3)
        return Output(torch.from_numpy(rows)[:, None].float(), own)

    monkeypatch.setattr(networks, "judge", judge)
    found = learn_backgrounds(fitting(Counting, epochs=5), numbered_pictures())
    assert torch.equal(found.features.squeeze(1), torch.arange(60.0)), "in the order of the pictures"
    assert torch.equal(found.logits, 5.0 * F.one_hot(LABEL, 3))


def test_a_network_learns_the_places_and_is_no_surer_than_it_may_be():
    rng = np.random.default_rng(0)
    label = torch.arange(160) % 2
    place = np.where(rng.random(160) < 0.9, label, 1 - label)
    shade = torch.from_numpy(70 + 110 * place + rng.integers(-20, 21, 160)).to(torch.uint8)
    images = shade[:, None, None, None].expand(160, 3, 12, 12).clone()
    box = torch.tensor([4, 4, 8, 8]).expand(160, 4)
    pictures = BoxedPictures(images, label, label, torch.arange(160), box, torch.zeros(160, dtype=torch.uint8))

    def start():
        return build_model("resnet8", 2, [0.5] * 3, [0.2] * 3, generator())

    how = fitting(start, epochs=6, batch_size=10, lr=0.02)
    first, again = (learn_backgrounds(how, pictures) for _ in range(2))
    assert torch.equal(first.logits, again.logits), "the same settings, the same bytes"
    best = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert best - 0.1 < F.cross_entropy(first.logits, label) < 0.55 < np.log(2)


def test_a_loss_that_is_not_finite_is_named():
    class Bad(Counting):
        def forward(self, images):
            out = super().forward(images)
            return Output(out.features, out.logits * float("nan"))

    with pytest.raises(DivergedError, match="loss of pictures without their objects is nan on samples"):
        learn_backgrounds(fitting(Bad), numbered_pictures())


@pytest.mark.parametrize("seed", range(20))
def test_shares_are_even_in_all_and_in_each_class(seed):
    rng = np.random.default_rng(seed)
    label = rng.choice(4, 2 + seed)
    part = halves_of(label, rng)
    for chosen in (np.ones(len(label), bool), *(label == c for c in range(4))):
        sizes = np.bincount(part[chosen], minlength=2)
        assert sizes.max() - sizes.min() <= 1
    assert set(part) == {0, 1}, "two pictures of two classes, too"


def test_noise_of_the_networks_is_drawn_by_key():
    """Two runs are the same, whatever else draws numbers in the process."""

    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.drop = torch.nn.Linear(48, 3), torch.nn.Dropout(0.5)
            start_linear(self.head, generator())

        def forward(self, images):
            features = self.drop(images.flatten(1))
            return Output(features, self.head(features))

    found = []
    for draws in (0, 5):
        torch.rand(draws)
        found.append(learn_backgrounds(fitting(Noisy), numbered_pictures()).logits)
    assert torch.equal(*found)


@pytest.mark.parametrize(("given", "epochs"), [({}, 4), ({"background_epochs": 2}, 2)], ids=["as the run", "fewer"])
def test_backgrounds_are_learnt_for_as_many_epochs_as_the_method_says(demo_shard, loaded, given, epochs):
    config = config_of("background-adjust", demo_shard, options=given, epochs=4, batch_size=400)
    seen = []
    assemble(config, loaded).backgrounds(lambda rows, name: (seen.append((name, len(rows))), rows)[1])
    assert seen == [("BACKGROUND", epochs)]


def test_no_background_is_learnt_where_delta_does_not_start_from_it():
    with pytest.raises(SettingError) as caught:
        config_of("clp", options={"background_epochs": 2})
    assert str(caught.value) == (
        "background_epochs = 2: no background is learnt with omega_start = zero; take omega_start = background"
    )

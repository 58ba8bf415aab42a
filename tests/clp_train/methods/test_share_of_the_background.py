"""A toy of four groups: what the background says lies in delta, and the meta step finds how much of it must."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clp_aug.contract.errors import SettingError
from clp_aug.contract.schema import COUNTERFACTUAL, ORIGINAL
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.step import train_step
from clp_train.config import make_config
from clp_train.running.checkpoint import Position
from clp_train.running.epoch_steps import epoch_steps
from clp_train.running.meta_batches import MetaStream
from clp_train.running.part import Part
from tests.clp_train.builders import config_of, method_of, optimiser_of, stored, table_of
from tests.clp_train.methods.toy_cases import COUNTS, toy, vectors, worst_accuracy

ORACLES = ()
EPOCHS = 40
OPTIONS = {"background_share": 0.0, "background_step": 0.05}


def counterfactuals(originals):
    """The same vectors without what makes the label: the place alone."""
    hidden = originals.images * torch.tensor([0.0, 1.0])
    return replace(originals, images=hidden, kind=torch.full_like(originals.kind, COUNTERFACTUAL))


def trained(options, meta, seed=0):
    """Train CLP for which the background is the place; return the network and the share."""
    stream = vectors(COUNTS, seed)
    settings = {"epochs": EPOCHS, "batch_size": 40, "omega_start": "background", "saliency_lambda": 0.0}
    settings |= {"omega_lr": 1e-4, "lr": 0.1, "schedule": "constant", "momentum": 0.0, "weight_decay": 0.0}
    config = config_of("clp", options=options, seed=seed, **settings)
    method = method_of("clp", table_of(stream.label, stream.group, 2, 4), options, **settings)
    place = stream.group % 2
    share_of_own = torch.tensor([[0.95, 0.05], [0.05, 0.95]])
    method.prior = share_of_own[place].log()
    assembly, at = toy(config, method), Position()
    ((stage, epochs),), network = assembly.stages, assembly.network
    optimiser = optimiser_of(network, config)
    meta_stream = MetaStream(stored(meta), config.meta_batches, config.batches, seed)
    part = Part(stage, network, None, stored(stream), meta_stream)
    for epoch in epochs:
        list(epoch_steps(part, epoch, assembly, optimiser, at, train_step))
        at.losses = []
    return network, method.share.item()


def meta_of(counts, seed):
    """Originals of so many a group, and the counterfactual of each."""
    originals = vectors(counts, seed + 500)
    return originals.followed_by(counterfactuals(originals))


def test_the_meta_step_finds_how_much_of_the_background_must_be_taken_out():
    meta = meta_of((10,) * 4, 0)
    without, share = trained({"background_share": 0.0}, meta)
    assert share == 0
    found, share = trained(OPTIONS, meta)
    assert share > 0.7
    assert worst_accuracy(found, 0) > worst_accuracy(without, 0) + 0.1


def test_counterfactuals_find_it_where_the_originals_are_as_confounded_as_the_training_set():
    both = meta_of((19, 1, 1, 19), 1)
    originals = both.take((both.kind == ORIGINAL).nonzero().flatten())
    assert trained(OPTIONS, both, 1)[1] > trained(OPTIONS, originals, 1)[1] + 0.3


def test_confounded_counterfactuals_ask_for_less_where_they_ask_for_chance():
    meta = meta_of((19, 1, 1, 19), 0)
    hidden = meta.take((meta.kind == COUNTERFACTUAL).nonzero().flatten())
    alone = {"background_share": 0.5, "background_step": 0.05, "omega_form": "none"}
    shares = [trained(alone | {"counterfactual_target": target}, hidden)[1] for target in ("not-y", "chance")]
    assert shares[0] > shares[1] + 0.5


def test_without_omega_delta_is_the_share_of_what_the_background_says():
    stream = vectors(COUNTS, 0)
    options = {"omega_start": "background", "background_share": 0.3, "background_step": 0.05, "omega_form": "none"}
    method = method_of("clp", table_of(stream.label, stream.group, 2, 4), options)
    method.prior = torch.randn(len(stream.label), 2, generator=torch.Generator().manual_seed(0))
    row = torch.tensor([3, 0, 7])
    view = View(torch.randn(3, 2), torch.randn(3, 2), torch.randn(2, 2), stream.label[row], stream.group[row], row)
    torch.testing.assert_close(method.terms(view).delta, 0.3 * method.prior[row])
    assert [values.shape for values in method.learned] == [torch.Size([])]
    method.update([torch.tensor(1.0)])
    assert method.share.item() == pytest.approx(0.25)  # Adam's first step is its rate
    other = method_of("clp", table_of(stream.label, stream.group, 2, 4), options)
    other.load_state_dict(method.state_dict())
    assert other.share.item() == method.share.item()
    assert torch.equal(other.prior, method.prior)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("omega_form=none",),
            "omega_form = none: the meta step would have nothing to learn; take omega_start = background and"
            " background_step = 0.03",
        ),
        (
            ("omega_form=none", "omega_start=background", "background_step=0.1", "omega_lr=1e-3"),
            "omega_lr = 0.001: has no effect where omega_form is none; take omega_form = full",
        ),
    ],
    ids=["nothing moves", "no Omega"],
)
def test_a_form_without_omega_says_what_it_needs(given, message):
    with pytest.raises(SettingError) as caught:
        make_config({"meta": "x.h5", "method": "clp"}, given)
    assert str(caught.value) == message


def test_a_target_of_counterfactuals_is_refused_where_there_are_none():
    with pytest.raises(SettingError, match=r"method meta-lp does not use it; it is a setting of clp$"):
        make_config({"meta": "x.h5", "method": "meta-lp"}, ("counterfactual_target=chance",))

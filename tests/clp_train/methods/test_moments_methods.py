"""What holds for ISDA, MetaSAug and RISDA alike: classes without an order, killed and resumed, refusals."""

import pytest
import torch

from clp_train.algorithm.objective import sample_losses
from clp_train.models.parts import Output
from tests.clp_train.builders import config_of, generator, load
from tests.clp_train.methods.moments_cases import entered, small, view_through
from tests.clp_train.methods.shared_cases import assert_refused
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ()  # by hand in the files of each

NAMES = ("isda", "metasaug", "risda")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_names_of_classes_do_not_matter(seed, name):
    """Twelve classes, some or all of one size; class c is called order[c] instead."""
    g, classes = generator(seed), 12
    counts = torch.randint(1, 5, (classes,), generator=g) if seed else torch.full((classes,), 2)
    label, order = torch.repeat_interleave(torch.arange(classes), counts), torch.randperm(classes, generator=g)
    first, second = small(seed, classes), small(seed, classes)
    second.head.weight.data = first.head.weight.data[order.argsort()]
    scored = Output(*(torch.randn(len(label), k, generator=g, dtype=torch.float64) for k in (4, classes)))
    renamed = scored._replace(logits=scored.logits[:, order.argsort()])
    start = {} if name == "isda" else {"start": 0.0}
    methods = [entered(name, own, y, classes, **start) for y, own in ((label, first), (order[label], second))]
    for method, seen in zip(methods, (scored, renamed), strict=True):
        method.begin_epoch(0, 10, lambda _, seen=seen: seen)
    for batch in range(3):
        view = view_through(first, seed + batch, 40, 0.9, classes)
        other = view._replace(logits=view.logits[:, order.argsort()], label=order[view.label])
        values = []
        for method, part in zip(methods, (view, other), strict=True):
            method.observe(part)
            values.append(sample_losses(part.logits, part.label, method.terms(part)))
        torch.testing.assert_close(*values)
    assert method.terms(part).delta.abs().max() > 1e-3


@pytest.mark.parametrize("name", ["metasaug", "risda"])
def test_killed_within_its_second_part(demo_shard, tmp_path, name):
    loaded, change = load(config_of("erm", meta=demo_shard)), {"method": name, "options": {"start": 0.3}}
    whole = killable(short(demo_shard, tmp_path / "whole", **change), loaded)
    config = short(demo_shard, tmp_path / "killed", **change)
    with pytest.raises(Killed):
        killable(config, loaded, 7)
    assert_same(killable(config, loaded, resume=True), whole)


@pytest.mark.parametrize("name", NAMES)
def test_their_settings(name):
    assert_refused(name, "strength = -1.0: expected a number >= 0", strength=-1.0)
    assert_refused(name, "strength = nan: expected a number >= 0", strength=float("nan"))
    assert_refused(name, "covariance = half: expected one of full, diag", covariance="half")

"""ACE-lite: graded counterfactuals pixel by pixel, targets picture by picture, what an epoch of tuning holds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL, ORIGINAL
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import Terms, objective
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.step import train_step
from clp_train.methods.parts import graded as counterfactuals
from clp_train.methods.parts.graded import SOURCES, pairs_of
from clp_train.models.parts import Output
from clp_train.pictures.types import BoxedPictures, meta_of_kinds
from tests.clp_train.builders import config_of, generator, method_of, table_of, train
from tests.clp_train.methods.shared_cases import assert_refused
from tests.clp_train.methods.subpop_cases import random_table, seen, small_run

ORACLES = ("ace",)
SIDE = 9


def meta_set(seed, classes=3):
    """Return a meta set in no order: some originals have no counterfactual, some have two, and factuals beside."""
    rng = rng_for(seed, 0, "test meta")
    ids = rng.permutation(50)[: int(rng.integers(2, 7))]
    rows = [(i, ORIGINAL) for i in ids] + [(ids[0], COUNTERFACTUAL)]
    rows += [(i, kind) for i in ids for kind in rng.choice([COUNTERFACTUAL, FACTUAL], int(rng.integers(0, 3)))]
    rows = [rows[k] for k in rng.permutation(len(rows))]
    n = len(rows)
    corner = rng.integers(0, SIDE - 1, (n, 2))
    far = [rng.integers(low + 1, SIDE + 1) for low in corner]
    boxes = {i: [*corner[k], *far[k]] for k, (i, _) in enumerate(rows)}  # a copy has its original's box
    return BoxedPictures(
        images=torch.from_numpy(rng.integers(0, 256, (n, 3, SIDE, SIDE)).astype(np.uint8)),
        label=torch.tensor([int(i) % classes for i, _ in rows]),
        group=torch.tensor([int(i) % (2 * classes) for i, _ in rows]),
        sample_id=torch.tensor([int(i) for i, _ in rows]),
        box=torch.tensor([[int(v) for v in boxes[i]] for i, _ in rows]),
        kind=torch.tensor([int(kind) for _, kind in rows], dtype=torch.uint8),
    )


@pytest.mark.parametrize("seed", range(20))
def test_pairs_are_those_of_one_picture(seed):
    meta = meta_set(seed)
    originals, copies = pairs_of(meta)
    expected = [
        (c, next(o for o in range(len(meta)) if meta.kind[o] == ORIGINAL and meta.sample_id[o] == meta.sample_id[c]))
        for c in range(len(meta))
        if meta.kind[c] == COUNTERFACTUAL
    ]
    assert len(copies) == len(expected) > 0
    for k, (c, o) in enumerate(expected):
        assert torch.equal(copies.images[k], meta.images[c])
        assert torch.equal(originals.images[k], meta.images[o])
        assert originals.sample_id[k] == copies.sample_id[k]


@pytest.mark.parametrize("seed", range(12))
def test_blended_is_the_mean_of_each_pixel(seed):
    pairs = pairs_of(meta_set(seed))
    share = torch.rand(len(pairs.originals), generator=generator(seed))
    share[0] = seed % 2
    found = SOURCES["blend"](pairs, share, torch.Generator())
    assert found.dtype == torch.uint8
    for k, s in enumerate(share.tolist()):
        a, b = (part.images[k].double().flatten().tolist() for part in pairs)
        exact = [s * x + (1 - s) * y for x, y in zip(a, b, strict=True)]
        assert max(abs(v - e) for v, e in zip(found[k].flatten().tolist(), exact, strict=True)) <= 0.5 + 1e-4
    assert torch.equal(found[0], pairs[1 - seed % 2].images[0])


@pytest.mark.parametrize("seed", range(12))
def test_revealed_shows_columns_of_the_original_from_an_edge_of_the_box(seed):
    pairs = pairs_of(meta_set(seed))
    rows = torch.arange(len(pairs.originals)).repeat(8)
    pairs = counterfactuals.Pairs(*(part.take(rows) for part in pairs))
    share = torch.rand(len(rows), generator=generator(seed))
    share[:2] = torch.tensor([0.0, 1.0])
    found = SOURCES["reveal"](pairs, share, generator(seed))
    sides = set()
    for k, s in enumerate(share.tolist()):
        x0, _, x1, _ = pairs.originals.box[k].tolist()
        shown = round(s * (x1 - x0))
        expected = {}
        for side, columns in (("left", range(x0, x0 + shown)), ("right", range(x1 - shown, x1))):
            image = pairs.counterfactuals.images[k].clone()
            for x in columns:
                image[:, :, x] = pairs.originals.images[k][:, :, x]
            expected[side] = image
        same = {side for side, image in expected.items() if torch.equal(image, found[k])}
        assert same
        if len(same) == 1:
            sides |= same
    assert sides <= {"left", "right"}
    if len(rows) >= 24:
        assert sides == {"left", "right"}


def tuned(seed, **options):
    """Return the method in its second stage, its table, what stage 0 made of the pictures, and its graded pictures."""
    table, _ = random_table(seed)
    method, meta = method_of("ace", table, options), meta_set(seed, table.classes)
    method.enter(0, None)
    assert method.additions(meta) is None
    logits = 3 * torch.randn(len(table.label), table.classes, generator=generator(seed))
    method.begin_stage(1, {"train": Output(logits, logits)}.__getitem__)
    method.enter(1, None)
    return method, table, logits.softmax(1), method.additions(meta), meta


@pytest.mark.parametrize("seed", range(12))
def test_targets_picture_by_picture(seed):
    method, table, soft, more, _ = tuned(seed)
    n, classes = len(table.label), table.classes
    stream_label = torch.cat([table.label, more.label])
    rows = torch.randint(n + len(more), (40,), generator=generator(seed))
    batch = replace(seen(table, seed, n=40)[1], row=rows, label=stream_label[rows])
    mixed = method.mixed(batch, rng_for(0, 0, "mix"))
    for k, row in enumerate(rows.tolist()):
        if row < n:
            expected = soft[row].tolist()
        else:
            share, y = method.shares[row - n].item(), int(more.label[row - n])
            expected = [share if c == y else (1 - share) / (classes - 1) for c in range(classes)]
        assert mixed.target[k].tolist() == pytest.approx(expected, rel=1e-5)
        assert mixed.target[k].sum().item() == pytest.approx(1, rel=1e-5)
    assert torch.equal(mixed.images, batch.images)


def test_a_whole_counterfactual_costs_what_eq_3_says_for_two_classes():
    table = table_of([0, 1, 0, 1])
    method = method_of("ace", table)
    method.enter(1, None)
    more = method.additions(meta_set(1, 2))
    method.shares = torch.zeros(len(more))
    out, batch, _ = seen(table, 0, n=len(more))
    mixed = method.mixed(replace(batch, row=4 + torch.arange(len(more)), label=more.label), None)
    found = objective(out.logits, more.label, Terms(target=mixed.target))
    p = out.logits.softmax(1)
    expected = sum(-torch.log(1 - p[i, y]) for i, y in enumerate(more.label)) / len(more)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("seed", range(8))
def test_an_epoch_of_tuning(seed):
    """Certain pictures and graded ones in their shares; as many batches as an epoch of ERM has."""
    made, certain = [0.5, 1.0, 0.1][seed % 3], [1.0, 0.3][seed % 2]
    method, table, soft, more, _ = tuned(seed, made=made, certain=certain, copies=2)
    n = len(table.label)
    batches = method.batches(3, 8, rng_for(seed, 0, "order"))
    assert len(batches) == -(-n // 8)
    rows = np.concatenate(batches)
    assert len(rows) == n
    graded = rows[rows >= n]
    assert len(graded) == round(n * made / (1 + made))
    assert graded.size == 0 or graded.max() < n + len(more)
    highest = sorted(range(n), key=lambda i: -soft[i].max().item())[: max(1, round(certain * n))]
    assert set(rows[rows < n].tolist()) <= set(highest)
    for part in (rows[rows < n], graded):
        often = np.bincount(part)
        assert often.max(initial=0) - often[np.unique(part)].min(initial=often.max(initial=0)) <= 1


def test_graded_pictures_are_the_same_whenever_they_are_asked_for():
    method, _, _, more, meta = tuned(3, copies=3, source="reveal")
    again = method.additions(meta)
    assert len(more) == 3 * len(pairs_of(meta).counterfactuals)
    assert torch.equal(again.images, more.images)
    assert (more.kind == COUNTERFACTUAL).all()
    assert 0 <= method.shares.min() < 0.5 < method.shares.max() <= 1


def test_the_first_stage_is_erm():
    table, _ = random_table(2)
    method = method_of("ace", table, {"tuning": 0.25, "rate": 0.05})
    batch = seen(table, 2)[1]
    assert method.stages == (Stage(share=0.75), Stage(share=0.25, rate=0.05))
    assert method.batches(0, 8, rng_for(0, 0, "order")) is None
    assert method.mixed(batch, rng_for(0, 0, "mix")) is batch


def test_the_first_networks_answers_survive():
    method, table, soft, _, meta = tuned(4)
    other = method_of("ace", table)
    other.load_state_dict(method.state_dict())
    other.enter(1, None)
    other.additions(meta)
    assert torch.equal(other.soft, soft)
    for a, b in zip(*(one.batches(5, 8, rng_for(1, 1, "order")) for one in (method, other)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_source_of_ones_own_in_a_run(demo_shard, monkeypatch):
    """A registered function is asked for the pictures, and the second stage learns from them."""
    asked = []

    def white(pairs, share, generator):
        asked.append(len(share))
        return torch.full_like(pairs.originals.images, 255)

    monkeypatch.setitem(SOURCES, "white", white)
    config = config_of(
        meta=demo_shard, method="ace", epochs=3, batch_size=20, transform="none",
        options={"source": "white", "copies": 2, "tuning": 0.4},
    )  # fmt: skip
    seen_white = []

    def watched(network, method, optimiser, batch, *rest):
        seen_white.append((int((batch.images == 1).flatten(1).all(1).sum()), batch.target is not None))
        return train_step(network, method, optimiser, batch, *rest)

    run = small_run(config)
    train(config, run, train_step=watched)
    copies = int((run.meta.kind == COUNTERFACTUAL).sum())
    assert set(asked) == {2 * copies}
    assert [soft for _, soft in seen_white] == [False] * 8 + [True] * 4
    assert sum(white for white, _ in seen_white[:8]) == 0
    assert sum(white for white, _ in seen_white[8:]) == round(len(run.train) / 3)


def test_refusals(demo_shard):
    assert_refused("ace", "source = x: expected one of blend, reveal", source="x")
    assert_refused("ace", "copies = 0: expected a whole number >= 1", copies=0)
    assert_refused("ace", "made = 0.0: expected a number from 0.01 to 100", made=0.0)
    assert_refused("ace", "certain = 0.0: expected a number from 1e-06 to 1", certain=0.0)
    assert_refused("ace", "tuning = 1.0: expected a number from 0.01 to 0.99", tuning=1.0)
    assert_refused("ace", "rate = 2.0: expected a number from 1e-06 to 1", rate=2.0)
    one = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(UsageError) as error:
        method_of("ace", table_of(one))
    assert str(error.value) == ("method = ace: the data set has one class; expected at least two")
    config = config_of(meta=demo_shard, method="ace", epochs=3, batch_size=20)
    run = small_run(config)
    with pytest.raises(UsageError) as error:  # before the first step
        train(config, replace(run, meta=meta_of_kinds(run.meta, (ORIGINAL, FACTUAL))), on_step=pytest.fail)
    assert str(error.value) == (
        "method = ace: the shard has no counterfactuals; expected at least one; make the shard with"
        " clp-augment --cf, or take a method without them"
    )

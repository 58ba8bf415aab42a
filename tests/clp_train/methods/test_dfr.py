"""DFR: the sparse fit against the conditions of its optimum and a library's; which pictures it is fitted to; runs."""

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from clp_aug.contract.errors import UsageError
from clp_aug.contract.schema import FACTUAL, ORIGINAL
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage
from clp_train.config import make_config
from clp_train.methods.dfr import STRENGTHS, Sample, Standard, choose_strength, worst_group
from clp_train.methods.parts.sparse_logistic import fit_sparse
from clp_train.models.parts import Output
from clp_train.pictures.types import BoxedPictures
from tests.clp_train.builders import config_of, load, method_of, train
from tests.clp_train.methods.head_alone import HeadAlone
from tests.clp_train.methods.shared_cases import assert_refused
from tests.clp_train.methods.subpop_cases import of_groups, small_run
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ("dfr",)
L1 = {"l1_ratio": 1} if LogisticRegression().get_params()["l1_ratio"] is not None else {"penalty": "l1"}


def problem(seed, classes=2):
    """Return a random design with a column of ones, and labels that it says something of."""
    rng = rng_for(seed, 0, "test sparse")
    n, width = int(rng.integers(5, 60)), int(rng.integers(1, 12))
    design = np.hstack([rng.normal(size=(n, width)), np.ones((n, 1))])
    label = (design @ rng.normal(size=(width + 1, classes)) + rng.normal(size=(n, classes))).argmax(1)
    label[:classes] = np.arange(min(classes, n))
    return design, label


def slow_objective(weight, design, label, strength):
    """Return the objective, by loops over pictures and plain numbers."""
    total = sum(abs(value) for value in weight.ravel().tolist())
    for x, y in zip(design, label, strict=True):
        logits = [float(x @ row) for row in weight]
        total += strength * (float(np.log(np.exp(logits).sum())) - logits[y])
    return total


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(12))
def test_the_fit_is_at_the_optimum(seed, classes):
    """There a weight's slope is -sign where it is not 0, and in [-1, 1] where it is; the problem is convex."""
    design, label = problem(seed, classes)
    strength = [0.03, 0.3, 1.0, 10.0][seed % 4]
    weight = fit_sparse(design, label, classes, strength)
    chances = np.exp(design @ weight.T)
    chances /= chances.sum(1, keepdims=True)
    slope = strength * (chances - np.eye(classes)[label]).T @ design
    assert np.abs(slope).max() <= 1 + 1e-4
    np.testing.assert_allclose(slope[weight != 0], -np.sign(weight[weight != 0]), atol=1e-4)
    rng, best = rng_for(seed, 0, "test steps"), slow_objective(weight, design, label, strength)
    for size in (1e-3, 0.1, 1.0):
        other = weight + size * rng.normal(size=weight.shape)
        assert slow_objective(other, design, label, strength) > best
    assert slow_objective(np.zeros_like(weight), design, label, strength) >= best - 1e-9


@pytest.mark.parametrize("seed", range(12))
def test_two_classes_are_the_librarys_fit_of_one_row(seed):
    design, label = problem(seed)
    strength = [0.1, 0.3, 1.0][seed % 3]
    weight = fit_sparse(design, label, 2, strength)
    found = weight[1] - weight[0]
    oracle = LogisticRegression(C=strength, solver="saga", fit_intercept=False, tol=1e-12, max_iter=200_000, **L1)
    np.testing.assert_allclose(found, oracle.fit(design, label).coef_[0], atol=1e-4)
    np.testing.assert_allclose(weight[0], -weight[1], atol=1e-5)


def sample(counts, seed=0, width=6):
    """Return so many pictures of each group (label, place), whose features tell both, in no order."""
    rng = rng_for(seed, 0, "test sample")
    group = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    features = rng.normal(size=(len(group), width)) * np.arange(1, width + 1) + 3
    features[:, 0] += 2 * (group // 2)
    features[:, 1] += 6 * (group % 2)
    return Sample(features, group // 2, group)


@pytest.mark.parametrize("counts", [(5, 3, 7, 2), (1, 1, 1, 1), (4, 0, 2, 2)])
def test_balanced_draws_have_as_many_of_each_group_and_all_alike(counts):
    pictures, often = sample(counts), Counter()
    pictures = Sample(np.arange(len(pictures.group), dtype=float)[:, None], pictures.label, pictures.group)
    smallest, draws = min(count for count in counts if count), 600
    for k in range(draws):
        drawn = pictures.balanced(rng_for(k, 0, "test draw"))
        assert set(Counter(drawn.group.tolist()).values()) == {smallest}
        assert len(set(drawn.features[:, 0])) == len(drawn.group)
        often.update(drawn.features[:, 0].astype(int).tolist())
    for row, group in enumerate(pictures.group):
        share = smallest / counts[group]
        assert abs(often[row] - draws * share) <= 5 * (draws * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("counts", [(5, 3, 8, 2), (1, 1, 1, 1), (4, 0, 1, 2)])
def test_halves_part_every_group(counts):
    pictures = sample(counts)
    first, second = pictures.halves(rng_for(0, 0, "test halves"))
    assert np.bincount(first.group, minlength=4).tolist() == [-(-count // 2) for count in counts]
    assert np.bincount(second.group, minlength=4).tolist() == [count // 2 for count in counts]
    both = np.concatenate([first.features, second.features])
    assert sorted(map(tuple, both)) == sorted(map(tuple, pictures.features))


@pytest.mark.parametrize("without_bias", [False, True])
def test_weights_for_features_as_they_are_give_the_logits_of_standardised_ones(without_bias):
    pictures = sample((9, 7, 8, 6), 1)
    pictures.features[:, 2] = 4.0  # never varies
    standard = Standard(pictures.features, without_bias)
    weight, bias = standard.fit(pictures, 2, 0.5)
    scaled = pictures.features / standard.std
    if not without_bias:
        scaled = scaled - pictures.features.mean(0) / standard.std
        assert np.allclose(scaled.std(0)[[0, 1, 3]], 1)
        scaled = np.hstack([scaled, np.ones((30, 1))])
    fitted = fit_sparse(scaled, pictures.label, 2, 0.5)
    np.testing.assert_allclose(pictures.features @ weight.T + bias, scaled @ fitted.T, atol=1e-9)
    assert (bias == 0).all() == without_bias


def test_the_worst_group_is_by_hand():
    pictures = Sample(np.zeros((5, 1)), np.array([0, 0, 1, 1, 1]), np.array([0, 0, 2, 3, 3]))
    logits = np.array([[1, 0], [0, 1], [0, 1], [0, 1], [0, 1]])
    assert worst_group(logits, pictures) == 0.5
    assert worst_group(logits[2:], pictures[np.array([2, 3, 4])]) == 1
    assert worst_group(logits[:0], pictures[np.array([], np.int64)]) == 1


@pytest.mark.parametrize("seed", range(6))
def test_the_first_of_the_best_strengths_is_chosen(seed):
    fitted, held_out = sample((12, 12, 12, 12), seed), sample((30, 9, 11, 25), seed + 100)
    standard = Standard(fitted.features)
    merits = []
    for strength in STRENGTHS:
        weight, bias = standard.fit(fitted, 2, strength)
        merits.append(worst_group(held_out.features @ weight.T + bias, held_out))
    assert choose_strength(fitted, held_out, standard, 2) == STRENGTHS[merits.index(max(merits))]


def filled(options, counts=(40, 6, 5, 30), meta_counts=(8, 8, 8, 8), seed=0, bias=True):
    """Return a method that has begun its last epoch, its last layer, and the samples of training and meta originals."""
    of_train, of_meta = sample(counts, seed), sample(meta_counts, seed + 50)
    table = of_groups([1, 1, 1, 1])._replace(label=torch.tensor(of_train.label), group=torch.tensor(of_train.group))
    method, head = method_of("dfr", table, options, epochs=5), torch.nn.Linear(6, 2, bias=bias)
    method.enter(1, HeadAlone(head))
    kinds = np.tile([ORIGINAL, FACTUAL], len(of_meta.label))  # a factual after each original, of another group
    doubled = (torch.tensor(np.stack([part, 1 - part], 1).ravel()) for part in (of_meta.label, of_meta.group))
    none = torch.zeros(len(kinds), dtype=torch.int64)
    method.additions(BoxedPictures(none, *doubled, none, none, torch.tensor(kinds, dtype=torch.uint8)))
    streams = {"train": of_train, "meta": of_meta}
    outputs = {name: Output(torch.tensor(part.features), torch.zeros(1)) for name, part in streams.items()}
    method.begin_epoch(4, 5, outputs.__getitem__)
    return method, head, of_train, of_meta


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("drawn_from", ["meta", "train"])
def test_the_last_layer_is_the_mean_of_fits_to_balanced_draws(drawn_from, bias):
    method, head, of_train, of_meta = filled({"drawn_from": drawn_from, "draws": 4, "strength": 0.3}, bias=bias)
    pool, standard = {"meta": of_meta, "train": of_train}[drawn_from], Standard(of_train.features, not bias)
    fits = [standard.fit(pool.balanced(rng_for(method.seed, k, "dfr draw")), 2, 0.3) for k in range(4)]
    np.testing.assert_allclose(head.weight.detach(), sum(weight for weight, _ in fits) / 4, rtol=1e-5, atol=1e-7)
    if bias:
        np.testing.assert_allclose(head.bias.detach(), sum(bias for _, bias in fits) / 4, rtol=1e-5, atol=1e-7)
    assert method.numbers() == {"strength": 0.3}


@pytest.mark.parametrize("seed", range(4))
def test_the_strength_is_chosen_on_meta_originals_that_it_was_not_fitted_to(seed):
    method, _, of_train, of_meta = filled({"draws": 1}, meta_counts=(9, 4, 7, 20), seed=seed)
    half, held_out = of_meta.halves(rng_for(method.seed, 0, "dfr halves"))
    half = half.balanced(rng_for(method.seed, 0, "dfr choice"))
    assert method.numbers() == {"strength": choose_strength(half, held_out, Standard(half.features), 2)}
    method, _, of_train, of_meta = filled({"draws": 1, "drawn_from": "train"}, seed=seed)
    drawn = of_train.balanced(rng_for(method.seed, 0, "dfr choice"))
    assert method.numbers() == {"strength": choose_strength(drawn, of_meta, Standard(of_train.features), 2)}


def test_a_meta_set_of_one_picture_of_each_group_is_enough():
    method, head, _, _ = filled({}, meta_counts=(1, 1, 1, 1))
    assert method.numbers() == {"strength": STRENGTHS[0]}
    assert head.weight.isfinite().all()


def test_nothing_is_fitted_before_the_last_epoch():
    method = method_of("dfr", of_groups([3, 3, 3, 3]), epochs=5)
    assert method.stages == (Stage(share=0.8), Stage(share=1 - 0.8, stream="meta", trainable="head", rate=0))
    method.enter(0, HeadAlone(torch.nn.Linear(6, 2)))
    method.begin_epoch(0, 5, {}.__getitem__)
    assert method.numbers() == {}
    assert method.terms(None) == Terms()
    assert method.state_dict()["strength"].isnan()


def test_sgd_learns_a_new_layer_for_half_of_the_epochs():
    method = method_of("dfr", of_groups([3, 3, 3, 3]), {"fit": "sgd"}, epochs=6)
    second = Stage(share=0.5, stream="meta", sampler="group", trainable="head", fresh_head=True)
    assert method.stages == (Stage(share=0.5), second)
    assert method.state_dict() == {}
    with pytest.raises(UsageError, match="draws = 3: has no effect where fit is sgd; take fit = l1"):
        make_config({"meta": "x.h5", "method": "dfr"}, texts=["fit=sgd", "draws=3"])


SHORT = {"batch_size": 40, "schedule": "cosine", "lr": 0.01}


def test_in_a_run_all_epochs_but_the_last_are_those_of_erm_and_sgd_does_not_move_the_fit(demo_shard):
    config = config_of("dfr", demo_shard, {"draws": 2}, epochs=3, **SHORT)
    run = small_run(config)
    trained, erm = train(config, run), train(config_of("erm", demo_shard, epochs=2, **SHORT), run)
    for name, value in erm.last.state.items():
        assert torch.equal(trained.last.state[name], value) == (not name.startswith("head."))
    for line, expected in zip(trained.history[:2], erm.history, strict=True):
        assert {name: line[name] for name in line if name in expected} == {name: expected[name] for name in line}
    assert trained.history[2]["lr"] == 0
    assert trained.history[2]["strength"] in STRENGTHS
    features = {}
    network = trained.network.eval()
    network.load_state_dict(trained.last.state)
    originals = run.meta.kind == ORIGINAL
    with torch.no_grad():
        for name, images in (("train", run.train.images), ("meta", run.meta.images[originals])):
            features[name] = network(images.float() / 255).features.double().numpy()
    meta = Sample(features["meta"], run.meta.label[originals].numpy(), run.meta.group[originals].numpy())
    draws = [meta.balanced(rng_for(config.run.seed, k, "dfr draw")) for k in range(2)]
    fits = [Standard(features["train"]).fit(draw, 2, trained.history[2]["strength"]) for draw in draws]
    found = network.head(torch.tensor(meta.features).float()).detach().numpy()
    expected = np.mean([meta.features @ weight.T + bias for weight, bias in fits], 0)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("settings", [{}, {"trainable": "head"}], ids=["whole", "head"])
def test_dfr_killed_in_any_epoch_goes_on(demo_shard, tmp_path, settings):
    loaded = load(config_of(meta=demo_shard))
    settings = {"method": "dfr", "epochs": 3, "options": {"draws": 2}} | settings
    steps = []
    whole = killable(short(demo_shard, tmp_path / "whole", **settings), loaded, steps=steps)
    for kill_at in (3, len(steps) - 1, len(steps) - 2):
        config = short(demo_shard, tmp_path / str(kill_at), **settings)
        with pytest.raises(Killed):
            killable(config, loaded, kill_at)
        assert_same(killable(config, loaded, resume=True), whole)


def test_refusals(demo_shard):
    assert_refused("dfr", "fit = l2: expected one of l1, sgd", fit="l2")
    assert_refused("dfr", "drawn_from = val: expected one of meta, train", drawn_from="val")
    assert_refused("dfr", "draws = 0: expected a whole number >= 1", draws=0)
    assert_refused("dfr", "strength = 0.0: expected a number > 0", strength=0.0)
    with pytest.raises(
        UsageError, match=r"epochs = 1: the method has 2 stages and one of them would get none; raise epochs"
    ):
        train(config_of("dfr", demo_shard, epochs=1), load(config_of(meta=demo_shard)))

"""Wrong training labels on their way from the shard into a run: who learns of them, and who does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from clp_aug.cli import augment
from clp_aug.contract.errors import UsageError
from clp_aug.datasets import load_dataset
from clp_aug.protocol.label_noise import wrong_share
from clp_aug.protocol.settings import ProtocolSettings
from clp_aug.protocol.specs import parse_noise
from clp_aug.protocol.split import make_split
from clp_train.running.assembly import table_of
from tests.clp_train.builders import config_of, load, make_demo_shard, train


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """80 training pictures, each trained on as the other class, and 24 meta pictures with their own labels."""
    path = tmp_path_factory.mktemp("shard") / "noisy.h5"
    return load(config_of(meta=make_demo_shard(path, size=16, per_group=2, train=80, noisy=True)))


def noted(run, noise):
    """The run as if its shard's settings said so."""
    return replace(run, header=replace(run.header, settings=run.header.settings | {"noise": noise}))


@pytest.mark.parametrize(
    ("noise", "wrong"), [(None, 0.0), ("flip:0.4", 0.4), ("uniform:0.4", 0.2), ("flip-similar:0.25", 0.25)]
)
def test_methods_know_the_share_of_wrong_labels_that_the_shard_was_made_with(noisy, noise, wrong):
    assert table_of(noted(noisy, noise)).wrong == pytest.approx(wrong)


def test_methods_know_the_labels_of_the_meta_originals(noisy):
    table = table_of(noisy)
    assert torch.equal(table.meta_label, noisy.meta.label[noisy.meta.kind == 0])
    assert torch.bincount(table.meta_label).tolist() == [4, 4]


@pytest.mark.parametrize("noise", ["flip:0.4", "uniform:0.6", "flip-similar:0.3", "uniform:0"])
@pytest.mark.parametrize("seed", [0, 1])
def test_protocol_without_leaks(noise, seed):
    """Meta, val and test keep their labels; no meta picture is trained on; the share of wrong labels is as asked."""
    dataset = load_dataset("demo")
    split = make_split(dataset, ProtocolSettings(meta="10/class", noise=noise, seed=seed))
    assert not np.intersect1d(split.train, split.meta).size
    assert not np.intersect1d(split.train, np.concatenate([split.val, split.test])).size
    clean = dataset.samples.label[split.train]
    expected, n = wrong_share(parse_noise(noise), 2), len(clean)
    assert abs((split.train_label != clean).mean() - expected) <= 4 * np.sqrt(expected * (1 - expected) / n)
    assert np.bincount(dataset.samples.label[split.meta]).tolist() == [10, 10]


@pytest.mark.parametrize("rate", ["1", "1.5", "-0.1", "nan", "all"])
def test_rates_that_leave_no_label_right_are_refused(rate):
    with pytest.raises(UsageError) as error:
        make_split(load_dataset("demo"), ProtocolSettings(meta="10/class", noise=f"flip:{rate}"))
    assert str(error.value) == (
        f"noise 'flip:{rate}': expected one of uniform, flip, flip-similar and a ratio in [0, 1), such as flip:0.4"
    )


def test_where_classes_are_the_groups_they_are_those_of_the_labels_trained_on(tmp_path):
    """What is weighed or sampled by class must not know which labels are wrong."""
    for seed in range(48):
        path = tmp_path / "pictures" / ("train", "test")[seed % 4 == 3] / ("cat", "dog")[seed % 2] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    root, shard = tmp_path / "pictures", tmp_path / "x.h5"
    options = ["--dataset", "folder", "--root", str(root), "--noise", "flip:0.4", "--cf", "grey", "--meta", "2/class"]
    options += ["--matte", "centre", "--size", "16", "--workers", "1", "--quiet", "--out", str(shard)]
    assert CliRunner().invoke(augment, options).exit_code == 0
    for limit in (None, 20):
        run = load(config_of(meta=shard, root=root, limit=limit))
        assert 0 < run.wrong.sum() < len(run.wrong)
        assert torch.equal(run.train.group, run.train.label)
        assert torch.equal(table_of(run).group, run.train.label)


@pytest.mark.parametrize("method", ["l2rw", "glc", "mentornet", "co-teaching", "jocor", "l-dmi", "mwn", "meta-lp"])
def test_which_labels_are_wrong_changes_no_run(noisy, method):
    config = config_of(method=method, epochs=2, batch_size=40)
    half = torch.arange(len(noisy.train)) % 2 == 0
    first, second = (train(config, replace(noisy, wrong=wrong)).last for wrong in (half, ~half))
    assert all(torch.equal(value, second.state[name]) for name, value in first.state.items())

import dataclasses
from pathlib import Path

import pytest

from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import UsageError


def test_defaults_and_what_is_stored():
    config = AugmentConfig(dataset="waterbirds", cf=("grey", "tile"), f=("random",), root=Path("somewhere"), workers=4)
    assert config.meta == "10/group"
    assert str(config.shard_path()) == "shards/waterbirds-grey+tile-random-seed0.h5"
    assert str(AugmentConfig(dataset="demo", f=("random",)).shard_path()) == "shards/demo-random-seed0.h5"
    assert config.meta_from == "train"
    tail = AugmentConfig(dataset="imagenet-glt", f=("random",))
    assert (tail.meta, tail.meta_from) == ("10/cluster", "val")
    assert AugmentConfig(dataset="imagenet-glt", f=("random",), meta_from="train").meta_from == "train"
    stored = config.stored()
    assert stored["cf"] == ["grey", "tile"]
    assert not {"root", "workers", "out", "engine", "resume"} & set(stored), "nothing local to a machine"
    assert "attributes" not in stored, "as in shards of older versions"
    assert AugmentConfig(dataset="table", attributes=("a", "b"), f=("random",)).stored()["attributes"] == ["a", "b"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "mnist"}, "unknown data set 'mnist': choose one of cifar10, cifar100, demo, folder, "),
        ({"attributes": ("place",)}, "data set demo has no columns to choose groups by; it is for table, wds"),
        ({"cf": ()}, "nothing to make: give counterfactual fills with --cf, factual ones with --f, or both"),
        ({"cf": ("grey", "grey")}, "--cf grey,grey: a fill is named twice"),
        ({"cf": ("blur",)}, "unknown fill 'blur'"),
        ({"ratio": -1}, "ratio = -1: expected a whole number from 0 to 100"),
        ({"size": 4}, "size = 4: expected a whole number from 8 to 2048"),
        ({"max_fallback": float("nan")}, "max_fallback = nan: expected a number from 0 to 1"),
        ({"options": {"epsilon": 0}}, "epsilon = 0: expected a number from 0.00392157 to 1"),
        ({"seed": -1}, "seed = -1: expected a whole number from 0 to"),
        ({"limit": 0}, "limit = 0: expected a whole number >= 1"),
        ({"imbalance": 0.5}, "imbalance = 0.5: expected a number from 1 to 1e"),
        ({"meta": "ten/class"}, "ten/class"),
        ({"noise": "flip:2"}, "flip:2"),
        ({"matte": "onnx"}, "matte 'onnx': expected onnx:FILE"),
        ({"engine": "gpu"}, "unknown engine 'gpu': choose one of processes, ray, serial"),
        ({"fit": "pad"}, "fit = pad: expected one of crop, stretch"),
        ({"options": {"fgsm": "both"}}, "fgsm = both: expected one of targeted, untargeted"),
        ({"meta_from": "test"}, "meta_from = test: expected one of train, val"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused_at_the_door(change, message):
    with pytest.raises(UsageError) as error:
        AugmentConfig(**{"dataset": "demo", "cf": ("grey",), **change})
    assert message in str(error.value)
    assert "\n" not in str(error.value)

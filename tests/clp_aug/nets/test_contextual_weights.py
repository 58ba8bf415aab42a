"""Weights of the network from a file: taken up, or refused in one line."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from clp_aug.contract.errors import InputError
from clp_aug.nets.contextual_attention import load
from clp_aug.nets.layouts import LAYOUTS
from clp_aug.nets.stored import differences
from tests.clp_aug.nets.contextual import BOXES, holes, pictures, started

SETTINGS = {"width": 4, "dilations": [2, 4], "steps": 7}


@pytest.fixture
def written(tmp_path):
    """A file as the fit writes it, in half precision."""
    path, network = tmp_path / "w.safetensors", started()
    save_file({n: v.half() for n, v in network.state_dict().items()}, path, {"settings": json.dumps(SETTINGS)})
    return path, network


def test_load(written):
    path, network = written
    before = torch.get_rng_state()
    found, sha256 = load(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert (found.width, found.dilations, found.layout, found.training) == (4, (2, 4), LAYOUTS["own"], False)
    assert len(sha256) == 64
    for name, value in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], value.half().float()), name
    x, hole = pictures(2), holes(BOXES["inside"], BOXES["top"])
    torch.testing.assert_close(found.fill(x, hole), network.fill(x, hole), atol=0.01, rtol=0)


REMEDY = "use weights of clp-fit inpainter"


@pytest.mark.parametrize(
    ("change", "metadata", "message"),
    [
        (lambda s: s.pop("coarse.conv17.bias"), SETTINGS, f"'coarse.conv17.bias' is missing, expected (3,); {REMEDY}"),
        (lambda s: s.update(more=torch.zeros(2)), SETTINGS, f"'more' is (2,), expected nothing; {REMEDY}"),
        (
            lambda s: s.update({"coarse.conv17.bias": torch.zeros(4)}),
            SETTINGS,
            f"'coarse.conv17.bias' is (4,), expected (3,); {REMEDY}",
        ),
        (
            lambda s: s["pasting.pmconv9.bias"].fill_(float("nan")),
            SETTINGS,
            f"pasting.pmconv9.bias holds NaN, infinity or no floating point; {REMEDY}",
        ),
        (
            lambda s: s.update({"coarse.conv17.bias": torch.zeros(3, dtype=torch.int32)}),
            SETTINGS,
            f"coarse.conv17.bias holds NaN, infinity or no floating point; {REMEDY}",
        ),
        (lambda s: None, SETTINGS | {"width": 6}, "'coarse.conv1.weight' is (4, 5, 5, 5), expected (6, 5, 5, 5), "),
        (lambda s: None, SETTINGS | {"width": 10**9}, "dilations of a network (width 1000000000 of the inpainting"),
        (lambda s: None, SETTINGS | {"dilations": [99]}, "dilations of a network (dilations (99,) of the inpainting"),
        (lambda s: None, {}, f"settings without width and dilations of a network ('width'); {REMEDY}"),
        (lambda s: None, [4], "settings without width and dilations of a network"),
        (
            lambda s: s.update({"netG.coarse_generator.conv1.conv.bias": torch.zeros(2)}),
            SETTINGS,
            "a published checkpoint, not from clp-fit inpainter; give it to --cagan-weights",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(written, change, metadata, message):
    path, _ = written
    state = load_file(path)
    change(state)
    save_file(state, path, {"settings": json.dumps(metadata)})
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load(path)
    assert str(caught.value).startswith(f"inpainting weights {path}: ")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_weights_are_refused(written):
    path, _ = written
    message = (
        r"w\.safetensors: damaged, or not from clp-fit inpainter \(.*\); copy or fit them again, or give a published"
    )
    for content in (path.read_bytes()[:-7], b"hello", b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            load(path)
    path.unlink()
    with pytest.raises(InputError, match=r"w\.safetensors: cannot read \(No such file or directory\)"):
        load(path)


def test_differences_are_counted():
    wanted = dict.fromkeys("abcde", (1,))
    assert differences(wanted, wanted) == ""
    assert differences(wanted, wanted | {"e": (2,)}) == "'e' is (2,), expected (1,)"
    assert differences(wanted, {"x\ny": ()}) == (
        "'a' is missing, expected (1,), 'b' is missing, expected (1,), 'c' is missing, expected (1,), and 3 more"
    )
    assert differences({}, {"x\ny": ()}) == r"'x\ny' is (), expected nothing"

"""cagan, telea, lama: what they read, what they write, boxes of every place, files that are no such network."""

import json
import re
import zipfile

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save

from clp_aug.contract.errors import InputError
from clp_aug.contract.seeds import rng_for
from clp_aug.fills import CF, cagan, infill, lama
from clp_aug.fills.cagan import load_inpainter
from clp_aug.fills.lama import load_lama
from clp_aug.fills.scene import Materials, Scene
from clp_aug.fitting.config import InpainterFit
from clp_aug.fitting.loop import write_weights
from clp_aug.nets.contextual_attention import ContextualAttentionNet, start

H, W = 24, 29


class Mean(torch.nn.Module):
    """Stands for LaMa: the hole becomes the mean of what is known."""

    def forward(self, picture: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        known = (picture * (1 - hole)).sum((2, 3)) / (1 - hole).sum((2, 3))
        return picture * (1 - hole) + known[:, :, None, None] * hole


class Half(torch.nn.Module):
    """Gives a picture of another size."""

    def forward(self, picture: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        return picture[:, :, ::2]


class Alone(torch.nn.Module):
    """Takes no hole."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return picture


class Nan(torch.nn.Module):
    """Gives no numbers."""

    def forward(self, picture: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        return picture / 0 * 0


class Infinite(torch.nn.Module):
    """Gives numbers beyond all pictures."""

    def forward(self, picture: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        return (picture + 1) / 0


class Levels(torch.nn.Module):
    """Gives grey levels of 0 to 255."""

    def forward(self, picture: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        return picture * 255


class Signed(torch.nn.Module):
    """Gives a picture in [-1, 1]."""

    def forward(self, picture: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        return picture * 2 - 1


class Several(torch.nn.Module):
    """Gives the picture and more."""

    def forward(self, picture: torch.Tensor, hole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return picture, hole


class Three(torch.nn.Module):
    """Takes more than a picture and its hole."""

    def forward(self, picture: torch.Tensor, hole: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        return picture


class Slightly(torch.nn.Module):
    """Leaves the range of pictures a little, as a network without a last sigmoid may."""

    def forward(self, picture: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
        return picture * 1.4 - 0.2


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    network = ContextualAttentionNet(4, (2,))
    start(network, torch.Generator().manual_seed(0))
    fitted = InpainterFit(folder, folder / "cagan.safetensors", width=4, dilations=(2,))
    write_weights(network, fitted)
    for module in (Mean, Half, Alone, Nan, Infinite, Levels, Signed, Several, Three, Slightly):
        torch.jit.script(module()).save(folder / f"{module.__name__}.pt")
    return {"cagan": cagan.Options(fitted.out), "lama": lama.Options(folder / "Mean.pt")}


def scene_of(box, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Scene(cv2.resize(coarse, (W, H), interpolation=cv2.INTER_CUBIC), box, 0)


BOXES = [(0, 0, 9, 9), (W - 9, H - 9, W, H), (0, 8, W, 15), (6, 0, 17, H), (12, 11, 13, 12), (0, 0, W, H - 1)]


@pytest.mark.parametrize("name", ["cagan", "telea", "lama"])
@pytest.mark.parametrize("box", BOXES, ids=str)
def test_only_the_box_changes_and_nothing_under_it_is_read(options, name, box):
    scene = scene_of(box)
    filled, used = infill(name, CF, scene, rng_for(0, 0, ""), Materials(), options.get(name))
    other = Scene(scene.image.copy(), box, 0)
    other.image[other.causal()] = np.random.default_rng(1).integers(0, 256, (other.causal().sum(), 3), np.uint8)
    assert used == name
    assert (filled[~scene.causal()] == scene.image[~scene.causal()]).all()
    assert (filled == infill(name, CF, other, rng_for(9, 9, ""), Materials(), options.get(name))[0]).all()


@pytest.mark.parametrize("name", ["cagan", "telea", "lama"])
def test_a_box_that_covers_the_picture_is_grey_and_says_so(options, name):
    filled, used = infill(name, CF, scene_of((0, 0, W, H)), rng_for(0, 0, ""), Materials(), options.get(name))
    assert used == "grey"
    assert (filled == 128).all()


def test_lama_sees_the_picture_and_its_hole(options):
    scene = scene_of((5, 5, 12, 16))
    filled, _ = infill("lama", CF, scene, rng_for(0, 0, ""), Materials(), options["lama"])
    padded, hidden = (
        np.pad(x, ((0, -H % 8), (0, -W % 8)) + ((0, 0),) * (x.ndim - 2), "edge") for x in (scene.image, scene.causal())
    )
    assert np.abs(filled[scene.causal()] - padded[~hidden].mean(0)).max() <= 0.51


def test_telea_is_opencv():
    scene = scene_of((5, 5, 12, 16))
    filled, _ = infill("telea", CF, scene, rng_for(0, 0, ""), Materials())
    expected = cv2.inpaint(scene.image, scene.causal().astype(np.uint8), 3, cv2.INPAINT_TELEA)
    assert (filled == expected).all(), "away from borders the mean under the hole makes no difference"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("Half", "not LaMa's network (it gives (1, 3, "),
        ("Alone", "not LaMa's network ("),
        ("Several", "not LaMa's network (it gives a tuple)"),
        ("Three", "not LaMa's network ("),
        ("Nan", "its picture is nan; give another export of LaMa"),
        ("Infinite", "its picture is infinite; give another export of LaMa"),
        ("Levels", "its picture goes from "),
        ("Signed", "its picture goes from -"),
    ],
)
def test_programs_that_are_not_lama_are_refused(options, module, message):
    """By the check before a picture is decoded, and for a picture, where another one passed."""
    path = options["lama"].lama_weights.with_name(f"{module}.pt")
    refused = re.escape(f"lama weights {path}: {message}")
    with pytest.raises(InputError, match=refused) as error:
        lama.Options(path).check(24, 2)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=refused):
        infill("lama", CF, scene_of((5, 5, 12, 16)), rng_for(0, 0, ""), Materials(), lama.Options(path))


@pytest.mark.parametrize("module", ["Mean", "Slightly"])
@pytest.mark.parametrize("size", [1, 2, 8, 33])
def test_a_network_that_fits_passes_the_check(options, module, size):
    lama.Options(options["lama"].lama_weights.with_name(f"{module}.pt")).check(size, 2)


def test_a_picture_a_little_out_of_range_is_clipped(options):
    path, scene = options["lama"].lama_weights.with_name("Slightly.pt"), scene_of((5, 5, 12, 16))
    filled, _ = infill("lama", CF, scene, rng_for(0, 0, ""), Materials(), lama.Options(path))
    expected = np.clip(scene.image / np.float32(255) * 1.4 - 0.2, 0, 1) * 255
    assert np.abs(filled.astype(float) - np.where(scene.causal()[..., None], expected, scene.image)).max() <= 0.51


def test_weights_that_overflow_are_told(tmp_path):
    """Finite each, and their products are not."""
    network = ContextualAttentionNet(4, (2,))
    start(network, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for values in network.parameters():
            values.mul_(1e30)
    fitted = InpainterFit(tmp_path, tmp_path / "w.safetensors", width=4, dilations=(2,))
    fitted.out.write_bytes(save(network.state_dict(), {"settings": json.dumps({"width": 4, "dilations": [2]})}))
    message = rf"cagan weights {fitted.out}: its picture is nan; give other weights"
    with pytest.raises(InputError, match=message):
        cagan.Options(fitted.out).check(24, 2)
    with pytest.raises(InputError, match=message):
        infill("cagan", CF, scene_of((5, 5, 12, 16)), rng_for(0, 0, ""), Materials(), cagan.Options(fitted.out))


@pytest.mark.parametrize("size", [1, 8, 33])
def test_the_shipped_network_passes_the_check(size):
    cagan.Options().check(size, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"not a TorchScript archive \("),
        (b"PK\x03\x04broken", r"not a TorchScript archive \("),
        (None, r"cannot read \(Is a directory\)"),
    ],
    ids=["empty", "broken", "folder"],
)
def test_archives_that_are_none(tmp_path, content, message):
    path = tmp_path / "x.pt"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=rf"lama weights {path}: {message}.*; give LaMa's network as published"):
        load_lama(path)


def test_small_archives_that_unpack_to_large_ones(tmp_path):
    with zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/data/0", bytes(2**27))
    with pytest.raises(InputError, match=r"not a TorchScript archive \(unpacks to \d+ bytes, expected at most \d+\)"):
        load_lama(tmp_path / "b.pt")
    with open(tmp_path / "l.pt", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match=r"l\.pt: 1099511627776 bytes, expected at most \d+"):
        load_lama(tmp_path / "l.pt")


def test_files_that_are_no_network_are_refused(tmp_path):
    path = tmp_path / "text.pt"
    path.write_text("hello")
    with pytest.raises(InputError, match=r"text\.pt: not a TorchScript archive \("):
        load_lama(path)
    with pytest.raises(InputError, match=r"published inpainting weights .*text\.pt: "):
        load_inpainter(path, "own")
    path = path.rename(tmp_path / "text.safetensors")
    with pytest.raises(InputError, match=r"inpainting weights .*text\.safetensors: damaged"):
        load_inpainter(path, "own")
    with pytest.raises(InputError, match=r"inpainting weights .*none\.safetensors: cannot read"):
        load_inpainter(tmp_path / "none.safetensors", "own")

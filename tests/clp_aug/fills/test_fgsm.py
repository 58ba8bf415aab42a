"""FGSM against a linear classifier, whose gradient is known, and against files that are no classifier."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import InputError
from clp_aug.contract.seeds import rng_for
from clp_aug.fills import F, infill
from clp_aug.fills.fgsm import Options
from clp_aug.fills.scene import Materials, Scene
from clp_aug.nets.exported import load_classifier
from tests.clp_aug.nets.exporting import export

SIDE, CLASSES = 12, 3


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A linear classifier and its weights (CLASSES, 3, SIDE, SIDE)."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3 * SIDE * SIDE, CLASSES)
    flat = torch.nn.Sequential(torch.nn.Flatten(), layer)
    path = export(tmp_path_factory.mktemp("fgsm") / "linear.pt2", flat, SIDE)
    return path, layer.weight.detach().numpy().reshape(CLASSES, 3, SIDE, SIDE), layer


def scene(label=1):
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return Scene(image, (3, 4, 9, 10), label)


def attack(path, targeted, epsilon, one=None, seed=0):
    options = Options(path, epsilon, "targeted" if targeted else "untargeted")
    return infill("fgsm", F, one or scene(), rng_for(seed, 0, "fgsm"), Materials(num_classes=CLASSES), options)[0]


@pytest.mark.parametrize("epsilon", [2 / 255, 0.1, 0.5])
def test_untargeted_step_is_epsilon_times_the_sign_of_the_known_gradient(linear, epsilon):
    path, weights, layer = linear
    one = scene()
    pixels = torch.from_numpy(one.image).permute(2, 0, 1).float().flatten() / 255
    surplus = layer(pixels).softmax(0).detach().numpy() - np.eye(CLASSES)[one.label]  # d CE / d logits
    gradient = np.tensordot(surplus, weights, 1).transpose(1, 2, 0)
    expected = np.clip(one.image.astype(int) + int(epsilon * 255) * np.sign(gradient).astype(int), 0, 255)
    moved = attack(path, False, epsilon, one)
    outside = ~one.causal()
    assert (moved[outside] == expected[outside]).all()
    assert (moved[one.causal()] == one.image[one.causal()]).all()
    assert abs(moved.astype(int) - one.image).max() <= epsilon * 255


def test_each_form_moves_the_loss_the_way_it_says(linear):
    path, _, layer = linear
    one = scene()

    def loss(image, goal):
        pixels = torch.from_numpy(image).permute(2, 0, 1).float().flatten() / 255
        return torch.nn.functional.cross_entropy(layer(pixels)[None], torch.tensor([goal])).item()

    assert loss(attack(path, False, 0.1), one.label) > loss(one.image, one.label)
    goal = int(rng_for(0, 0, "fgsm").choice([0, 2]))
    assert loss(attack(path, True, 0.1), goal) < loss(one.image, goal)


def test_wrong_size_and_wrong_classes(linear, tmp_path):
    path = linear[0]
    with pytest.raises(InputError, match=r"does not take pictures of \(1, 3, 20, 20\) with 3 classes"):
        attack(path, True, 0.5, Scene(np.zeros((20, 20, 3), np.uint8), (1, 1, 5, 5), 0))
    features = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE * SIDE, 7))
    seven = export(tmp_path / "seven.pt2", features, SIDE)
    with pytest.raises(InputError, match=r"it gives \(1, 7\), expected \(1, 3\)"):
        attack(seven, True, 0.5)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def rewritten(source, target, replace):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, replace(name, old.read(name)))
    return target


def test_an_archive_that_could_run_code_is_refused(linear, tmp_path):
    source, sprung = linear[0], tmp_path / "sprung"
    trap = io.BytesIO()
    torch.save(Trap(sprung), trap)
    inputs = rewritten(
        source, tmp_path / "a.pt2", lambda name, data: trap.getvalue() if "sample_inputs" in name else data
    )
    weights = rewritten(
        source, tmp_path / "b.pt2", lambda name, data: data.replace(b'"use_pickle": false', b'"use_pickle": true')
    )
    custom = rewritten(
        source,
        tmp_path / "c.pt2",
        lambda name, data: data.replace(b'"path_name": "weight_0"', b'"path_name": "opaque_obj_0"'),
    )
    extra = rewritten(source, tmp_path / "d.pt2", lambda name, data: data)
    with zipfile.ZipFile(extra, "a") as archive:
        archive.writestr("linear/data/weights/model.pt", pickle.dumps(Trap(sprung)))
    load_classifier(inputs)  # what it was exported with is not read
    for path in (weights, custom, extra):
        with pytest.raises(InputError, match=r"not an exported program \(.*\); clp-train --export writes one"):
            load_classifier(path)
    assert not sprung.exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken"])
def test_foreign_files(tmp_path, content):
    (tmp_path / "x.pt2").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.pt2: not an exported program"):
        load_classifier(tmp_path / "x.pt2")
    with pytest.raises(InputError, match=r"none\.pt2: cannot read \(No such file or directory\); clp-train --export"):
        load_classifier(tmp_path / "none.pt2")


class Gives(torch.nn.Module):
    """Gives what a function makes of the mean of the picture's planes, (N, 3)."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, images):
        return self.make(images.mean((2, 3)))


GIVEN = {
    "nan": (lambda x: x * torch.nan, "its logits are nan for a picture"),
    "infinity": (lambda x: x / 0, "its logits are infinite for a picture"),
    "nan of a gradient": (lambda x: (x - x).sqrt() + x, "its gradient is nan for a picture"),
    "too few classes": (lambda x: x[:, :2], r"it gives \(1, 2\), expected \(1, 3\)"),
    "too many classes": (lambda x: torch.cat([x, x], 1), r"it gives \(1, 6\), expected \(1, 3\)"),
    "a map": (lambda x: x[:, :, None], r"it gives \(1, 3, 1\), expected \(1, 3\)"),
    "no picture": (lambda x: x.mean(0), r"it gives \(3,\), expected \(1, 3\)"),
    "several": (lambda x: (x, x), r"it gives a tuple, expected \(1, 3\)"),
    "whole numbers": (lambda x: x.long(), "it does not take pictures of "),
    "no gradient": (lambda x: x.detach(), "it does not take pictures of "),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    return {name: export(folder / f"{i}.pt2", Gives(make), SIDE) for i, (name, (make, _)) in enumerate(GIVEN.items())}


@pytest.mark.parametrize("case", GIVEN)
def test_what_a_classifier_must_not_give(files, case):
    """Told by the check before a picture is decoded, and for a picture, where another one passed."""
    message = rf"^classifier {files[case]}: {GIVEN[case][1]}.*; export one trained on this data set at this --size$"
    with pytest.raises(InputError, match=message):
        Options(files[case]).check(SIDE, CLASSES)
    for targeted in (True, False):
        with pytest.raises(InputError, match=message):
            attack(files[case], targeted, 0.5)


def test_a_classifier_that_fits_is_checked_before_a_picture_is_decoded(linear):
    Options(linear[0]).check(SIDE, CLASSES)
    with pytest.raises(InputError, match=r"does not take pictures of \(1, 3, 20, 20\) with 3 classes"):
        Options(linear[0]).check(20, CLASSES)
    with pytest.raises(InputError, match=r"it gives \(1, 3\), expected \(1, 4\)"):
        Options(linear[0]).check(SIDE, 4)

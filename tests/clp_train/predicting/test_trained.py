"""load_classifier: every method's head comes back as it was, with its adjustment; pictures are read as in training."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from clp_aug.contract.errors import InputError, SettingError
from clp_aug.datasets import load_dataset
from clp_train import load_classifier
from clp_train.evaluating.predictions import judged
from clp_train.methods import METHODS
from clp_train.models.heads import HEADS, make_head
from clp_train.predicting.description import DESCRIPTION, RESULT
from clp_train.running.checkpoint import CHECKPOINT, LAST
from tests.clp_train.builders import config_of, generator, load, make_demo_shard, method_of, network_of, table_of
from tests.clp_train.predicting.recorded import pictures, record, save_picture


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    """A run's data with a meta original of each class and unequal classes."""
    shard = make_demo_shard(tmp_path_factory.mktemp("rare") / "x.h5", size=16, per_group=2, train=80)
    data = load(config_of(meta=shard, limit=40))
    keep = torch.cat([(data.train.label == 0).nonzero()[:, 0], (data.train.label == 1).nonzero()[:5, 0]])
    return data.__class__(**{**vars(data), "train": data.train.take(keep)})


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_classifier_of_every_method_is_loaded_as_it_was(loaded, tmp_path, method):
    was = record(loaded, tmp_path / "r", method)
    found = load_classifier(tmp_path / "r")
    x = pictures()
    assert not found.training
    assert torch.equal(found(x), was(x))
    assert found.class_names == ("ring", "cross")
    assert found.about.method == method


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("la-posthoc", {"tau": 2.0}), ("tde", {"alpha": 1.5}), ("csa", {"judge": "mean"}), ("csa", {"judge": "second"}),
        ("ldam", {"scale": 7.0}),
    ],
)  # fmt: skip
def test_the_adjustment_is_inside(rare, tmp_path, method, more):
    was = record(rare, tmp_path / "r", method, more)
    found, x = load_classifier(tmp_path / "r"), pictures()
    assert torch.equal(found(x), was(x))
    assert not torch.allclose(found(x), was.network(x).logits), "it is not the head's own"


BY_HEAD = {
    "linear": ("erm", {}), "cosine": ("ala", {}), "sigmoid": ("cb-focal", {"form": "sigmoid"}), "scaled": ("lws", {}),
    "causal-norm": ("tde", {}), "dual": ("csa", {}),
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_loaded(loaded, tmp_path, head):
    method, more = BY_HEAD[head]
    was = record(loaded, tmp_path / "r", method, more)
    found = load_classifier(tmp_path / "r")
    assert type(found.network.head) is HEADS[head]
    assert torch.equal(found(pictures()), was(pictures()))


def test_probabilities_of_cosines_are_of_the_scaled_ones():
    network = network_of().float()
    network.head = make_head("cosine", 64, 3, generator())
    method = method_of("ldam", table_of([0, 1, 2]), {"scale": 30.0})
    x = pictures()
    assert torch.equal(judged(network.eval(), method)(x), 30 * network(x).logits)


def test_pictures_are_read_as_training_reads_them(loaded, tmp_path):
    record(loaded, tmp_path / "r", "erm")
    found, demo = load_classifier(tmp_path / "r"), load_dataset("demo")
    whole = demo.image(3)
    expected = torch.from_numpy(demo.image(3, 16, "crop").copy()).permute(2, 0, 1).float() / 255
    Image.fromarray(whole).save(tmp_path / "a.png")
    for picture in (whole, Image.fromarray(whole), tmp_path / "a.png", str(tmp_path / "a.png")):
        read = found.preprocess(picture)
        assert (read.dtype, tuple(read.shape)) == (torch.float32, (3, 16, 16))
        assert torch.equal(read, expected)


def test_a_turned_picture_is_upright(loaded, tmp_path):
    record(loaded, tmp_path / "r", "erm")
    found = load_classifier(tmp_path / "r")
    path = save_picture(tmp_path / "a.png", side=16)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(tmp_path / "b.png", exif=exif)
    assert torch.equal(found.preprocess(tmp_path / "b.png"), found.preprocess(Image.open(tmp_path / "b.png")))
    assert not torch.equal(found.preprocess(tmp_path / "b.png"), found.preprocess(path))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((4, 4, 3)), r"an array of float64 \(4, 4, 3\); expected uint8 \(H, W, 3\) RGB or \(H, W\) grey"),
        (np.zeros((3, 4, 4), np.uint8), r"an array of uint8 \(3, 4, 4\); expected"),
        ("nowhere.png", r"cannot read nowhere\.png \(No such file"),
    ],
)
def test_what_is_no_picture_is_one_line(loaded, tmp_path, picture, message):
    record(loaded, tmp_path / "r", "erm")
    with pytest.raises(InputError, match=message):
        load_classifier(tmp_path / "r").preprocess(picture)


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def unfinished(folder):
    empty(folder)
    (folder / CHECKPOINT).write_text("")


def without(name):
    return lambda folder: (folder / name).unlink()


def changed(name, **values):
    def change(folder):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | values))

    return change


def cut(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:100])


NOT_OURS = r"classifier\.json: not a description of a classifier by clp-train "
OTHER_WEIGHTS = r"last\.safetensors: not the weights of model resnet8"
WRONG = {
    "empty": (empty, r"r: no result\.json, so no finished run; train with clp-train --out .*r$"),
    "unfinished": (unfinished, r"r: an unfinished run; continue it with the command of that run and --resume$"),
    "no weights": (without(LAST), r"last\.safetensors: no such file; only another run can make it$"),
    "cut weights": (cut(LAST), r"last\.safetensors: not the weights of this run \(.*\); train again"),
    "cut description": (cut(DESCRIPTION), NOT_OURS + r"\(JSONDecodeError"),
    "no size": (changed(DESCRIPTION, size=0), NOT_OURS + r"\(ValueError: size 0"),
    "more": (changed(DESCRIPTION, further=0), NOT_OURS + r"\(TypeError: .*further"),
    "one class": (changed(DESCRIPTION, class_names=["a"]), NOT_OURS + r"\(.* expected names, of at least two"),
    "other classes": (changed(DESCRIPTION, class_names=["a", "b", "c"], group_names=[], cells=None), OTHER_WEIGHTS),
    "another file": (changed(DESCRIPTION, weights="../x"), NOT_OURS + r"\(.* weights '\.\./x'\)"),
    "a huge cell": (changed(DESCRIPTION, cells=[[0, 0, 1 << 50]]), NOT_OURS + r"\(.* cell"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_other_folders_are_one_line(loaded, tmp_path, case):
    record(loaded, tmp_path / "r", "erm")
    spoil, message = WRONG[case]
    spoil(tmp_path / "r")
    with pytest.raises(InputError, match=message) as error:
        load_classifier(tmp_path / "r")
    assert "\n" not in str(error.value)


def test_what_is_no_folder_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder; give the folder of a finished run of clp-train"):
        load_classifier(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: it is a file; give the folder"):
        load_classifier(tmp_path / "file")


def test_description_and_weights_alone_are_enough(loaded, tmp_path):
    was = record(loaded, tmp_path / "r", "la-posthoc")
    for path in (tmp_path / "r").iterdir():
        if path.name not in (DESCRIPTION, LAST):
            path.unlink()
    assert torch.equal(load_classifier(tmp_path / "r")(pictures()), was(pictures()))


def test_a_run_of_an_earlier_version_is_loaded_as_far_as_its_result_tells(loaded, tmp_path):
    was = record(loaded, tmp_path / "r", "ldam")
    (tmp_path / "r" / DESCRIPTION).unlink()
    assert torch.equal(load_classifier(tmp_path / "r")(pictures()), was(pictures()))
    record(loaded, tmp_path / "p", "la-posthoc")
    (tmp_path / "p" / DESCRIPTION).unlink()
    assert (tmp_path / "p" / RESULT).exists()
    message = (
        r"p: la-posthoc adjusts its logits with numbers that earlier versions did not store; the command of that run"
    )
    with pytest.raises(InputError, match=message):
        load_classifier(tmp_path / "p")


PLUGIN = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.last = nn.Linear(3, classes)
    def forward(self, x):
        return self.last(x.mean((2, 3)))
"""


def test_code_that_a_file_alone_names_is_not_run(loaded, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    name = f"{tmp_path}/mine.py:Tiny"
    was = record(loaded, tmp_path / "r", "erm", model=name)
    with pytest.raises(SettingError, match=r"the run's model is a plug-in, and its code runs only if you name it, too"):
        load_classifier(tmp_path / "r")
    with pytest.raises(SettingError, match=re.escape(f"the run has {name}; leave it out, or give that name")):
        load_classifier(tmp_path / "r", model="resnet8")
    assert torch.equal(load_classifier(tmp_path / "r", model=name)(pictures()), was(pictures()))

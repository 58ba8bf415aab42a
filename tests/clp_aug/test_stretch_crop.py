"""A shard of pictures of which the middle 224 of 256 pixels count: whole, with boxes that fit, and read by training."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clp_aug.cli import augment
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import load_dataset
from clp_train.loading.data import geometry
from tests.clp_aug.datasets.box_writers import corners, table
from tests.clp_train.builders import config_of, load

WIDTH, HEIGHT, SIZE = 96, 60, 28
WHOLE, BEFORE = 32, 2  # 28 * 256 / 224, and what is cut off at each side
NAMES = [f"train/{label}/{i}.png" for label in ("cat", "dog") for i in range(6)]
BOXES = {name: (20 + i, 10 + i, 60 + 2 * i, 40) for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """The folder of pictures, and the path of a shard of them."""
    folder = tmp_path_factory.mktemp("stretched")
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in NAMES:
            path = folder / "pictures" / name.replace("train", split)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(path)
    boxes = table("file,x0,y0,x1,y1", corners)(folder, BOXES)
    words = ["--dataset", "folder", "--root", folder / "pictures", "--cf", "grey", "--f", "random", "--meta", "2/class"]
    words += ["--boxes", boxes, "--size", SIZE, "--fit", "stretch-crop", "--workers", 1, "--out", folder / "x.h5"]
    result = CliRunner().invoke(augment, [*map(str, words), "--quiet"])
    assert result.exit_code == 0, result.stderr
    return folder / "pictures", folder / "x.h5"


def middle(path):
    """Stretch a picture to 32 x 32 and cut 28 x 28 out of its middle."""
    whole = np.asarray(Image.open(path).resize((WHOLE, WHOLE), Image.Resampling.BILINEAR)).astype(int)
    return whole[BEFORE : BEFORE + SIZE, BEFORE : BEFORE + SIZE]


def box_of(name):
    """The pixels of the stretched picture that a box touches, less what is cut off, in plain arithmetic."""
    x0, y0, x1, y1 = BOXES[name]
    low = (x0 * WHOLE // WIDTH - BEFORE, y0 * WHOLE // HEIGHT - BEFORE)
    high = (-(-x1 * WHOLE // WIDTH) - BEFORE, -(-y1 * WHOLE // HEIGHT) - BEFORE)
    return (*(max(0, v) for v in low), *(min(SIZE, v) for v in high))


def test_the_shard_is_accepted_and_says_how_it_was_read(shard):
    reader = ShardReader(shard[1])
    reader.verify()
    assert reader.header.settings["fit"] == "stretch-crop"
    assert geometry(reader) == (SIZE, "stretch-crop")


def test_pictures_and_boxes_are_of_the_middle(shard):
    root, path = shard
    reader, dataset = ShardReader(path), load_dataset("folder", shard[0])
    tables = reader.tables
    for part in ("meta", "train"):
        for sample, box in zip(tables[f"{part}/sample_id"].tolist(), tables[f"{part}/box"].tolist(), strict=True):
            (row,) = dataset.rows_of(np.array([sample]))
            assert tuple(box) == box_of(dataset.samples.name[row])
    for i in np.flatnonzero(tables["meta/kind"] == 0):
        (row,) = dataset.rows_of(tables["meta/sample_id"][i : i + 1])
        assert np.abs(reader.image(i) - middle(root / dataset.samples.name[row])).max() <= 1


def test_training_reads_the_same_pictures(shard):
    root, path = shard
    config = config_of("erm", path, epochs=1, batch_size=4, model="resnet8", root=root)
    loaded = load(config)
    dataset = load_dataset("folder", root)
    for image, sample in zip(loaded.train.images, loaded.train.sample_id.tolist(), strict=True):
        (row,) = dataset.rows_of(np.array([sample]))
        read = np.asarray(image).transpose(1, 2, 0)
        np.testing.assert_array_equal(read, dataset.image(int(row), SIZE, "stretch-crop"))
        assert np.abs(read - middle(root / dataset.samples.name[row])).max() <= 1

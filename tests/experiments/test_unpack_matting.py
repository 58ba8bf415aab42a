"""What is held out stays out of training: birds, whole kinds, copies, landscapes behind tests."""

import csv
import sys

import cv2
import h5py
import numpy as np
import pytest

from clp_aug.contract.errors import UsageError
from clp_aug.fitting.sources import read_sources
from experiments.matting import unpack_matting

KINDS = 40


def scene(seed, height, width, channels=3):
    """Smooth, so that JPEG and resizing keep it recognisable."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, channels), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(pixels, ending=".png"):
    return cv2.imencode(ending, pixels)[1].tobytes()


def pack(path, blobs, **columns):
    with h5py.File(path, "w") as file:
        file["bytes"] = np.frombuffer(b"".join(blobs), np.uint8)
        file["offset"] = np.cumsum([0, *map(len, blobs)])
        for name, values in columns.items():
            file[name] = values


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Containers of the same layout: 3 birds and 40 kinds of 2, 40 pets, 10 people, a pet's copy, 12 landscapes."""
    root = tmp_path_factory.mktemp("data")
    names = [f"animals/birds/{i}.png" for i in range(3)]
    names += [f"kinds/k{i}/{j}.png" for i in range(KINDS) for j in range(2)]
    pack(root / "alpha_cutouts.h5", [encoded(scene(i, 8, 9, 4)) for i in range(len(names))], name=np.array(names, "S"))

    pictures = [scene(100 + i, 120, 160) for i in range(50)]
    blobs = [encoded(p, ".jpg") for p in pictures] + [encoded(cv2.resize(pictures[7], (120, 90)), ".jpg")]
    names = [f"pet/cat_{i}" for i in range(40)] + [f"human/{i}" for i in range(10)] + ["pet/copy_of_7"]
    trimap, soft = np.full((120, 160), 2, np.uint8), np.zeros((120, 160), np.uint8)
    trimap[20:100, 10:60], trimap[30:90, 20:50], soft[20:100, 10:60] = 3, 1, 200
    masks = [encoded(trimap)] * 40 + [encoded(soft)] * 10 + [encoded(trimap[::4, ::4])]
    pack(root / "matting_images.h5", blobs, name=np.array(names, "S"))
    pack(root / "matting_masks.h5", masks[::-1], name=np.array(names[::-1], "S"))

    places = [scene(200 + i, 150, 150) for i in range(12)]
    names, is_test = [f"train/forest/{i}.jpg" for i in range(12)], np.arange(12) == 3
    blobs = [encoded(p, ".jpg") for p in places]
    pack(root / "landscapes150.h5", blobs, name=np.array(names, "S"), is_test=is_test)

    boxes = np.tile(np.array([10, 5, 50, 60], np.int16), (KINDS, 1))
    boxes[0], boxes[1], boxes[2] = (0, 0, 64, 64), (5, 5, 8, 8), (60, 10, 80, 30)
    small = [encoded(scene(300 + i, 64, 64), ".jpg") for i in range(KINDS)]
    is_val = np.arange(KINDS) % 4 == 3
    pack(root / "tiny_imagenet100.h5", small, box_xyxy=boxes, label=np.arange(KINDS) // 2, is_val=is_val)

    birds = root / "waterbirds_like"
    (birds / "images").mkdir(parents=True)
    (birds / "masks").mkdir()
    rows = [(0, 5), (1, 6), (2, 8), (2, 8)]  # split, place
    for i, (_, place) in enumerate(rows):
        picture, mask = cv2.resize(places[place], (160, 160)), np.zeros((160, 160), np.uint8)
        mask[40:120, 30 : 100 + i] = 255
        picture[mask > 0] = 255
        cv2.imwrite(str(birds / "images" / f"{i}.jpg"), picture)
        cv2.imwrite(str(birds / "masks" / f"{i}.png"), mask)
    with open(birds / "metadata.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["img_filename", "split", "place_filename"])
        table.writerows((f"images/{i}.jpg", split, f"landscape/{place}") for i, (split, place) in enumerate(rows))
    return root


@pytest.fixture(scope="module")
def out(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked") / "matting"
    unpack_matting.unpack(data, folder, 0)
    return folder


def stems(out, part, folder, beginning=""):
    return {path.stem for path in (out / part / folder).iterdir() if path.name.startswith(beginning)}


def test_birds_and_whole_kinds_are_held_out(out):
    train, held_out = (stems(out, part, "foregrounds") for part in ("train", "held-out"))
    assert len(train) + len(held_out) == 3 + 2 * KINDS
    assert not [name for name in train if "bird" in name]
    kinds = [{name.rpartition("_")[0] for name in names} for names in (train, held_out)]
    assert not kinds[0] & kinds[1]
    assert 2 <= len(kinds[1]) - 1 <= 16, "about a fifth of 40, and birds"


def test_pictures_are_held_out_one_by_one_and_copies_are_dropped(out):
    train, held_out = (stems(out, part, "pictures") for part in ("train", "held-out"))
    assert train | held_out == {f"pet_cat_{i}" for i in range(40)} | {f"human_{i}" for i in range(10)}
    assert not train & held_out
    assert 3 <= len(held_out) <= 20
    for part, names in (("train", train), ("held-out", held_out)):
        assert stems(out, part, "masks") == names
        assert stems(out, part, "backgrounds", "beside") == {f"beside_{name}" for name in names}


def test_masks_and_what_lies_beside_them(out):
    pet = next(iter(stems(out, "train", "pictures", "pet")))
    mask = cv2.imread(str(out / "train" / "masks" / f"{pet}.png"), cv2.IMREAD_UNCHANGED)
    assert [mask[0, 0], mask[22, 12], mask[60, 40]] == [0, 128, 255]
    picture = cv2.imread(str(out / "train" / "pictures" / f"{pet}.jpg"))
    beside = cv2.imread(str(out / "train" / "backgrounds" / f"beside_{pet}.png"))
    assert np.array_equal(beside, picture[:, 60:]), "right of the mask, whose columns end at 60"


def test_landscapes_behind_tests_are_held_out(out):
    held_out = {int(name.rpartition("_")[2]) for name in stems(out, "held-out", "backgrounds", "landscape")}
    assert held_out == {3, 6, 8}, "marked as test, behind a bird in val, behind one in test"
    assert len(stems(out, "train", "backgrounds", "landscape")) == 9


def test_drawn_boxes_are_held_out_by_class_and_validation_pictures_with_them(out):
    for part in ("train", "held-out"):
        names = [line.partition(",")[0] for line in (out / part / "boxed.csv").read_text().splitlines()[1:]]
        assert sorted(names) == sorted(path.name for path in (out / part / "boxed").iterdir())
    train, held_out = (stems(out, part, "boxed") for part in ("train", "held-out"))
    rows = {int(name[3:]) for name in train | held_out}
    assert rows == set(range(KINDS)) - {0, 1, 2}, "the whole frame, a few pixels, a box beyond the frame"
    assert {row for row in rows if row % 4 == 3} <= {int(name[3:]) for name in held_out}
    classes = [{name[:2] for name in names if int(name[3:]) % 4 != 3} for names in (train, held_out)]
    assert classes[0]
    assert classes[1]
    assert not classes[0] & classes[1]


def test_the_folders_are_those_that_fitting_reads(out):
    for part in ("train", "held-out"):
        sources = read_sources(out / part)
        assert not sources.ignored
        unknown = {
            path.name[:3]: (truth.weight == 0).any()
            for path, truth in zip(sources.naturals.paths, sources.naturals, strict=True)
        }
        assert unknown == {"pet": True, "hum": False}


def test_the_seed_decides_and_nothing_is_replaced(data, out, tmp_path):
    unpack_matting.unpack(data, tmp_path / "same", 0)
    unpack_matting.unpack(data, tmp_path / "other", 1)

    def files(folder):
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert files(out) == files(tmp_path / "same")
    assert files(out).keys() != files(tmp_path / "other").keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "same"]
    with pytest.raises(UsageError, match="same: exists already; give a new folder or remove it"):
        unpack_matting.unpack(data, tmp_path / "same", 0)


def test_the_command_counts(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["unpack_matting.py", "--data", str(data), "--out", str(tmp_path / "o")])
    unpack_matting.main()
    for line, part in zip(capsys.readouterr().out.splitlines(), ("train", "held-out"), strict=True):
        counts = [len(list((tmp_path / "o" / part / folder).iterdir())) for folder in unpack_matting.FOLDERS]
        expected = "{} foregrounds, {} backgrounds, {} pictures, {} masks, {} boxed".format(*counts)
        assert line == f"{tmp_path / 'o' / part}: {expected}"


def test_no_bird_of_the_real_cutouts_is_learnt_from(shared_data):
    names = unpack_matting.Packed(shared_data / "alpha_cutouts.h5").names
    parts = {name: unpack_matting.part_of_cutout(name, 0) for name in names}
    assert len(names) == 125
    assert sum(name.startswith("animals/birds/") for name in names) == 35
    assert all(part == unpack_matting.HELD_OUT for name, part in parts.items() if name.startswith("animals/birds/"))
    assert 60 <= sum(part == unpack_matting.TRAIN for part in parts.values()) <= 85

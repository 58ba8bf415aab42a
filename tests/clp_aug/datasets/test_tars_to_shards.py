"""Tars from one end to the other: a shard of tars is that of the same class folders, and training finds them again."""

import json

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from clp_aug.cli import augment
from clp_aug.contract.errors import SettingError
from clp_aug.datasets import load_dataset, named_dataset
from clp_aug.inspect_cli import inspect
from tests.clp_aug.datasets.tar_builders import picture, write_tar

CLASSES = ("cat", "dog")
COUNTS = {"train": 8, "val": 2, "test": 2}
FILLS = "--cf tile --f random --meta 2/class --size 16 --workers 1 --quiet"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with class folders in my/folders and the same files in my/tars, boxes beside both."""
    lines = ["file,x0,y0,x1,y1"]
    for split, count in COUNTS.items():
        members = {}
        for c, name in enumerate(CLASSES):
            for k in range(count):
                data = picture(100 * c + k + 1000 * len(split), (20, 16), "PNG")
                file = tmp_path / "my/folders" / split / name / f"{k}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
                corners = [2, 1, 9 + k, 12]
                lines.append(f"{split}/{name}/{k}.png," + ",".join(map(str, corners)))
                members[f"{name}/{k}.png"] = data
                members[f"{name}/{k}.json"] = json.dumps({"label": name, "box": corners}).encode()
        half = len(members) // 2
        parts = list(members.items())
        write_tar(tmp_path / f"my/tars/{split}-0000.tar", parts[:half])
        write_tar(tmp_path / f"my/tars/{split}-0001.tar", parts[half:])
    (tmp_path / "my/folders/boxes.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLP_DATA", raising=False)
    return tmp_path


def do(command, line):
    result = CliRunner().invoke(command, line)
    assert result.exit_code == 0, result.output
    return result.stdout


def tables(path):
    with h5py.File(path) as file:
        found = {}
        file.visititems(lambda name, item: found.update({name: item[...]}) if isinstance(item, h5py.Dataset) else None)
        return found, dict(file.attrs)


def test_a_shard_of_tars_is_that_of_the_same_class_folders(place):
    said = do(augment, ["--dataset", "wds:{train,val,test}-{0000..0001}.tar", "--root", "my/tars", *FILLS.split()])
    assert "shards/wds-tile-random-seed0.h5" in said
    do(augment, ["--dataset", "folder", "--root", "my/folders", *FILLS.split()])
    (tars, attributes), (folders, _) = (tables(f"shards/{name}-tile-random-seed0.h5") for name in ("wds", "folder"))
    assert tars.keys() == folders.keys()
    for name in tars.keys() - {"seal"}:
        np.testing.assert_array_equal(tars[name], folders[name], name)
    assert attributes["dataset"] == b"wds:{train,val,test}-{0000..0001}.tar"
    assert not any(str(place) in str(value) or "my/tars" in str(value) for value in attributes.values())
    assert "next: clp-inspect" in said
    assert " --root DIR" in do(inspect, ["shards/wds-tile-random-seed0.h5"])


def test_workers_make_the_same_shard(place):
    line = ["--dataset", "wds", "--root", "my/tars", *FILLS.replace("--workers 1", "").split()]
    for workers in ("1", "2"):
        do(augment, [*line, "--workers", workers, "--out", f"{workers}.h5"])
    assert (place / "1.h5").read_bytes() == (place / "2.h5").read_bytes()


def test_training_finds_the_tars_again_from_the_shard_alone(place):
    from clp_train.cli import train

    name = "wds:train-*.tar,val=val-*.tar,test_hard=test-*.tar"
    quick = ["--method", "erm", "--epochs", "1", "--batch-size", "8", "--quiet"]
    (place / "data").mkdir()
    (place / "my/tars").rename(place / "data/wds")
    do(augment, ["--dataset", name, *FILLS.split()])
    said = do(train, ["--meta", "shards/wds-train-tile-random-seed0.h5", *quick])
    assert "test_hard" in said
    (place / "data/wds").rename(place / "elsewhere")
    lost = CliRunner().invoke(train, ["--meta", "shards/wds-train-tile-random-seed0.h5", *quick, "--out", "x"])
    assert lost.exit_code == 3
    assert f"data set {name}: no tar file train-*.tar in the current folder or data/wds; give" in lost.stderr
    write_tar(place / "elsewhere/train-0002.tar", {"cat/9.png": picture(5, (20, 16), "PNG"), "cat/9.cls": b"cat"})
    other = CliRunner().invoke(
        train, ["--meta", "shards/wds-train-tile-random-seed0.h5", "--root", "elsewhere", *quick, "--out", "y"]
    )
    assert other.exit_code == 3
    assert "made from another version of data set wds:train-*.tar" in other.stderr


def test_broken_members_are_told_at_once_and_left_out_when_asked(place):
    write_tar(place / "my/tars/train-0002.tar", {"x.png": b"no", "x.cls": b"cat", "y.png": b"", "y.cls": b"dog"})
    line = ["--dataset", "wds", "--root", "my/tars", *FILLS.split()]
    refused = CliRunner().invoke(augment, line)
    assert refused.exit_code == 3
    assert "data set wds: 2 of 26 pictures cannot be read: " in refused.stderr
    assert "train-0002.tar/y.png: the file is empty (0 bytes)" in refused.stderr
    said = do(augment, [*line, "--skip-broken"])
    assert "pictures left out because they cannot be read: 2 (train-0002.tar/x.png, train-0002.tar/y.png)" in said


def test_a_shard_of_a_stranger_leads_to_no_other_place(place):
    for recorded in ("wds:../../etc/*.tar", "wds:/etc/*.tar"):
        with pytest.raises(SettingError, match="it leads out of its root"):
            load_dataset(named_dataset(recorded, None), "my/tars")


def test_other_tools_know_that_pictures_in_tars_are_no_files(place):
    from clp_aug.data_cli import data

    refused = CliRunner().invoke(data, ["glt", "--from", "wds", "--root", "my/tars"])
    assert "its pictures are no files; give a folder for them with --out DIR" in refused.stderr

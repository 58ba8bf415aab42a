"""On a disk that takes run for RUN, as those of Windows and macOS do, nothing of one run is taken for, or lost to,
another's. The disk is emulated: below one folder, a name finds the file that differs from it in case alone.
"""

import builtins
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clp_aug import AugmentConfig, augment, load_dataset
from clp_aug.common.locks import held_for
from clp_aug.contract.errors import UsageError
from clp_aug.making.folder import folder_made_beside
from clp_train import run_folder
from clp_train.bench.jobs import run_of
from clp_train.bench.spec import Row, Scale

ONE_PATH = ("stat", "lstat", "open", "mkdir", "unlink", "rmdir", "listdir", "scandir", "access")
TWO_PATHS = ("replace", "rename", "link")


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A folder on such a disk."""
    top, names_in = str(tmp_path), os.listdir

    def found(path):
        if isinstance(path, int) or not os.fsdecode(path).startswith(top + os.sep):
            return path
        place = top
        for part in os.fsdecode(path)[len(top) + 1 :].split(os.sep):
            try:
                there = names_in(place)
            except OSError:
                there = []
            place += os.sep + next((name for name in there if name.casefold() == part.casefold()), part)
        return place

    def one(real):
        return lambda path=".", *more, **named: real(found(path), *more, **named)

    def two(real):
        return lambda source, target, **named: real(found(source), found(target), **named)

    for name in ONE_PATH:
        monkeypatch.setattr(os, name, one(getattr(os, name)))
    for name in TWO_PATHS:
        monkeypatch.setattr(os, name, two(getattr(os, name)))
    for module in (builtins, io):
        monkeypatch.setattr(module, "open", one(module.open))
    return tmp_path


def test_the_disk_is_one(disk):
    (disk / "A").mkdir()
    (disk / "a" / "x.txt").write_text("1")
    assert (disk / "A" / "X.TXT").read_text() == "1"
    os.replace(disk / "a" / "X.txt", disk / "B.txt")
    assert (disk / "b.txt").exists()
    assert not (disk / "a" / "x.txt").exists()


def test_two_runs_cannot_write_one_output(disk):
    with (
        held_for(disk / "out.h5"),
        pytest.raises(UsageError, match="another run is writing to"),
        held_for(disk / "Out.h5"),
    ):
        pass


def test_a_shard_is_not_replaced_by_one_of_another_spelling(disk):
    settings = {"dataset": "demo", "size": 8, "cf": ("tile",), "meta": "2/group"}
    augment(AugmentConfig(**settings, out=disk / "demo.h5"))
    before = (disk / "demo.h5").read_bytes()
    with pytest.raises(UsageError, match=r"Demo\.h5 exists"):
        augment(AugmentConfig(**settings, seed=1, out=disk / "Demo.h5"))
    assert (disk / "demo.h5").read_bytes() == before


def test_a_run_is_not_replaced_by_one_of_another_spelling(disk):
    (disk / "run").mkdir()
    (disk / "run" / run_folder.RESULT).write_text("{}")
    with pytest.raises(UsageError, match="RUN holds a result already"):
        run_folder.prepare(disk / "RUN")


def test_a_made_folder_is_not_replaced_by_one_of_another_spelling(disk):
    with folder_made_beside(disk / "set") as folder:
        (folder / "a.txt").write_text("1")
    with pytest.raises(UsageError, match="exists already"), folder_made_beside(disk / "SET"):
        pass


def test_runs_of_a_bench_have_names_that_differ_in_more_than_case():
    """A row of a user's may name files of its own; paths that differ in case alone may be two files elsewhere."""
    settings = Scale(augment=("--dataset", "demo"), train=())
    rows = [Row("one", "erm", train=("--init", name)) for name in ("w.pt", "W.pt")]
    folders = [run_of("demo", settings, row.title, row, 0, "common", Path("bench")).folder for row in rows]
    assert len({folder.name.casefold() for folder in folders}) == 2


def test_pictures_that_differ_in_case_alone_are_two_where_the_disk_has_both(tmp_path):
    (tmp_path / "a").mkdir()
    for name, value in (("x.png", 10), ("X.png", 200), ("x.PNG", 90)):
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(tmp_path / "a" / name, "PNG")
    if len(os.listdir(tmp_path / "a")) < 3:
        pytest.skip("this disk takes them for one")
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\na/x.png,0,0,2,2\na/X.png,0,0,4,4\na/x.PNG,0,0,6,6\n")
    dataset = load_dataset("folder", tmp_path)
    assert sorted(dataset.samples.name) == ["a/X.png", "a/x.PNG", "a/x.png"]
    rows = {name: row for row, name in enumerate(dataset.samples.name)}
    assert {name: int(dataset.image(row, 8, "crop").max()) for name, row in rows.items()} == {
        "a/x.png": 10, "a/X.png": 200, "a/x.PNG": 90,
    }  # fmt: skip
    assert [int(dataset.box(rows[name], 8, "crop")[2]) for name in ("a/x.png", "a/X.png", "a/x.PNG")] == [2, 4, 6]

"""A damaged laid-out file is one line, whichever way HDF5 takes it and whatever a run does with it."""

import h5py
import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import DIGESTS, FIELDS
from tests.clp_aug.staged import BLOCKS, begun, has, staging

DAMAGED = r"^.*x\.h5\.parts is damaged; give --overwrite to start again$"
BOXES = "boxes-meta-000000"


def flipped(text, letter=1):
    """Return what flips a bit near a text of the file: of an attribute or of a name, which have checksums."""

    def damage(path):
        data = bytearray(path.read_bytes())
        data[data.index(text) + letter] ^= 1
        path.write_bytes(data)

    return damage


def cut_short(path):
    path.write_bytes(path.read_bytes()[:3000])


def without_tables(path):
    with h5py.File(path, "r+") as file:
        for name in FIELDS.keys() - DIGESTS.keys():
            del file[name]


def with_groups_for_tables(path):
    with h5py.File(path, "r+") as file:
        for name in FIELDS:
            del file[name]
            file.create_group(name)


def with_shorter_tables(path):
    with h5py.File(path, "r+") as file:
        for name in ("meta/box", "meta/fill"):
            values = file[name][:3]
            del file[name]
            file[name] = values


OPENED = {
    "attribute": flipped(b"class_names"),
    "root": flipped(b"meta"),
    "names of data sets": flipped(b"parent_id"),
    "cut short": cut_short,
    "no tables": without_tables,
    "groups": with_groups_for_tables,
    "shorter": with_shorter_tables,
    "links to itself": lambda path: linked(path),
}


def linked(path):
    with h5py.File(path, "r+") as file:
        del file["meta/box"]
        file["meta/box"] = h5py.SoftLink("/meta/box")


@pytest.mark.parametrize("damage", OPENED.values(), ids=OPENED)
def test_a_run_does_not_go_on_in_a_damaged_file(tmp_path, damage):
    one = begun(tmp_path, BOXES)
    one.blank.close()
    damage(one.blank.path)
    with pytest.raises(InputError, match=DAMAGED):
        staging(tmp_path).open(resume=True, overwrite=False)


LATER = {name: OPENED[name] for name in ("attribute", "names of data sets", "cut short", "no tables")}
ACTS = {
    "read": lambda one: one.read("meta/box"),
    "fill": lambda one: one.fill("meta/fill", 0, np.zeros(3)),
    "content": lambda one: one.content(BLOCKS[BOXES]),
    "has": lambda one: has(one, BOXES),
    "publish": lambda one: one.publish(),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("damage", LATER)
def test_a_file_that_is_damaged_while_a_run_is_at_work(tmp_path, damage, act):
    one = begun(tmp_path, BOXES)
    one.blank.close()
    LATER[damage](one.blank.path)
    if damage == "attribute" and act != "publish":
        ACTS[act](one)  # only the seal is made of attributes
        return
    with pytest.raises(InputError, match=DAMAGED):
        ACTS[act](one)
    assert not one.shard.exists()


@pytest.mark.parametrize("kind", [OSError, KeyError, RuntimeError])
@pytest.mark.parametrize("act", ["read", "fill", "content", "has", "publish", "open"])
def test_a_disk_that_refuses_through_hdf5_is_not_called_damage(tmp_path, monkeypatch, act, kind):
    """HDF5 says so in the text of whatever h5py raises; to start anew would lose what is finished."""
    one = begun(tmp_path, BOXES)
    one.blank.close()

    def refuse(*_, **__):
        raise kind("Unable to open object (file read failed: time = today\n, errno = 5, error message = 'x')")

    monkeypatch.setattr("h5py.File", refuse)
    acts = {**ACTS, "open": lambda one: staging(tmp_path).open(resume=True, overwrite=False)}
    with pytest.raises(
        InputError, match=r"^cannot (read|write) .*shard\.h5 \(Input/output error\); look at the disk, o"
    ):
        acts[act](one)


MARKS = {
    "list": b"[]", "no pictures": b'{"content": "x"}', "text": b'{"content": "x", "pictures": "y"}',
    "lists": b'{"content": %s, "pictures": {"cat/1.jpg": []}}', "deep": b"[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS)
def test_a_strange_mark_is_none(tmp_path, mark):
    one = begun(tmp_path, BOXES)
    content = one.content(BLOCKS[BOXES])
    (one.folder / f"{BOXES}.done").write_bytes(mark.replace(b"%s", f'"{content}"'.encode()))
    assert not has(one, BOXES)

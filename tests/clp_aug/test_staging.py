"""The folder of an unfinished run: what stands in its way, what it goes on with, and what it publishes."""

import errno
import os

import h5py
import numpy as np
import pytest

from clp_aug.contract.blank import lay_out
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.schema import FIELDS, SEAL
from clp_aug.contract.shards import ShardReader
from clp_aug.staging import HDF5, Staging
from tests.clp_aug.builders import make_parts

PARTS = make_parts()
SIZES = {"N": 12, "M": 6, "K": 4, "H": 8, "W": 10}
BLOCKS = {  # what a run's blocks fill
    "infill-000000": {"meta/images": (0, 6), "meta/fill": (0, 6)},
    "infill-000001": {"meta/images": (6, 12), "meta/fill": (6, 12)},
    "boxes-meta-000000": {"look/matte": (0, 4), "meta/box": (0, 12)},
}
PICTURES = {"cat/1.jpg": "a1", "cat/2.jpg": "b2"}


def staging(tmp_path, **key):
    return Staging(tmp_path / "out" / "x.h5", {"seed": 0, **key})


def begin(one):
    """Lay a file out, as a run does, and let the folder be gone on with."""
    lay_out(one.blank.path, PARTS.header, FIELDS, SIZES)
    for name, table in PARTS.tables.items():
        one.fill(name, 0, table)
    one.begin()


def do(one, block):
    """Fill the pictures of a block and mark it."""
    for name, (start, stop) in BLOCKS[block].items():
        if name == "meta/images":
            one.fill(name, start, PARTS.images[start:stop])
        elif name == "look/matte":
            one.fill(name, start, PARTS.mattes[start:stop])
    one.mark(block, BLOCKS[block], PICTURES)


def begun(tmp_path, *blocks):
    """Return a run that has finished some blocks."""
    one = staging(tmp_path)
    assert one.open(resume=False, overwrite=False), "a new run"
    begin(one)
    for block in blocks:
        do(one, block)
    return one


def has(one, block, pictures=PICTURES):
    return one.has(block, BLOCKS[block], lambda: pictures)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_marks_survive_in_the_folder(tmp_path):
    one = begun(tmp_path)
    assert not any(has(one, block) for block in BLOCKS)
    do(one, "infill-000000")
    two = staging(tmp_path)
    assert not two.open(resume=True, overwrite=False), "a run to go on with"
    assert [has(two, block) for block in BLOCKS] == [True, False, False]
    two.remove_if_empty()
    assert two.folder.exists()
    assert two.open(resume=False, overwrite=True)
    assert not has(two, "infill-000000")
    two.remove_if_empty()
    assert not two.folder.exists()


def lose(name, rows):
    """Return what puts zeros where a power cut has lost what was written, behind HDF5's back."""

    def change(one):
        with h5py.File(one.blank.path, "r+") as file:
            file[name][rows] = 0

    return change


def empty_mark(one):
    (one.folder / "infill-000000.done").write_bytes(b"")


def half_a_mark(one):
    mark = one.folder / "infill-000000.done"
    mark.write_bytes(mark.read_bytes()[:20])


def mark_of_zeros(one):
    mark = one.folder / "infill-000000.done"
    mark.write_bytes(bytes(mark.stat().st_size))


def mark_of_another_block(one):
    do(one, "infill-000001")
    (one.folder / "infill-000001.done").replace(one.folder / "infill-000000.done")


def everything(one):
    for name in ("meta/images", "meta/digest", "meta/fill"):
        lose(name, slice(None))(one)


def flipped_bit(one):
    data = bytearray(one.blank.path.read_bytes())
    data[data.find(PARTS.images[2].tobytes()) + 5] ^= 4
    one.blank.path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lose("meta/images", 0), lose("meta/images", 5), lose("meta/digest", 3), lose("meta/fill", slice(1, 6)),
        everything, empty_mark, half_a_mark, mark_of_zeros, mark_of_another_block, flipped_bit,
    ],
    ids=[
        "first picture", "last picture", "digest", "fills", "everything", "empty mark", "half a mark", "zeros",
        "other block", "bit",
    ],
)  # fmt: skip
def test_a_block_whose_bytes_did_not_come_to_the_disk_is_made_again(tmp_path, damage):
    one = begun(tmp_path, "infill-000000")
    assert has(one, "infill-000000")
    damage(one)
    assert not has(one, "infill-000000")
    do(one, "infill-000000")
    assert has(one, "infill-000000")


def test_damage_elsewhere_makes_no_block_again(tmp_path):
    one = begun(tmp_path, *BLOCKS)
    lose("meta/images", 7)(one)
    assert [has(one, block) for block in BLOCKS] == [True, False, True]


@pytest.mark.parametrize("now", [{**PICTURES, "cat/2.jpg": "c3"}, {"cat/1.jpg": "a1"}])
def test_a_run_does_not_go_on_with_pictures_that_have_changed(tmp_path, now):
    one = begun(tmp_path, "infill-000000")
    with pytest.raises(UsageError, match=r"is of a run on other pictures: cat/2\.jpg has changed since; give --overwr"):
        has(one, "infill-000000", now)


def test_what_stands_in_the_way(tmp_path):
    one = begun(tmp_path)
    with pytest.raises(
        UsageError, match=r"x\.h5\.parts holds an unfinished run; give --resume to go on or --overwrite"
    ):
        staging(tmp_path).open(False, False)
    with pytest.raises(UsageError, match=r"is of a run with seed = 0, now 1; give --overwrite to start anew"):
        staging(tmp_path, seed=1).open(True, False)
    one.shard.write_bytes(HDF5)
    with pytest.raises(UsageError, match=r"x\.h5 exists and is damaged, or give --overwrite, or another --out"):
        staging(tmp_path).open(False, False)


@pytest.mark.parametrize("content", [b"{", b"", b"[" * 100_000, b"\xff", b"[]", b"1"])
@pytest.mark.parametrize("file", ["manifest", "blank"])
def test_a_damaged_folder_is_one_line(tmp_path, content, file):
    one = begun(tmp_path)
    (one.manifest if file == "manifest" else one.blank.path).write_bytes(content)
    with pytest.raises(InputError, match=r"x\.h5\.parts is damaged; give --overwrite to start anew"):
        staging(tmp_path).open(True, False)


@pytest.mark.parametrize("left", [[], ["shard.h5"], ["shard.h5", "run.json.tmp-0123456789abcdef"], ["infill-0.done"]])
def test_what_a_run_left_that_died_before_it_had_begun_stands_in_nobodys_way(tmp_path, left):
    one = staging(tmp_path)
    one.folder.mkdir(parents=True)
    for name in left:
        (one.folder / name).write_bytes(b"half")
    assert one.open(resume=False, overwrite=False)
    assert names(one.folder) == []


def test_a_folder_of_the_user_is_not_removed(tmp_path):
    one = staging(tmp_path)
    one.folder.mkdir(parents=True)
    (one.folder / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match=r"x\.h5\.parts holds thesis\.tex, which is not ours; move it, or give"):
        one.open(resume=False, overwrite=True)
    assert names(one.folder) == ["thesis.tex"]


def test_publish_gives_the_sealed_shard_its_name_and_clears_the_folder(tmp_path):
    one = begun(tmp_path, *BLOCKS)
    one.publish(PARTS.header)
    assert names(one.shard.parent) == ["x.h5"]
    assert one.shard.read_bytes() == PARTS.write(tmp_path / "expected.h5").read_bytes()


@pytest.mark.parametrize(
    "damage",
    [lose("meta/images", 1), lose("look/matte", 2), lose("meta/digest", 0), flipped_bit, lose("train/box", 0)],
    ids=["picture", "matte", "digest", "bit", "no box"],
)
def test_what_is_not_what_was_written_is_not_published(tmp_path, damage):
    one = begun(tmp_path, *BLOCKS)
    damage(one)
    with pytest.raises(InputError, match=r"the disk gave back other bytes than were written \(shard .*then --resume"):
        one.publish(PARTS.header)
    assert not one.shard.exists()
    assert one.manifest.exists(), "it can be gone on with"


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*file/x\.h5\.parts \(Not a directory\); a part of the path"):
        Staging(tmp_path / "file" / "x.h5", {}).open(False, False)


@pytest.mark.parametrize("name", ["x" * 250, "x" * 300, "a\0b"])
def test_names_that_no_file_can_have(tmp_path, name):
    with pytest.raises(InputError, match=r"cannot write .*; choose a(nother name| shorter name)"):
        Staging(tmp_path / name, {}).open(False, False)


def refusing(error):
    def refuse(*_, **__):
        raise OSError(error, os.strerror(error))

    return refuse


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EROFS])
@pytest.mark.parametrize(
    ("call", "act"),
    [
        ("os.pwrite", lambda one: one.fill("meta/fill", 0, np.zeros(3))),
        ("os.open", lambda one: one.fill("meta/fill", 0, np.zeros(3))),
        ("pathlib.Path.write_text", lambda one: one.mark("infill-000000", BLOCKS["infill-000000"], PICTURES)),
        ("h5py.File", lambda one: one.read("meta/box")),
        ("h5py.File", lambda one: staging(one.shard.parents[1]).open(True, False)),
        ("h5py.File", lambda one: one.publish(PARTS.header)),
        ("os.pwrite", lambda one: one.publish(PARTS.header)),
        ("os.replace", lambda one: one.publish(PARTS.header)),
        ("os.fsync", lambda one: one.begin()),
        ("os.fsync", lambda one: one.publish(PARTS.header)),
        ("pathlib.Path.mkdir", lambda one: staging(one.shard.parent).open(False, True)),
        ("shutil.rmtree", lambda one: one.open(False, True)),
    ],
    ids=[
        "fill",
        "open",
        "mark",
        "read",
        "go on",
        "read all",
        "seal",
        "rename",
        "sync",
        "sync all",
        "folder",
        "old folder",
    ],
)
def test_a_disk_that_refuses_is_one_line(tmp_path, monkeypatch, error, call, act):
    one = begun(tmp_path, *BLOCKS)
    one.blank.close()
    monkeypatch.setattr(call, refusing(error))
    with pytest.raises(InputError, match=r"cannot (write|read) .*; (look|free|raise|choose)"):
        act(one)


def test_a_folder_that_cannot_be_removed_does_not_fail_a_complete_run(tmp_path, monkeypatch):
    one = begun(tmp_path, *BLOCKS)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", refusing(errno.EROFS))
        patch.setattr(os, "unlink", refusing(errno.EROFS))
        one.publish(PARTS.header)
    ShardReader(one.shard).verify()
    with pytest.raises(UsageError, match="exists"):
        staging(tmp_path).open(False, False)
    assert staging(tmp_path).open(False, True)


@pytest.mark.parametrize(("resume", "overwrite"), [(True, False), (False, False)])
def test_who_is_told_that_the_shard_is_there_finds_no_folder_beside_it(tmp_path, resume, overwrite):
    """The run was killed after it had published, while it removed its folder."""
    one = begun(tmp_path, *BLOCKS)
    PARTS.write(one.shard)
    one.blank.path.unlink()
    with pytest.raises(UsageError, match="exists"):
        staging(tmp_path).open(resume, overwrite)
    assert names(one.shard.parent) == ["x.h5"]


def test_a_killed_run_that_was_to_replace_a_shard_goes_on(tmp_path):
    one = staging(tmp_path)
    one.shard.parent.mkdir()
    one.shard.write_bytes(HDF5 + b"old")
    assert one.open(resume=False, overwrite=True)
    begin(one)
    for block in BLOCKS:
        do(one, block)
    for overwrite in (False, True):
        assert not staging(tmp_path).open(resume=True, overwrite=overwrite)
        assert has(one, "infill-000000")
    one.publish(PARTS.header)
    ShardReader(one.shard).verify()


@pytest.mark.parametrize("at", ["before", "after"])
def test_killed_while_it_is_published_nothing_is_lost(tmp_path, monkeypatch, at):
    """The file has the one name or the other, whenever the end comes."""
    one, replace = begun(tmp_path, *BLOCKS), os.replace

    def killed(*two_names):
        if at == "after":
            replace(*two_names)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            one.publish(PARTS.header)
    assert one.shard.exists() == (at == "after")
    if at == "before":
        assert not staging(tmp_path).open(resume=True, overwrite=False)
        assert has(one, "infill-000000"), "the seal is no part of a block"
        one.publish(PARTS.header)
    assert ShardReader(one.shard).tables.keys() == PARTS.tables.keys()
    with h5py.File(one.shard) as file:
        assert file[SEAL][...].any()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_shard_is_not_replaced(tmp_path, overwrite):
    one = staging(tmp_path)
    one.shard.mkdir(parents=True)
    with pytest.raises(UsageError, match=r"^--out .*x\.h5 is a folder; give the name of a file in it$"):
        one.open(False, overwrite)
    one.shard.rmdir()
    one.shard.write_text("dear diary")
    with pytest.raises(UsageError, match=r"^--out .*x\.h5 is a file of another kind, which is not replaced; give"):
        one.open(False, overwrite)
    assert one.shard.read_text() == "dear diary"


def test_changed_names_are_named_as_such(tmp_path):
    one = staging(tmp_path, fingerprint="a" * 64)
    one.open(False, False)
    begin(one)
    with pytest.raises(UsageError, match="is of a run on other pictures: names, labels or splits have changed"):
        staging(tmp_path, fingerprint="b" * 64).open(True, False)

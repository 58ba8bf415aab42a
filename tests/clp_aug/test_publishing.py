"""What an unfinished run publishes, and what a disk that refuses is told as."""

import errno
import os
import pickle

import h5py
import numpy as np
import pytest

from clp_aug.contract import rereading
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.schema import SEAL
from clp_aug.contract.shards import ShardReader
from clp_aug.staging import Staging
from tests.clp_aug.staged import BLOCKS, PARTS, PICTURES, begun, flipped_bit, has, lose, names, staging


def test_publish_gives_the_sealed_shard_its_name_and_clears_the_folder(tmp_path):
    one = begun(tmp_path, *BLOCKS)
    one.publish()
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
    with pytest.raises(
        InputError, match=r"the disk returned other bytes than were written \(shard .*then give --resume"
    ):
        one.publish()
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
        ("h5py.File", lambda one: one.publish()),
        ("os.pwrite", lambda one: one.publish()),
        ("os.replace", lambda one: one.publish()),
        ("os.fsync", lambda one: one.begin()),
        ("os.fsync", lambda one: one.publish()),
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
        one.publish()
    ShardReader(one.shard).verify()
    with pytest.raises(UsageError, match="exists"):
        staging(tmp_path).open(False, False)
    assert staging(tmp_path).open(False, True)


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
            one.publish()
    assert one.shard.exists() == (at == "after")
    if at == "before":
        assert not staging(tmp_path).open(resume=True, overwrite=False)
        assert has(one, "infill-000000"), "the seal is no part of a block"
        one.publish()
    assert ShardReader(one.shard).tables.keys() == PARTS.tables.keys()
    with h5py.File(one.shard) as file:
        assert file[SEAL][...].any()


def test_others_may_read_a_shard_again(tmp_path, monkeypatch):
    monkeypatch.setattr(rereading, "MOST", 5)
    one, parts, told = begun(tmp_path, *BLOCKS), [], []

    def work(asked):
        parts.extend(asked)
        reader = ShardReader(one.blank.path)
        return map(pickle.loads(pickle.dumps(rereading.Reread.at)), parts, [reader] * len(parts))

    one.publish(told.append, work)
    assert [(part.name, part.start, part.stop) for part in parts] == [
        ("meta/images", 0, 5), ("meta/images", 5, 10), ("meta/images", 10, 12), ("look/matte", 0, 4),
    ]  # fmt: skip
    assert told == [5, 5, 2, 4]
    ShardReader(one.shard).verify()

"""A file of the cache holds what was written, all of it, or is refused in one line; one process makes it."""

import errno
import hashlib
import os
import threading

import numpy as np
import pytest
import torch
from filelock import FileLock

from clp_aug.common.locks import lock_of
from clp_aug.contract.errors import InputError
from clp_train.loading import cache
from clp_train.loading.cache import digest_of, load_or_fill, moved, path_of

SHAPE = (7, 3, 2)
VALUES = np.arange(42, dtype=np.uint8).reshape(SHAPE)
NAME = f"{'a' * 24}.array"


def never(*_):
    raise AssertionError("made again")


def filled(path, values=VALUES):
    return load_or_fill(path, values.shape, values.dtype.type, lambda row: [values[row:]])


@pytest.mark.parametrize(("shape", "dtype"), [((7, 3, 2), np.uint8), ((5, 4), np.float32), ((0, 4), np.float32)])
def test_what_was_written_in_parts_is_read(tmp_path, shape, dtype):
    values = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    path = path_of(tmp_path / "new" / "cache", "key", 1)
    first = load_or_fill(path, shape, dtype, lambda row: np.asfortranarray(values)[row:])
    again = load_or_fill(path, shape, dtype, never)
    for found in (first, again):
        assert torch.equal(found, torch.from_numpy(values))
        assert digest_of(found) == digest_of(torch.from_numpy(values))
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no lock, nothing unfinished"


def test_writing_into_the_array_leaves_the_file(tmp_path):
    filled(tmp_path / NAME)[:] = 9
    assert torch.equal(load_or_fill(tmp_path / NAME, SHAPE, np.uint8, never), torch.from_numpy(VALUES))


def test_arrays_of_the_same_bytes_have_other_digests():
    zeros = [torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(2, 3, dtype=torch.int32), torch.zeros(6)]
    assert len(set(map(digest_of, zeros))) == len(zeros)


@pytest.mark.parametrize("values", [
    torch.arange(30, dtype=torch.uint8).view(5, 3, 2), torch.randn(7, 4).T, torch.randn(3, 0), torch.randn(0, 3),
    torch.tensor(5), torch.tensor([True, False]), torch.randn(6, 2, 2)[::2],
], ids=lambda values: f"{tuple(values.shape)}")  # fmt: skip
@pytest.mark.parametrize("copied", [1, 9, 1 << 26])
def test_a_digest_is_of_all_bytes_however_many_are_copied_at_a_time(monkeypatch, values, copied):
    array = values.numpy()
    expected = hashlib.sha256(repr((array.shape, array.dtype.str)).encode() + array.tobytes()).hexdigest()
    monkeypatch.setattr(cache, "COPIED", copied)
    assert digest_of(values) == expected


def test_what_is_known_of_a_cached_array_is_known_where_it_is_moved(tmp_path):
    values = filled(tmp_path / NAME)
    assert moved(values, values.device) is values
    elsewhere = moved(values, torch.device("meta"))
    assert elsewhere.device.type == "meta"
    assert digest_of(elsewhere) == digest_of(values), "though no byte of it can be read there"
    assert moved(torch.zeros(2), torch.device("meta")) not in cache.KNOWN


def changed(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


SIZE = 42 + 3 * 32 + 8  # values, a block's digest, the array's, rows of a block, seal
OTHER = "other bytes than were written"
OF_BLOCK = f"block 1 of 1, rows 0 to 6: {OTHER}"
DAMAGES = {
    "empty": (lambda data: b"", f"0 bytes, expected {SIZE}"),
    "cut": (lambda data: data[:-1], f"{SIZE - 1} bytes, expected {SIZE}"),
    "too long": (lambda data: data + b"\0", f"{SIZE + 1} bytes, expected {SIZE}"),
    "as long as one of an earlier version": (lambda data: data[:74], OTHER),
    "a bit of the first value": (lambda data: changed(data, 0), OF_BLOCK),
    "a bit of the last value": (lambda data: changed(data, 41), OF_BLOCK),
    "a bit of a block's digest": (lambda data: changed(data, 42), OTHER),
    "a bit of the array's digest": (lambda data: changed(data, 74), OTHER),
    "a bit of the rows of a block": (lambda data: changed(data, 106), OTHER),
    "a bit of the seal": (lambda data: changed(data, SIZE - 1), OTHER),
    "zeros, as after a power cut": (lambda data: bytes(SIZE), OTHER),
    "another format": (lambda data: b"\x93NUMPY".ljust(SIZE), OTHER),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(tmp_path, damage):
    change, message = DAMAGES[damage]
    path = tmp_path / NAME
    filled(path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=rf"{NAME}: damaged cache \({message}\); remove it"):
        load_or_fill(path, SHAPE, np.uint8, never)


@pytest.mark.parametrize(("shape", "dtype"), [((3, 7, 2), np.uint8), (SHAPE, np.int8)])
def test_so_is_the_file_of_another_array_of_the_same_size(tmp_path, shape, dtype):
    filled(tmp_path / NAME)
    with pytest.raises(InputError, match="damaged cache"):
        load_or_fill(tmp_path / NAME, shape, dtype, never)


def test_no_change_of_a_file_gets_through(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / NAME
    filled(path)
    good = path.read_bytes()
    for _ in range(400):
        data = bytearray(good)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(256)
        data = data[: rng.integers(len(data))] if rng.random() < 0.2 else data
        path.write_bytes(data)
        if data == good:
            continue
        with pytest.raises(InputError, match="damaged cache"):
            load_or_fill(path, SHAPE, np.uint8, never)


def test_one_makes_it_and_others_wait_for_it(tmp_path, monkeypatch):
    path, begun, asked, calls = tmp_path / NAME, threading.Event(), threading.Event(), []
    held_for = cache.held_for

    def noticed(*args, **options):
        if begun.is_set():
            asked.set()
        return held_for(*args, **options)

    def parts(_):
        calls.append(1)
        begun.set()
        assert asked.wait(20), "nobody else asked for the lock"
        yield VALUES

    def make():
        found.append(load_or_fill(path, SHAPE, np.uint8, parts))

    monkeypatch.setattr(cache, "held_for", noticed)
    found = []
    threads = [threading.Thread(target=make) for _ in range(2)]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert calls == [1]
    assert all(torch.equal(values, torch.from_numpy(VALUES)) for values in found)
    assert len(found) == 2


def old_file(path, values):
    """Write the file of an earlier version: the values, and sha256 over shape, type and values."""
    digest = hashlib.sha256(repr((values.shape, values.dtype.str)).encode() + values.tobytes())
    path.write_bytes(values.tobytes() + digest.digest())
    return digest.hexdigest()


@pytest.mark.parametrize("values", [VALUES, np.arange(20, dtype=np.float32).reshape(5, 4), np.zeros((0, 4), np.uint8)])
def test_a_file_of_an_earlier_version_is_read_and_its_digest_is_the_same(tmp_path, values):
    digest = old_file(tmp_path / NAME, values)
    before = (tmp_path / NAME).read_bytes()
    found = load_or_fill(tmp_path / NAME, values.shape, values.dtype.type, never)
    assert torch.equal(found, torch.from_numpy(values))
    assert digest_of(found) == digest == digest_of(torch.from_numpy(values))
    assert (tmp_path / NAME).read_bytes() == before
    assert digest_of(filled(tmp_path / f"{'b' * 24}.array", values)) == digest, "as the new file's"


@pytest.mark.parametrize("at", [0, 41, 42, 73])
def test_one_that_is_damaged_is_refused(tmp_path, at):
    old_file(tmp_path / NAME, VALUES)
    (tmp_path / NAME).write_bytes(changed((tmp_path / NAME).read_bytes(), at))
    with pytest.raises(InputError, match=rf"{NAME}: damaged cache \({OTHER}\); remove it"):
        load_or_fill(tmp_path / NAME, SHAPE, np.uint8, never)


def test_one_that_is_there_needs_no_lock(tmp_path, monkeypatch):
    filled(tmp_path / NAME)
    monkeypatch.setattr(cache, "held_for", never)
    load_or_fill(tmp_path / NAME, SHAPE, np.uint8, never)


def test_the_lock_of_one_that_was_killed_at_the_very_end_goes_and_one_that_is_held_stays(tmp_path):
    path = tmp_path / NAME
    filled(path)
    lock_of(path).write_bytes(b"")
    load_or_fill(path, SHAPE, np.uint8, never)
    assert os.listdir(tmp_path) == [NAME]
    with FileLock(lock_of(path)):
        load_or_fill(path, SHAPE, np.uint8, never)
        assert lock_of(path).exists()


FULL = (errno.ENOSPC, r"No space left on device\); free some space or choose another place")


@pytest.mark.parametrize(("code", "message"), [FULL, (errno.EDQUOT, r"Disk quota exceeded\); free some space")])
def test_a_full_disk_is_known_before_the_first_part(tmp_path, monkeypatch, code, message):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with pytest.raises(InputError, match=rf"cannot write .*{NAME} \({message}"):
        load_or_fill(tmp_path / NAME, SHAPE, np.uint8, never)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL, None])
def test_where_no_room_can_be_kept_it_is_written_all_the_same(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    if code is None:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    assert torch.equal(filled(tmp_path / NAME), torch.from_numpy(VALUES))


def test_a_disk_that_fills_up_meanwhile_is_one_line(tmp_path):
    def parts(_):
        yield VALUES[:3]
        raise OSError(*FULL[:1], "No space left on device")

    with pytest.raises(InputError, match=rf"cannot write .*{NAME} \({FULL[1]}"):
        load_or_fill(tmp_path / NAME, SHAPE, np.uint8, parts)
    assert not list(tmp_path.iterdir())


def test_parts_that_are_no_whole_are_a_fault_of_ours(tmp_path):
    with pytest.raises(ValueError, match="the parts have 18 bytes, expected 42 for uint8"):
        load_or_fill(tmp_path / NAME, SHAPE, np.uint8, lambda _: [VALUES[:3]])
    assert not list(tmp_path.iterdir())


def test_what_killed_runs_left_is_removed_and_what_another_is_making_is_not(tmp_path):
    gone, busy = (tmp_path / f"{letter * 24}.array" for letter in "bc")
    for path in (tmp_path / NAME, gone, busy):
        path.with_name(f"{path.name}.tmp-0123456789abcdef").write_bytes(b"half")
    lock_of(gone).write_bytes(b"")
    (tmp_path / "mine.txt").write_text("kept")
    with FileLock(lock_of(busy)):
        filled(tmp_path / NAME)
        left = {path.name for path in tmp_path.iterdir()}
    assert left == {NAME, "mine.txt", f"{busy.name}.tmp-0123456789abcdef", lock_of(busy).name}


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file", "cannot make folder .*file .File exists.; choose another name"),
        ("file/in/it", "cannot make folder .*file/in/it .Not a directory.; a part of the path is a file"),
        ("n" * 300, "cannot (make folder|read) .* .File name too long.; choose a shorter name"),
    ],
)
def test_a_folder_that_cannot_be_one_is_one_line(tmp_path, place, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=message):
        load_or_fill(path_of(tmp_path / place, 1), SHAPE, np.uint8, never)


def test_a_folder_in_the_place_of_a_file_is_one_line(tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(InputError, match=rf"cannot read .*{NAME} \(Is a directory\)"):
        load_or_fill(tmp_path / NAME, SHAPE, np.uint8, never)

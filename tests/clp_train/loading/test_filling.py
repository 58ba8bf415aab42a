"""A file of the cache that was not finished goes on with its first missing block, after whatever ended the process."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from clp_aug.common.locks import lock_of
from clp_aug.contract.errors import InputError
from clp_train.loading import blocks, filling
from clp_train.loading.blocks import Layout
from clp_train.loading.cache import digest_of, load_or_fill
from clp_train.loading.filling import unfinished

NAME = f"{'a' * 24}.array"
SHAPE = (23, 5)
VALUES = np.arange(115, dtype=np.uint8).reshape(SHAPE)
ROWS = 4  # of a block: six blocks, the last of three rows


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", ROWS * 5 + 1)


def never(*_):
    raise AssertionError("made again")


def until(stop, error=Killed, values=VALUES, asked=None):
    """Return what makes the array row by row, and raises before row `stop`."""

    def parts(row):
        if asked is not None:
            asked.append(row)
        for i in range(row, len(values)):
            if i == stop:
                raise error
            yield values[i]

    return parts


def load(path, parts):
    return load_or_fill(path, SHAPE, np.uint8, parts)


def begin(path, stop):
    with pytest.raises(Killed):
        load(path, until(stop))


@pytest.mark.parametrize("stop", range(len(VALUES)))
def test_it_goes_on_after_the_last_whole_block_and_is_the_same_file(tmp_path, stop):
    whole, path = tmp_path / "whole" / NAME, tmp_path / NAME
    load(whole, until(None))
    begin(path, stop)
    asked = []
    found = load(path, until(None, asked=asked))
    assert asked == [stop // ROWS * ROWS]
    assert torch.equal(found, torch.from_numpy(VALUES))
    assert digest_of(found) == digest_of(torch.from_numpy(VALUES))
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(os.listdir(tmp_path)) == [NAME, "whole"]


def test_killed_again_and_again_no_whole_block_is_made_twice(tmp_path):
    asked = []
    for stop in (5, 7, 9, 20, 22):
        with pytest.raises(Killed):
            load(tmp_path / NAME, until(stop, asked=asked))
    assert torch.equal(load(tmp_path / NAME, until(None, asked=asked)), torch.from_numpy(VALUES))
    assert asked == [0, 4, 4, 8, 20, 20]


def test_what_was_all_made_and_not_named_is_not_made_again(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(filling, "move", lambda *_: (_ for _ in ()).throw(Killed))
        begin(tmp_path / NAME, None)
    assert torch.equal(load(tmp_path / NAME, never), torch.from_numpy(VALUES))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_in_parts_and_blocks_of_any_size_the_file_is_that_of_its_description(tmp_path_factory, data):
    n, width, block, part, together = (data.draw(st.integers(low, 9)) for low in (0, 0, 1, 1, 1))
    values = np.random.default_rng(n).integers(0, 256, (n, width), np.uint8).astype(np.uint16)
    path = tmp_path_factory.mktemp("cache") / NAME
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block)
        rows = max(1, block // max(1, width * 2 * together)) * together

        def parts(row):
            assert row % together == 0
            return [values[i : i + part] for i in range(row, n, part)]

        found = load_or_fill(path, values.shape, np.uint16, parts, together)
    assert torch.equal(found, torch.from_numpy(values))
    assert path.read_bytes() == described(values, rows)


def described(values, rows):
    """Return the bytes of a file as the module `blocks` describes it."""
    head, whole = (values.shape, values.dtype.str), values.tobytes()
    made = [values[i : i + rows].tobytes() for i in range(0, len(values), rows)] if whole else []
    digests = b"".join(hashlib.sha256(repr((*head, rows, k)).encode() + block).digest() for k, block in enumerate(made))
    digests += hashlib.sha256(repr(head).encode() + whole).digest()
    count = rows.to_bytes(8, "little")
    return whole + digests + count + hashlib.sha256(repr(head).encode() + digests + count).digest()


def test_rows_that_are_made_together_are_asked_for_together(tmp_path):
    asked = []
    for stop in (11, 20, None):
        with pytest.raises(Killed) if stop else pytest.MonkeyPatch.context():
            load_or_fill(tmp_path / NAME, SHAPE, np.uint8, until(stop, asked=asked), together=3)
    assert asked == [0, 9, 18]


@pytest.mark.parametrize("error", [InputError("a/b.jpg: cannot be read"), KeyboardInterrupt(), OSError(errno.EIO, "x")])
def test_whole_blocks_stay_whatever_was_raised(tmp_path, error):
    with pytest.raises(InputError if isinstance(error, OSError) else type(error)):
        load(tmp_path / NAME, until(9, error))
    asked = []
    load(tmp_path / NAME, until(None, asked=asked))
    assert asked == [8]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "quota")])
def test_on_a_full_disk_nothing_stays(tmp_path, error):
    with pytest.raises(InputError, match=rf"cannot write .*{NAME} \((full|quota)\); free some space"):
        load(tmp_path / NAME, until(9, error))
    assert not os.listdir(tmp_path)


def test_nothing_stays_without_a_whole_block(tmp_path):
    begin(tmp_path / NAME, 3)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("block", range(3))
def test_a_block_that_was_damaged_meanwhile_is_made_again_with_those_after_it(tmp_path, block):
    begin(tmp_path / NAME, 13)
    place = unfinished(tmp_path / NAME)
    data = bytearray(place.read_bytes())
    data[block * ROWS * 5 + 7] ^= 1
    place.write_bytes(data)
    asked = []
    assert torch.equal(load(tmp_path / NAME, until(None, asked=asked)), torch.from_numpy(VALUES))
    assert asked == [block * ROWS]


@pytest.mark.parametrize("data", [b"", b"junk", bytes(379), bytes(380), bytes(381), b"\xff" * 379])
def test_what_is_no_file_of_ours_is_begun_anew(tmp_path, data):
    unfinished(tmp_path / NAME).write_bytes(data)
    assert Layout.of(SHAPE, np.dtype(np.uint8)).file_size == 379
    assert torch.equal(load(tmp_path / NAME, until(None)), torch.from_numpy(VALUES))


def test_so_is_the_beginning_of_another_array(tmp_path):
    begin(tmp_path / NAME, 13)
    asked = []
    other = VALUES.reshape(5, 23)
    found = load_or_fill(tmp_path / NAME, other.shape, np.uint8, until(None, values=other, asked=asked))
    assert torch.equal(found, torch.from_numpy(other))
    assert asked == [0]


def test_what_was_begun_stays_a_week_and_goes_with_the_next_file_that_is_made(tmp_path):
    new, old, busy = (tmp_path / f"{letter * 24}.array" for letter in "bcd")
    for path in (new, old, busy):
        begin(path, 9)
    begin(tmp_path / NAME, 9)
    long_ago = time.time() - 8 * 24 * 3600
    for path in (old, busy, tmp_path / NAME):
        os.utime(unfinished(path), (long_ago, long_ago))
    with FileLock(lock_of(busy)):
        asked = []
        load(tmp_path / NAME, until(None, asked=asked))
        left = set(os.listdir(tmp_path))
    assert asked == [8], "however old"
    assert left == {NAME, unfinished(new).name, unfinished(busy).name, lock_of(busy).name}


@pytest.mark.parametrize("block", range(6))
def test_a_damaged_block_of_a_finished_file_is_named(tmp_path, monkeypatch, block):
    path = tmp_path / NAME
    load(path, until(None))
    data = bytearray(path.read_bytes())
    for k in range(block, 6):
        data[k * ROWS * 5 + 7] ^= 1
    path.write_bytes(data)
    rows = f"rows {block * ROWS} to {min(block * ROWS + 3, 22)}"
    message = rf"{NAME}: damaged cache \(block {block + 1} of 6, {rows}: other bytes than were written\); remove it"
    for threads in (1, 3):
        monkeypatch.setattr(blocks, "default_workers", lambda threads=threads: threads)
        with pytest.raises(InputError, match=message):
            load(path, never)
    path.unlink()
    assert torch.equal(load(path, until(None)), torch.from_numpy(VALUES))


def test_two_blocks_that_changed_places_are_noticed(tmp_path):
    path = tmp_path / NAME
    load(path, until(None))
    data = path.read_bytes()
    size = ROWS * 5
    path.write_bytes(data[size : 2 * size] + data[:size] + data[2 * size :])
    with pytest.raises(InputError, match="block 1 of 6"):
        load(path, never)


def test_a_file_of_other_blocks_is_read_too(tmp_path, monkeypatch):
    load(tmp_path / NAME, until(None))
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 24)
    assert torch.equal(load(tmp_path / NAME, never), torch.from_numpy(VALUES))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
def test_a_file_larger_than_all_memory_is_mapped(tmp_path):
    """Copy on write, though no memory could hold a copy."""
    with open("/proc/meminfo") as file:
        lines = dict(line.split(":") for line in file)
    size = 1024 * sum(int(lines[name].split()[0]) for name in ("MemTotal", "SwapTotal")) + (1 << 30)
    with open(tmp_path / "large", "wb") as file:
        try:
            file.truncate(size)
        except OSError:
            pytest.skip("this disk takes no file as large as memory")
    with open(tmp_path / "large", "rb") as file:
        values = blocks.mapped(file, (size,), np.dtype(np.uint8))
    assert values[-1] == 0
    values[-1] = 1
    assert values[-1] == 1


MAKER = """
import sys, time
from pathlib import Path
import numpy as np
from clp_train.loading import blocks
from clp_train.loading.cache import digest_of, load_or_fill

path, log, pause = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
blocks.BLOCK_BYTES = 1000

def parts(row):
    for i in range(row, 200):
        with open(log, "a") as file:
            file.write(f"{i}\\n")
        time.sleep(pause)
        yield np.full(500, i, np.uint8)

print(digest_of(load_or_fill(path, (200, 500), np.uint8, parts)))
"""


def maker(path, log, pause):
    command = [sys.executable, "-c", MAKER, str(path), str(log), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def made_rows(log):
    return [int(line) for line in log.read_text().split("\n")[:-1]] if log.exists() else []


def expected_digest():
    return digest_of(torch.arange(200, dtype=torch.uint8)[:, None].expand(200, 500).contiguous())


def test_a_process_that_is_killed_is_gone_on_with_by_another(tmp_path):
    log, path = tmp_path / "log", tmp_path / "cache" / NAME
    for least in (20, 60):
        with maker(path, log, 0.01) as process:
            while len(made_rows(log)) < least:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
    with maker(path, log, 0) as process:
        assert process.communicate()[0].strip() == expected_digest()
    rows = made_rows(log)
    assert set(rows) == set(range(200))
    assert len(rows) <= 200 + 2 * 3, "a block of two rows, and what was under way, is made again a kill"
    assert os.listdir(path.parent) == [NAME]


def test_processes_that_ask_at_once_make_it_once_and_all_get_it(tmp_path):
    log, path = tmp_path / "log", tmp_path / "cache" / NAME
    processes = [maker(path, log, 0.02) for _ in range(3)]
    try:
        assert {process.communicate()[0].strip() for process in processes} == {expected_digest()}
    finally:
        for process in processes:
            process.kill()
    assert made_rows(log) == list(range(200))
    assert os.listdir(path.parent) == [NAME]


def test_those_that_wait_go_on_when_the_one_that_makes_it_is_killed(tmp_path):
    log, path = tmp_path / "log", tmp_path / "cache" / NAME
    first = maker(path, log, 0.02)
    while len(made_rows(log)) < 30:
        time.sleep(0.01)
    second = maker(path, log, 0)
    try:
        time.sleep(0.5)
        first.kill()
        assert second.communicate()[0].strip() == expected_digest()
    finally:
        first.kill()
        second.kill()
        first.communicate()
    assert len(made_rows(log)) <= 200 + 3

"""Pictures are read alone, in threads, in processes: the same in the same order, a few ahead, and nothing goes on after
the end.
"""

import itertools
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clp_aug.contract.errors import InputError
from clp_aug.contract.images import MAX_PIXELS, read_rgb
from clp_aug.datasets import folder
from clp_train.loading import data, decoding
from clp_train.loading.decoding import AHEAD, block_of, default_workers, read_by_threads, read_in_order, soonest
from tests.clp_aug.datasets.tiny_sets import make_folder
from tests.clp_train.builders import config_of, load

WORKERS = (1, 2, 5)


class Counted:
    """Gives the number of a row as its picture, and notes what was asked for. broken: rows that raise."""

    def __init__(self, broken=()):
        self.broken, self.asked = broken, []

    def __call__(self, row):
        self.asked.append(row)
        if row in self.broken:
            raise InputError(f"picture {row}: broken")
        return np.array(row)


WAYS = ("alone", "threads", "processes")


def taken_in(monkeypatch, way):
    """Let pictures be read in a way, whatever they cost, from the fourth on."""
    monkeypatch.setattr(decoding, "soonest", lambda *_, **__: way)
    monkeypatch.setattr(decoding, "TRIED", 3)


def threads_of_load():
    return [thread for thread in threading.enumerate() if thread.name.startswith("LOAD")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 99), max_size=40), st.integers(1, 4), st.integers(1, 7))
def test_rows_are_read_once_and_in_order(rows, workers, block):
    for way in (read_in_order, read_by_threads):
        read = Counted()
        found = way(read, np.array(rows, np.int64), workers, block)
        assert list(map(int, found)) == rows
        assert sorted(read.asked) == sorted(rows)
        assert threads_of_load() == []


@pytest.mark.parametrize(("workers", "block"), [(1, 4), (2, 1), (2, 4), (3, 5)])
def test_no_more_than_some_blocks_are_read_ahead(workers, block, monkeypatch):
    taken_in(monkeypatch, "threads")
    read, most = Counted(), 1 if workers == 1 else workers * AHEAD * block
    for taken, _ in enumerate(read_in_order(read, np.arange(200), workers, block)):
        assert len(read.asked) <= taken + most


@pytest.mark.parametrize("workers", WORKERS)
def test_the_first_row_that_fails_is_the_one_that_is_told(workers, monkeypatch):
    taken_in(monkeypatch, "threads")
    read, taken = Counted(broken=(11, 12, 30, 31, 70)), []
    with pytest.raises(InputError, match=r"^picture 11: broken$"):
        taken.extend(map(int, read_in_order(read, np.arange(1000), workers, 3)))
    assert taken == list(range(11 if workers == 1 else 9)), "three that were tried, and whole blocks"
    assert len(read.asked) < 60
    assert threads_of_load() == []


@pytest.mark.parametrize("workers", WORKERS)
def test_who_stops_early_leaves_no_thread(workers, monkeypatch):
    taken_in(monkeypatch, "threads")
    read = Counted()
    pictures = read_in_order(read, np.arange(1000), workers, 4)
    assert [int(picture) for picture in itertools.islice(pictures, 5)] == [0, 1, 2, 3, 4]
    pictures.close()
    assert threads_of_load() == []
    assert len(read.asked) <= 5 + workers * AHEAD * 4


def test_who_stops_waits_for_no_whole_block(monkeypatch):
    began, stopped = threading.Event(), threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            stopped.set()
            super().shutdown(wait, cancel_futures=cancel_futures)

    def read(row):
        if row >= 8:
            began.set()
            stopped.wait(60)
        asked.append(row)
        return np.array(row)

    monkeypatch.setattr(decoding, "ThreadPoolExecutor", Pool)
    asked: list[int] = []
    pictures = read_by_threads(read, np.arange(64), 2, 8)
    next(pictures)
    began.wait(60)
    pictures.close()
    assert asked[:8] == list(range(8))
    assert set(asked[8:]) <= {8, 16}, "of each block that was under way, one picture"


@pytest.mark.parametrize(
    ("side", "pictures"), [(1, 64), (32, 64), (64, 64), (96, 37), (224, 6), (448, 1), (1024, 1), (4000, 1)]
)
def test_a_block_is_about_a_megabyte(side, pictures):
    assert block_of(3 * side**2) == pictures


@pytest.mark.parametrize(("threads", "workers"), [(1, 1), (3, 3), (16, 16), (200, 16)])
def test_as_many_threads_as_torch_has(monkeypatch, threads, workers):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert default_workers() == workers


MILLISECOND = 1e-3


@pytest.mark.parametrize(
    ("milliseconds", "pictures", "workers", "way"),
    [
        (0.1, 100, 2, "alone"),
        (0.1, 5_000, 2, "alone"),
        (0.1, 50_000, 2, "processes"),
        (0.17, 5_000, 2, "alone"),
        (0.17, 50_000, 2, "processes"),
        (0.5, 1_000, 2, "threads"),
        (2.0, 500, 2, "threads"),
        (2.0, 50_000, 2, "threads"),
        (2.0, 50_000, 16, "processes"),
        (0.5, 50_000, 16, "processes"),
        (30.0, 2, 4, "threads"),
    ],
)
def test_the_way_that_is_soonest(milliseconds, pictures, workers, way):
    assert soonest(milliseconds * MILLISECOND, pictures, workers) == way
    assert soonest(milliseconds * MILLISECOND, pictures, workers, can_travel=False) in {way, "alone", "threads"}


@given(st.floats(1e-6, 1), st.integers(1, 10**7), st.integers(2, 64))
def test_nothing_but_threads_where_processes_cannot_be_told(seconds, pictures, workers):
    freely, bound = (soonest(seconds, pictures, workers, can_travel) for can_travel in (True, False))
    assert bound == freely or (freely == "processes" and bound in ("alone", "threads"))


def test_what_pictures_cost_is_measured_on_the_first_ones(monkeypatch):
    asked = []
    monkeypatch.setattr(decoding, "soonest", lambda *given, **more: asked.append((given, more)) or "alone")
    for seconds, tried in ((0.0, 16), (0.03, 3)):
        monkeypatch.setattr(decoding.time, "perf_counter", itertools.count(0, seconds).__next__)
        assert list(map(int, read_in_order(Counted(), np.arange(40), 2, 4))) == list(range(40))
        assert asked.pop() == ((pytest.approx(seconds), 40 - tried, 2), {})
    assert list(map(int, read_in_order(Counted(), np.arange(3), 2, 4))) == [0, 1, 2]
    assert list(map(int, read_in_order(Counted(), np.arange(40), 1, 4))) == list(range(40))
    assert asked == [], "nothing is left, or one worker is asked for"


def test_what_cannot_travel_is_read_here(monkeypatch):
    ways = []

    def chosen(seconds, pictures, workers, can_travel=True):
        ways.append(can_travel)
        return "processes" if can_travel else "threads"

    monkeypatch.setattr(decoding, "soonest", chosen)
    monkeypatch.setattr(decoding, "read_by_processes", pytest.fail)
    assert list(map(int, read_in_order(lambda row: np.array(row), np.arange(90), 2, 4))) == list(range(90))
    assert ways == [True, False]


FILES = [f"train/{label}/{i}{suffix}" for label in "ab" for i, suffix in enumerate([".png", ".jpg", ".bmp"] * 12)]


@pytest.fixture
def dataset(tmp_path):
    root = make_folder(tmp_path / "pictures", FILES)
    for i, side in enumerate((1, 3, 40, 333)):
        Image.new("RGB", (side, 2 * side), (i, 70, 200)).save(root / f"train/a/other{i}.png")
    return folder.load(root)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_cached", [False, True], ids=["memory", "cache"])
def test_the_same_pictures_for_any_number_of_workers(dataset, tmp_path, is_cached, way, monkeypatch):
    taken_in(monkeypatch, way)
    rows = np.random.default_rng(0).permutation(len(dataset.samples.name))
    expected = np.stack([dataset.image(row, 16).transpose(2, 0, 1) for row in rows])
    for workers in WORKERS:
        shown = []

        def watch(given, name, shown=shown):
            for row in given:
                yield row
                shown.append((int(row), name))

        cache = tmp_path / f"cache{workers}" if is_cached else None
        images = data.Reader(dataset, 16, "crop", watch, cache, workers)(rows, "train").images
        assert (images.numpy() == expected).all()
        assert shown == [(row, "train") for row in rows], "a bar sees each of them, in order"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("is_cached", [False, True], ids=["memory", "cache"])
def test_all_broken_pictures_are_listed(dataset, tmp_path, way, is_cached, monkeypatch):
    taken_in(monkeypatch, way)
    broken = ["train/a/3.png", "train/b/1.jpg", "train/b/33.png"]
    for name in broken:
        (dataset.root / name).write_bytes(b"GIF89a")
    reader = data.Reader(dataset, 8, "crop", data.unwatched, tmp_path / "cache" if is_cached else None, 2)
    with pytest.raises(InputError) as raised:
        reader(np.arange(len(dataset.samples.name)), "train")
    assert str(raised.value).startswith("data set folder: 3 of 76 pictures cannot be read: picture ")
    assert all(name in str(raised.value) for name in broken)
    assert str(raised.value).endswith(f"remove them, or {data.SKIP}")
    assert list(tmp_path.glob("cache/*")) == [], "nothing unfinished"
    assert threads_of_load() == []


@pytest.mark.parametrize("is_cached", [False, True], ids=["memory", "cache"])
def test_an_interrupted_run_leaves_no_thread_and_no_file(dataset, tmp_path, is_cached, monkeypatch):
    taken_in(monkeypatch, "threads")

    def watch(rows, name):
        yield from rows[:5]
        raise KeyboardInterrupt

    reader = data.Reader(dataset, 8, "crop", watch, tmp_path / "cache" if is_cached else None, 3)
    with pytest.raises(KeyboardInterrupt):
        reader(np.arange(60), "train")
    assert threads_of_load() == []
    assert list(tmp_path.glob("cache/*")) == []


def test_the_setting_says_how_many(demo_shard, monkeypatch):
    asked = []

    def recorded(read, rows, workers, block):
        asked.append(workers)
        return read_in_order(read, rows, workers, block)

    monkeypatch.setattr(data, "read_in_order", recorded)
    monkeypatch.setattr(data, "default_workers", lambda: 3)
    runs = [load(config_of(meta=demo_shard, limit=8, **given)) for given in ({}, {"workers": 2})]
    assert asked == [3] * 3 + [2] * 3  # train, val, test
    assert torch.equal(runs[0].train.images, runs[1].train.images)


def part_of_png(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_threads_refuse_what_one_thread_refuses_and_leave_warnings_as_they_were():
    """Pillow warns of a picture that is too large; what Python does with a warning is one thing for all threads."""
    side = int((1.2 * MAX_PIXELS) ** 0.5)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    huge = b"\x89PNG\r\n\x1a\n" + b"".join(part_of_png(*part) for part in parts)
    small = b"P6 1 1 255 abc"

    def read(row):
        if row % 3:
            return read_rgb(small, "small")
        with pytest.raises(InputError, match=f"more than {MAX_PIXELS:,} pixels"):
            read_rgb(huge, "huge")
        return np.array(row)

    before = list(warnings.filters)
    assert len(list(read_by_threads(read, np.arange(3000), 4, 8))) == 3000
    assert warnings.filters == before

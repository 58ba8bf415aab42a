"""Pictures read by blocks: one by one is the oracle, damage is named to the picture, memory is that of a block."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from clp_aug.contract import shards
from clp_aug.contract.blank import Blank, lay_out
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import FIELDS
from clp_aug.contract.shards import ShardReader
from tests.clp_aug.builders import make_parts
from tests.clp_aug.contract.hostile import refused


@pytest.mark.parametrize(("most", "room"), [(1, 1 << 20), (5, 1 << 20), (64, 1), (64, 500), (64, 1 << 20)])
def test_blocks_of_any_size_give_what_one_by_one_gives(parts, shard, monkeypatch, most, room):
    monkeypatch.setattr(shards, "MOST_AT_ONCE", most)
    monkeypatch.setattr(shards, "BYTES_AT_ONCE", room)
    reader, told = ShardReader(shard), []
    np.testing.assert_array_equal(reader.images(), np.stack([reader.image(i) for i in range(len(reader))]))
    reader.verify(told.append)
    largest = max(1, min(most, room // (8 * 10 * 3)))
    assert sum(told) == reader.stored == len(parts.images) + len(parts.mattes)
    assert max(told) <= largest


def first_damaged(path) -> str | None:
    """Return what reading one by one says of the first picture that does not fit: the oracle."""
    reader = ShardReader(path)
    try:
        for i in range(len(reader)):
            reader.image(i)
        for i in range(reader.mattes):
            reader.matte(i)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("trial", range(40))
def test_damage_is_named_as_one_by_one(shard, monkeypatch, trial):
    """Bytes of one to three pictures; in every other trial with their checksum made to fit, so that digests speak."""
    rng = np.random.default_rng(trial)
    monkeypatch.setattr(shards, "MOST_AT_ONCE", int(rng.integers(1, 14)))
    for _ in range(int(rng.integers(1, 4))):
        name = str(rng.choice(["meta/images", "look/matte"]))
        with h5py.File(shard, "r+") as file:
            data = file[name]
            row = int(rng.integers(len(data)))
            if trial % 2:
                picture = data[row]
                picture.reshape(-1)[int(rng.integers(picture.size))] ^= 1
                data[row] = picture
                continue
            at = data.id.get_chunk_info(row).byte_offset
        content = bytearray(shard.read_bytes())
        content[at + int(rng.integers(200 if name == "meta/images" else 70))] ^= int(rng.integers(1, 256))
        shard.write_bytes(content)
    expected = first_damaged(shard)
    if expected is None:  # what one change did another undid
        ShardReader(shard).verify()
        return
    with pytest.raises(InputError) as raised:
        ShardReader(shard).verify()
    assert str(raised.value) == expected
    if "/meta/images" in expected:
        with pytest.raises(InputError) as raised:
            ShardReader(shard).images()
        assert str(raised.value) == expected


def test_the_places_of_rows_are_those_that_hdf5_tells(parts, tmp_path):
    path = tmp_path / "x.h5"
    lay_out(path, parts.header, FIELDS, {"N": 12, "M": 6, "K": 4, "H": 8, "W": 10})
    with h5py.File(path, locking=False) as file, Blank(path) as blank:
        for name in FIELDS:
            data, places = file[name], blank._find(name)
            if data.chunks is None:
                row = data.dtype.itemsize * int(np.prod(data.shape[1:]))
                assert list(places) == [data.id.get_offset() + i * row for i in range(len(data))]
            else:
                assert list(places) == [data.id.get_chunk_info(i).byte_offset for i in range(len(data))]


def twice(ids: np.ndarray) -> np.ndarray:
    """Return the ids with the first one in place of another, far from it."""
    changed = ids.copy()
    changed[changed == changed[-1]] = changed[0]
    return changed


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("meta/sample_id", "meta/parent_id"), "/meta/sample_id of originals holds an id twice"),
        (("look/sample_id",), "/look/sample_id holds an id twice"),
    ],
)
def test_an_id_that_stands_twice_far_apart(parts, tmp_path, names, message):
    for name in names:
        parts.tables[name] = twice(parts.tables[name])
    refused(parts.write(tmp_path / "s.h5"), message)


MEMORY = """
import re, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from clp_aug.contract.shards import ShardReader
def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
Path("/proc/self/clear_refs").write_text("5")
before = memory("VmRSS")
reader = ShardReader(sys.argv[2])
reader.verify()
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by /proc")
def test_a_reader_keeps_the_tables_and_a_block(request, tmp_path):
    """30,000 rows of 16 pixels: 23 MB of pictures, of which none stay; their tables take 56 bytes a row."""
    rises = []
    for originals in (100, 10_000):
        parts = make_parts(originals=originals, height=16, width=16, train=6)
        path = parts.write(tmp_path / f"{originals}.h5", block=1000)
        command = [sys.executable, "-c", MEMORY, str(request.config.rootpath), str(path)]
        rises.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert rises[1] - rises[0] < 12

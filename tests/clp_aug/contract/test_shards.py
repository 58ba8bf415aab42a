"""The writer and the reader: round trip, same bytes, all or nothing, safe across processes, constant memory."""

import dataclasses
import multiprocessing
import pickle
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from clp_aug.contract import schema
from clp_aug.contract.errors import InputError
from clp_aug.contract.shards import ShardReader
from tests.clp_aug.builders import write_shard


@pytest.mark.parametrize("block", [1, 5, 100])
def test_round_trip(parts, tmp_path, block):
    reader = ShardReader(parts.write(tmp_path / "s.h5", block))
    assert reader.header == parts.header
    assert reader.shape == parts.images.shape
    assert len(reader) == len(parts.images)
    assert set(reader.tables) == set(parts.tables)
    for name, table in parts.tables.items():
        np.testing.assert_array_equal(reader.tables[name], table, strict=True)
    np.testing.assert_array_equal(reader.images(), parts.images, strict=True)
    for i, matte in enumerate(parts.mattes):
        np.testing.assert_array_equal(reader.matte(i), matte, strict=True)
    assert reader.verify() is None


def test_optional_parts_may_be_absent(parts, tmp_path):
    for name in ("look/sample_id", "train/label"):
        del parts.tables[name]
    parts.mattes = parts.mattes[:0]
    reader = ShardReader(parts.write(tmp_path / "s.h5"))
    assert reader.matte(0) is None
    assert not {"look/sample_id", "train/label"} & set(reader.tables)
    reader.verify()


def test_an_empty_look_and_an_empty_train_are_fine(parts, tmp_path):
    for name in ("look/sample_id", *schema.TRAIN):
        parts.tables[name] = parts.tables[name][:0]
    parts.mattes = parts.mattes[:0]
    reader = ShardReader(parts.write(tmp_path / "s.h5"))
    reader.verify()
    assert reader.tables["train/box"].shape == (0, 4)


def test_same_bytes_at_another_time_and_in_other_blocks(parts, tmp_path):
    first = parts.write(tmp_path / "a.h5").read_bytes()
    time.sleep(1.1)  # HDF5 times count in seconds
    (tmp_path / "elsewhere").mkdir()
    assert parts.write(tmp_path / "elsewhere" / "b.h5", block=7).read_bytes() == first


def test_the_file_holds_no_path(parts, tmp_path):
    assert str(tmp_path).encode() not in parts.write(tmp_path / "s.h5").read_bytes()


def test_one_picture_a_chunk_with_checksums(shard, parts):
    with h5py.File(shard) as file:
        for name in ("meta/images", "look/matte"):
            assert file[name].chunks == (1, *file[name].shape[1:])
            assert file[name].fletcher32


def test_after_an_exception_nothing_is_left(parts, tmp_path):
    def blocks():
        yield parts.images[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "s.h5", parts.header, parts.tables, {"meta/images": blocks()})
    assert list(tmp_path.iterdir()) == []


def test_after_an_exception_the_old_shard_stands(parts, shard, tmp_path):
    before = shard.read_bytes()
    parts.images = parts.images[:-1]
    with pytest.raises(InputError):
        parts.write(shard)
    assert shard.read_bytes() == before
    assert list(tmp_path.iterdir()) == [shard]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:-1], "meta/images: 11 pictures came for 12 rows of the tables"),
        (lambda a: np.concatenate([a, a[:1]]), "meta/images: more than 12 pictures came for 12 rows of the tables"),
        (lambda a: a.astype(float), r"meta/images: a block of float64 \(8, 10, 3\) came, expected uint8"),
    ],
    ids=["too few", "too many", "floats"],
)
def test_blocks_that_do_not_fit_the_tables(parts, tmp_path, change, message):
    parts.images = change(parts.images)
    with pytest.raises(InputError, match=message):
        parts.write(tmp_path / "s.h5")


def test_a_block_of_another_size_is_not_broadcast(parts, tmp_path):
    blocks = [parts.images[:6], parts.images[6:, :1]]
    with pytest.raises(InputError, match=r"a block of uint8 \(1, 10, 3\) came, expected uint8 \(8, 10, 3\)"):
        write_shard(tmp_path / "s.h5", parts.header, parts.tables, {"meta/images": blocks})


def test_a_missing_folder_is_one_line(parts, tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*s\.h5 \(No such file or directory\); make the folder"):
        parts.write(tmp_path / "nowhere" / "s.h5")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.clp_aug.builders import make_parts
from clp_aug.contract.errors import InputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
parts = make_parts(originals=60, height=32, width=32)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
try:
    parts.write(Path(sys.argv[2]))
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [0, 1000, 100_000, 553_900])
def test_a_full_disk_is_one_line_and_no_crash(request, tmp_path, limit):
    """In a process of its own: HDF5 used to end with a segmentation fault here."""
    path = tmp_path / "s.h5"
    command = [sys.executable, "-c", FULL_DISK, str(request.config.rootpath), str(path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"cannot write {path} (File too large); choose a place that takes larger files\n"
    assert list(tmp_path.iterdir()) == []


def test_pickling_drops_the_open_file(shard, parts):
    reader = ShardReader(shard)
    reader.image(0)
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.image(3), parts.images[3])
    assert copy.header == reader.header


def _sums(reader: ShardReader, rows: list[int], queue) -> None:
    queue.put([int(reader.image(i).sum()) for i in rows])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_reader_works_in_other_processes(shard, parts, method):
    reader = ShardReader(shard)
    reader.image(0)  # so that a handle is open when the others start
    context = multiprocessing.get_context(method)
    queues = [context.Queue() for _ in range(2)]
    rows = list(range(len(reader)))
    others = [context.Process(target=_sums, args=(reader, rows, queue)) for queue in queues]
    for process in others:
        process.start()
    expected = [int(picture.sum()) for picture in parts.images]
    assert [queue.get(timeout=60) for queue in queues] == [expected, expected]
    for process in others:
        process.join()
        assert process.exitcode == 0
    assert [int(reader.image(i).sum()) for i in rows] == expected


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from clp_aug.contract.shards import ShardReader
from tests.clp_aug.builders import make_parts, write_shard
parts = make_parts(originals=int(sys.argv[3]))
del parts.tables["look/sample_id"]
n = len(parts.images)
block = np.zeros((50, 128, 128, 3), np.uint8)
write_shard(Path(sys.argv[2]), parts.header, parts.tables, {"meta/images": (block for _ in range(n // 50))})
reader = ShardReader(sys.argv[2])
reader.verify()
print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_is_that_of_a_block(request, tmp_path):
    """150 MB of pictures written and read again cost no more than 15 MB: peak against a shard a tenth as long."""
    peaks = []
    for originals in (100, 1000):
        path = tmp_path / f"{originals}.h5"
        command = [sys.executable, "-c", MEMORY, str(request.config.rootpath), str(path), str(originals)]
        n, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(n) == 3 * originals
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 15


def test_a_flipped_byte_costs_one_picture(shard, parts):
    with h5py.File(shard) as file:
        at = file["meta/images"].id.get_chunk_info(4).byte_offset
    data = bytearray(shard.read_bytes())
    data[at + 17] ^= 0x20
    shard.write_bytes(data)
    reader = ShardReader(shard)
    for i in range(len(reader)):
        if i == 4:
            with pytest.raises(InputError, match=r"good\.h5: /meta/images\[4\] is damaged; make the shard again"):
                reader.image(i)
        else:
            np.testing.assert_array_equal(reader.image(i), parts.images[i])
    for read_all in (reader.images, reader.verify):
        with pytest.raises(InputError, match=r"/meta/images\[4\] is damaged"):
            read_all()


def test_a_flipped_byte_in_a_matte_shows_under_verify(shard):
    with h5py.File(shard) as file:
        at = file["look/matte"].id.get_chunk_info(2).byte_offset
    data = bytearray(shard.read_bytes())
    data[at] ^= 1
    shard.write_bytes(data)
    with pytest.raises(InputError, match=r"/look/matte\[2\] is damaged"):
        ShardReader(shard).verify()


def test_a_shard_that_went_away_is_one_line(shard):
    reader = ShardReader(shard)
    shard.unlink()
    with pytest.raises(InputError, match=r"good\.h5: no such file"):
        reader.image(0)


def test_the_header_is_frozen(parts):
    with pytest.raises(dataclasses.FrozenInstanceError):
        parts.header.seed = 1


@pytest.mark.parametrize("error", [OSError("no"), KeyError("no"), RuntimeError("no")])
def test_a_disk_that_refuses_while_a_data_set_is_opened_is_one_line(error, shard, monkeypatch):
    """h5py raises three kinds, by what it was looking for when the disk refused."""
    reader = ShardReader(shard)

    class Refusing:
        def __contains__(self, name):
            raise error

    monkeypatch.setattr("clp_aug.contract.shards.open_shard", lambda path: Refusing())
    with pytest.raises(InputError, match=r"/meta/images\[0\] is damaged; make the shard again"):
        reader.image(0)

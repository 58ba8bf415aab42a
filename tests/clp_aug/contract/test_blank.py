"""Filling in place: HDF5 itself is the oracle for what we write behind its back."""

import errno
import os
import pickle
from functools import partial

import h5py
import numpy as np
import pytest

from clp_aug.contract.blank import Blank, lay_out
from clp_aug.contract.checksums import fletcher32s
from clp_aug.contract.schema import FIELDS


@pytest.mark.parametrize("seed", range(40))
def test_checksum_is_that_of_hdf5(tmp_path, seed):
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, rng.integers(1, 40, 3), np.uint8)
    if seed % 4 == 0:
        data[...] = rng.choice([0, 255])  # sums at the modulus
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored = file.create_dataset("x", data=data, chunks=data.shape, fletcher32=True)
        _, chunk = stored.id.read_direct_chunk((0, 0, 0))
    assert int.from_bytes(chunk[-4:], "little") == fletcher32s(data.reshape(1, -1))[0]


def sizes(parts):
    return {"N": 12, "M": 6, "K": 4, "H": 8, "W": 10}


def fill_all(blank, parts, order):
    jobs = [(name, 0, table) for name, table in parts.tables.items()]
    jobs += [("meta/images", i, parts.images[i : i + 1]) for i in range(12)]
    jobs += [("look/matte", i, parts.mattes[i : i + 2]) for i in (0, 2)]
    for i in order(len(jobs)):
        blank.fill(*jobs[i])


def test_any_order_by_any_number_of_hands_gives_the_same_bytes(parts, tmp_path):
    expected = parts.write(tmp_path / "expected.h5").read_bytes()
    for seed in range(5):
        path = tmp_path / f"{seed}.h5"
        rng = np.random.default_rng(seed)
        lay_out(path, parts.header, FIELDS, sizes(parts))
        with Blank(path) as one, pickle.loads(pickle.dumps(one)) as two:
            fill_all(one, parts, lambda n, rng=rng: rng.permutation(n)[: n // 2])
            fill_all(two, parts, rng.permutation)  # some of it twice
            two.seal()
        assert path.read_bytes() == expected


def test_what_is_filled_is_there_at_once(parts, tmp_path):
    path = tmp_path / "x.h5"
    lay_out(path, parts.header, FIELDS, sizes(parts))
    with Blank(path) as blank:
        blank.fill("meta/box", 3, np.array([[1, 2, 3, 4]]))
        assert Blank(path).read("meta/box")[2:5].tolist() == [[0] * 4, [1, 2, 3, 4], [0] * 4]
        blank.fill("meta/images", 11, parts.images[:1])
        assert (Blank(path).read("meta/images")[11] == parts.images[0]).all()


@pytest.mark.parametrize("name", ["meta/images", "meta/label"])
def test_rows_that_are_not_there(parts, tmp_path, name):
    path = tmp_path / "x.h5"
    lay_out(path, parts.header, FIELDS, sizes(parts))
    rows = parts.images[:2] if name == "meta/images" else np.zeros(2)
    with Blank(path) as blank, pytest.raises(ValueError, match=rf"{name}: rows 11\.\.13 of 12"):
        blank.fill(name, 11, rows)


def test_zeros_are_left_out_and_the_disk_gives_them_room(parts, tmp_path, monkeypatch):
    room, lay = [], partial(lay_out, header=parts.header, names=FIELDS, sizes={**sizes(parts), "H": 200, "W": 300})
    lay(tmp_path / "expected.h5")
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", lambda handle, start, size: room.append(size), raising=False)
        lay(tmp_path / "sparse.h5")
    assert room == [(tmp_path / "sparse.h5").stat().st_size]
    assert (tmp_path / "sparse.h5").read_bytes() == (tmp_path / "expected.h5").read_bytes()


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EINVAL, None])
def test_a_disk_that_gives_no_room_is_written_to(parts, tmp_path, monkeypatch, error):
    """None: a system that has no such call."""
    lay_out(tmp_path / "expected.h5", parts.header, FIELDS, sizes(parts))
    if error is None:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    else:
        monkeypatch.setattr(os, "posix_fallocate", refusing(error), raising=False)
    written, pwrite = [], os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, data, at: written.append(len(data)) or pwrite(handle, data, at))
    lay_out(tmp_path / "x.h5", parts.header, FIELDS, sizes(parts))
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "expected.h5").read_bytes()
    assert sum(written) >= parts.images.nbytes


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_shows_before_any_work(parts, tmp_path, monkeypatch, error):
    monkeypatch.setattr(os, "posix_fallocate", refusing(error), raising=False)
    with pytest.raises(OSError, match=os.strerror(error)):
        lay_out(tmp_path / "x.h5", parts.header, FIELDS, sizes(parts))


def refusing(error):
    def refuse(*_):
        raise OSError(error, os.strerror(error))

    return refuse


def test_a_file_cut_short_is_told(parts, tmp_path):
    path = tmp_path / "x.h5"
    lay_out(path, parts.header, FIELDS, sizes(parts))
    with Blank(path) as blank:
        assert not blank.read("meta/label").any()
        os.truncate(path, 100)
        with pytest.raises(OSError, match="meta/label is cut short"):
            blank.read("meta/label")

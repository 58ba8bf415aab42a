"""Filling in place: HDF5 itself is the oracle for what we write behind its back."""

import pickle

import h5py
import numpy as np
import pytest

from clp_aug.contract.blank import Blank, fletcher32, lay_out
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
    assert int.from_bytes(chunk[-4:], "little") == fletcher32(data)


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

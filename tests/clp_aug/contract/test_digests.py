"""What is in a shard is what was written: every byte of tables and pictures counts, and two shards do not mix."""

import dataclasses

import h5py
import numpy as np
import pytest

from clp_aug.contract.blank import Blank
from clp_aug.contract.digests import picture_digest, seal_of
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import DIGESTS, FIELDS, SEAL
from clp_aug.contract.shards import ShardReader
from tests.clp_aug.builders import make_parts
from tests.clp_aug.contract.hostile import attribute, refused

SEALED = "its tables do not fit its seal"
TABLES = [name for name in FIELDS if name not in DIGESTS]


def as_version_1_0(path):
    """Make of a shard what earlier versions wrote."""
    with h5py.File(path, "r+") as file:
        attribute(file, "clp_schema", "1.0")
        for name in (*DIGESTS.values(), SEAL):
            del file[name]


@pytest.mark.parametrize("name", TABLES)
def test_a_changed_table_is_refused(shard, name):
    """The value that is put there is one that the other checks let pass."""
    with h5py.File(shard, "r+") as file:
        values = file[name][...]
        values.reshape(-1).view(np.uint8)[0] ^= 1
        file[name][...] = values
    with pytest.raises(InputError):
        ShardReader(shard)


@pytest.mark.parametrize("name", ["meta/label", "meta/group", "train/label", "train/outcome", "meta/fill"])
def test_the_seal_alone_finds_a_plausible_value(shard, name):
    with h5py.File(shard, "r+") as file:
        file[name][0] = 1 - file[name][0] if name != "train/outcome" else 2
    refused(shard, SEALED)


@pytest.mark.parametrize(("name", "read"), [("meta/images", ShardReader.image), ("look/matte", ShardReader.matte)])
@pytest.mark.parametrize("pixels", ["black", "one level"])
def test_a_changed_picture_is_refused_though_its_checksum_fits(shard, name, read, pixels):
    """HDF5 writes the checksum anew; of a black picture it is 0, as that of one that never came to the disk."""
    with h5py.File(shard, "r+") as file:
        picture = file[name][1]
        file[name][1] = 0 if pixels == "black" else np.where(np.arange(picture.size).reshape(picture.shape) == 3,
                                                             picture ^ 1, picture)  # fmt: skip
    reader = ShardReader(shard)
    read(reader, 0)
    with pytest.raises(InputError, match=rf"/{name}\[1\] is damaged; make the shard again"):
        read(reader, 1)
    with pytest.raises(InputError, match="is damaged"):
        reader.verify()


MIXED = ("meta/label", "meta/group", "meta/box", "meta/fill", "meta/outcome", "train/label", "meta/digest", SEAL)


@pytest.mark.parametrize("name", [*MIXED, "dataset", "settings"])
def test_parts_of_two_shards_do_not_mix(tmp_path, name):
    """Each part is good where it comes from."""
    one, other = make_parts(0), make_parts(0)
    other.images = other.images[::-1].copy()
    other.header = dataclasses.replace(other.header, dataset="other", settings={"size": 10, "seed": 9})
    for column in MIXED[:6]:
        other.tables[column] = np.roll(other.tables[column], 1, axis=0)
    other.tables["meta/outcome"] += 1
    other.tables["train/label"] = 1 - other.tables["train/label"]
    paths = one.write(tmp_path / "one.h5"), other.write(tmp_path / "other.h5")
    with h5py.File(paths[0], "r+") as file, h5py.File(paths[1]) as source:
        if name in FIELDS:
            assert (file[name][...] != source[name][...]).any()
            file[name][...] = source[name][...]
        else:
            attribute(file, name, bytes(source.attrs[name]))
    refused(paths[0], SEALED)


@pytest.mark.parametrize("name", [*DIGESTS.values(), SEAL])
def test_digests_must_be_there(shard, name):
    with h5py.File(shard, "r+") as file:
        del file[name]
    refused(shard, f"/{name} is missing")


def test_a_laid_out_shard_that_was_not_sealed_is_refused(parts, tmp_path):
    path = parts.write(tmp_path / "x.h5")
    with Blank(path) as blank:
        blank.fill(SEAL, 0, np.zeros(32, np.uint8))
    refused(path, SEALED)


def test_shards_of_the_version_before_are_read(shard, parts):
    as_version_1_0(shard)
    reader = ShardReader(shard)
    assert not reader.digests
    assert (reader.images() == parts.images).all()
    reader.verify()


def test_the_oracle_of_the_digests(shard, parts):
    import hashlib

    reader = ShardReader(shard)
    for name, pictures in (("meta/images", parts.images), ("look/matte", parts.mattes)):
        expected = [hashlib.sha256(picture.tobytes()).hexdigest()[:16] for picture in pictures]
        assert [value.tobytes().hex() for value in reader.digests[name].astype("<u8")] == expected
    assert picture_digest(parts.images[0][:, ::-1]) == picture_digest(parts.images[0][:, ::-1].copy())


def test_the_seal_depends_on_every_table_and_shape():
    parts = make_parts()
    seals = {seal_of(parts.header, parts.tables).tobytes()}
    for name in parts.tables:
        seals.add(seal_of(parts.header, {k: v for k, v in parts.tables.items() if k != name}).tobytes())
        seals.add(seal_of(parts.header, {**parts.tables, name: parts.tables[name][::-1]}).tobytes())
    assert len(seals) > 1.6 * len(parts.tables)

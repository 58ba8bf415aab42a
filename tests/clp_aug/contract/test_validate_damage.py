"""Files that are no shards, pipes, and good shards cut or damaged at random."""

import os

import h5py
import numpy as np
import pytest

from clp_aug.contract.errors import ClpError
from clp_aug.contract.shards import ShardReader
from tests.clp_aug.contract.hostile import refused


def test_no_link_is_followed_into_a_pipe(shard, tmp_path):
    """Opening a pipe waits for a writer: the test would never end."""
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(shard, "r+") as file:
        del file["meta"]
        file["meta"] = h5py.ExternalLink("pipe", "/")
    refused(shard, "'meta' in / is a link")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not an HDF5 file, or cut short"),
        (b"id,label\n1,2\n" * 100, "not an HDF5 file, or cut short"),
        (b"\x89HDF\r\n\x1a\n" + bytes(1000), "not an HDF5 file, or cut short"),
        (None, "no such file"),
    ],
    ids=["empty", "text", "only the signature", "missing"],
)
def test_other_files(tmp_path, data, problem):
    path = tmp_path / "s.h5"
    if data is not None:
        path.write_bytes(data)
    refused(path, problem)


def test_a_folder(tmp_path):
    refused(tmp_path, "no such file")


def test_an_empty_hdf5_file(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w"):
        pass
    refused(tmp_path / "s.h5", "/meta/images is missing")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated(shard, share):
    data = shard.read_bytes()
    shard.write_bytes(data[: int(len(data) * share)])
    refused(shard, "not an HDF5 file, or cut short")


def old_format(source, path):
    """Copy a shard into HDF5's oldest format, whose structures carry no checksums: the harder case."""
    with h5py.File(source) as old, h5py.File(path, "w", libver="earliest") as new:
        for name in old:
            old.copy(name, new)
        for name, value in old.attrs.items():
            new.attrs[name] = value
    return path


@pytest.mark.parametrize("libver", ["earliest", "v110"])
def test_random_damage(shard, tmp_path, libver):
    """Whatever bytes are hit, the reader works or raises ClpError of one line; never anything else."""
    source = old_format(shard, tmp_path / "old.h5") if libver == "earliest" else shard
    good, path = source.read_bytes(), tmp_path / "bad.h5"
    rng = np.random.default_rng(7)
    refusals = 0
    for _ in range(100):
        path.write_bytes(damaged(good, rng))
        message = outcome(path)
        assert message is None or str(path) in message
        assert message is None or len(message.splitlines()) == 1
        refusals += message is not None
    assert refusals > 20


def outcome(path) -> str | None:
    """Return the message of the ClpError that reading everything raised, if any."""
    try:
        ShardReader(path).verify()
    except ClpError as error:
        return str(error)


def damaged(good: bytes, rng: np.random.Generator) -> bytes:
    """Cut the file, or overwrite 1 to 8 bytes of it, half of the time among its first 2 KiB."""
    if rng.random() < 0.1:
        return good[: rng.integers(len(good))]
    data = bytearray(good)
    for _ in range(rng.integers(1, 9)):
        data[rng.integers(min(len(data), 2048) if rng.random() < 0.5 else len(data))] = rng.integers(256)
    return bytes(data)

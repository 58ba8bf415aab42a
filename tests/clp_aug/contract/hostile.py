"""What the tests with shards from strangers share: the refusal in one line, and ways to spoil a shard."""

import re

import h5py
import pytest

from clp_aug.contract.blank import Blank
from clp_aug.contract.errors import InputError
from clp_aug.contract.shards import ShardReader


def refused(path, problem: str) -> None:
    """Assert that the shard is refused in one line with its name and the problem (a regular expression)."""
    with pytest.raises(InputError) as caught:
        ShardReader(path)
    message = str(caught.value)
    assert message.startswith(f"shard {path}: ")
    assert re.search(problem, message), message
    assert len(message.splitlines()) == 1


def replace(file: h5py.File, name: str, **settings) -> h5py.Dataset:
    """Put another data set in the place of one of the contract."""
    del file[name]
    return file.create_dataset(name, **settings)


def secret(file: h5py.File) -> str:
    """Another valid shard beside this one, for links and virtual data to point at."""
    path = file.filename.replace("good", "secret")
    with open(file.filename, "rb") as source, open(path, "wb") as copy:
        copy.write(source.read())
    return path


def attribute(file: h5py.File, name: str, text: str | bytes) -> None:
    """Write a text attribute as the writer does, with a fixed length."""
    data = text if isinstance(text, bytes) else text.encode()
    file.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))


def reseal(path) -> None:
    """Seal a shard anew, as a run that wrote this content would."""
    with Blank(path) as blank:
        blank.seal()


def put(name, row, value):
    """Return a trick that writes one value."""

    def change(file):
        file[name][row] = value

    return change

"""Files of weights with headers that lie, types that torch has not, settings that are none: one line each."""

import json
import math
import struct

import pytest
import torch
from safetensors.torch import load_file, save

from clp_aug.contract.errors import InputError
from clp_aug.nets import contextual_attention, hatt_lite, published_cagan, stored
from clp_aug.nets.contextual_attention import ContextualAttentionNet
from clp_aug.nets.hatt_lite import HattLite

ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def raw(header, data=b"\0" * 4):
    """The bytes of a file: header as JSON or as it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


HOSTILE = {
    "nothing": b"",
    "text": b"hello, this is no file of weights",
    "longer than the file": raw({"a": ONE})[:-1],
    "more than it says": raw({"a": ONE | {"shape": [10**9]}}),
    "another size": raw({"a": ONE | {"data_offsets": [0, 8]}}),
    "overlap": raw({"a": ONE, "b": ONE}),
    "negative": raw({"a": ONE | {"shape": [-1]}}),
    "overflow": raw({"a": ONE | {"shape": [2**32, 2**32], "data_offsets": [0, 0]}}, b""),
    "no header": struct.pack("<Q", 2**63) + b"{}",
    "long header": struct.pack("<Q", 99_000_000) + b"{}",
    "nested": raw(b"[" * 100_000, b""),
    "not UTF-8": raw(b'{"\xff": 1}'),
    "type of 4 bits": raw({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, b"\0"),
    "type of 6 bits": raw({"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}, b"\0" * 3),
    "type of exponents": raw({"a": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}),
    "unknown type": raw({"a": ONE | {"dtype": "F\n128"}}),
    "long name": raw({"a\n" * 100_000: ONE}),
    "nested settings": raw({"__metadata__": {"settings": "[" * 100_000}, "a": ONE}),
    "long number in settings": raw({"__metadata__": {"settings": "1" * 5000}, "a": ONE}),
    "settings that are a list": raw({"__metadata__": {"settings": "[]"}, "a": ONE}),
    "settings that are null": raw({"__metadata__": {"settings": "null"}, "a": ONE}),
    "long settings": raw(
        {"__metadata__": {"settings": json.dumps({"width": 4, "dilations": ["x" * 9999] * 99})}, "a": ONE}
    ),
    "metadata that is none": raw({"__metadata__": {"settings": 3}, "a": ONE}),
}
READERS = {
    "hatt": (hatt_lite.read, "matting weights"),
    "cagan": (contextual_attention.load, "inpainting weights"),
    "published": (published_cagan.load_published, "published inpainting weights"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("reader", READERS)
def test_hostile_bytes_are_refused_in_one_line(tmp_path, reader, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    read, what = READERS[reader]
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value).startswith(f"{what} {path}: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


NETWORKS = {
    "hatt": lambda: (HattLite(), {}),
    "cagan": lambda: (ContextualAttentionNet(2, ()), {"width": 2, "dilations": []}),
}
NAMES = {"hatt": "head.weight", "cagan": "merging.allconv17.weight"}


@pytest.fixture(scope="module", params=NETWORKS)
def written(request, tmp_path_factory):
    """Return a reader's name, a state that it reads, and its settings."""
    network, settings = NETWORKS[request.param]()
    return request.param, {name: value.clone() for name, value in network.state_dict().items()}, settings


def changed(value, change):
    value = value.clone()
    if isinstance(change, torch.dtype):
        return value.to(change)
    value.flatten()[-1] = change
    return value


@pytest.mark.parametrize(
    "change",
    [math.nan, math.inf, -math.inf, torch.int32, torch.bool, torch.complex64],
    ids=str,
)
def test_values_that_are_no_finite_numbers(written, tmp_path, change):
    reader, state, settings = written
    path, name = tmp_path / "w.safetensors", NAMES[reader]
    path.write_bytes(save(state | {name: changed(state[name], change)}, {"settings": json.dumps(settings)}))
    with pytest.raises(InputError, match=f"{name} holds NaN, infinity or no floating point; ") as error:
        READERS[reader][0](path)
    assert str(error.value).startswith(f"{READERS[reader][1]} {path}: ")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn], ids=str)
def test_other_types_of_floating_point_are_read(written, tmp_path, kind):
    reader, state, settings = written
    path, name = tmp_path / "w.safetensors", NAMES[reader]
    path.write_bytes(save(state | {name: state[name].to(kind)}, {"settings": json.dumps(settings)}))
    network, _ = READERS[reader][0](path)
    assert torch.equal(network.state_dict()[name], state[name].to(kind).float())


def test_what_is_read_is_what_is_hashed(written, tmp_path, monkeypatch):
    """The bytes are read once: a file that changes in between cannot be hashed as one and loaded as another."""
    reader, state, settings = written
    path = tmp_path / "w.safetensors"
    path.write_bytes(save(state, {"settings": json.dumps(settings)}))
    file = stored.read_stored(path, 2**30)
    assert file.settings == settings
    assert all(torch.equal(value, file.tensors[name]) for name, value in load_file(path).items())
    _, sha256 = READERS[reader][0](path)
    assert sha256 == file.sha256


def test_large_files_are_not_read(tmp_path):
    path = tmp_path / "w.safetensors"
    with open(path, "wb") as file:
        file.truncate(2**40)
    for read, what in READERS.values():
        with pytest.raises(InputError, match=rf"^{what} \S+: .*1099511627776 bytes, expected at most \d+"):
            read(path)


@pytest.mark.parametrize("name", ["none.safetensors", "a\0b.safetensors", "folder.safetensors"])
def test_paths_that_cannot_be_read(tmp_path, name):
    (tmp_path / "folder.safetensors").mkdir()
    for read, what in READERS.values():
        with pytest.raises(InputError, match=f"{what} (?s:.*): cannot read "):
            read(tmp_path / name)

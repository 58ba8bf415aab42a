"""An ONNX model with the weights from files beside it put inside: the hashed bytes are the loaded bytes.

A model is a message of protobuf: numbered fields, some of them messages. Only the fields that lead to the weights are
read here: ModelProto.graph, GraphProto.initializer, TensorProto.external_data. All other bytes do not change. Source:
onnx.proto and the specification of protobuf's wire format.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from clp_aug.nets.reading import read_bytes

GRAPH, INITIALIZER, RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 7, 5, 9, 13, 14
KEY, VALUE = 1, 2  # of an entry of external_data
VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5  # wire types of a field
MOST_BYTES, MOST_DIGITS = 10, 20  # of a varint; of a number written as text


class NoMessage(ValueError):
    """Raised for bytes that are no message of protobuf."""


def read_model(path: Path, largest: int) -> tuple[bytes, str]:
    """Return a model with its weights inside, and the SHA-256 of its files: the model, then the others by their names.

    largest: most bytes of all files together. Bytes that are no model are returned unchanged. Raises ValueError, with
    the reason, for a file that cannot be read, and for weights in another folder or outside their file.
    """
    model = read_bytes(path, largest)
    files = Files(path, largest - len(model))
    digest = hashlib.sha256(model)
    try:
        whole = with_weights(model, files)
    except NoMessage:
        return model, digest.hexdigest()
    for _, content in sorted(files.contents.items()):
        digest.update(content)
    return whole, digest.hexdigest()


class Files:
    """The files beside a model, each read once. left: bytes that may still be taken from them."""

    def __init__(self, model: Path, left: int) -> None:
        self.model, self.left = model, left
        self.contents: dict[str, bytes] = {}

    def part(self, name: str, start: int, length: int | None) -> memoryview:
        """Return `length` bytes of a file from `start` on, by default all. Raises ValueError like `read_model`."""
        content = self.content(name)
        stop = len(content) if length is None else start + length
        if not 0 <= start <= stop <= len(content):
            raise ValueError(f"its weights are at {start} to {stop} of {name[:60]!r}, which has {len(content)} bytes")
        self.left -= stop - start
        if self.left < 0:
            raise ValueError("its weights take more bytes than a model may have")
        return memoryview(content)[start:stop]

    def content(self, name: str) -> bytes:
        """Return the bytes of a file. Raises ValueError if it cannot be read or is outside the folder."""
        if name not in self.contents:
            path = beside(self.model, name)
            if not path.is_file():
                raise ValueError(f"its weights are in {name[:60]!r}, and there is no such file beside it")
            try:
                self.contents[name] = read_bytes(path, self.left)
            except ValueError as error:
                raise ValueError(f"its weights are in {name[:60]!r}: {error}") from None
        return self.contents[name]


def beside(model: Path, name: str) -> Path:
    """Return a file in a model's folder, or below it. Raises ValueError for a name that leads anywhere else."""
    parts = PurePosixPath(name).parts
    if (
        not parts
        or name.startswith("/")
        or ".." in parts
        or "\\" in name
        or "\0" in name
        or PureWindowsPath(name).drive
    ):
        raise ValueError(f"its weights are in {name[:60]!r}, expected a file beside it")
    return model.parent / name


def with_weights(model: bytes, files: Files) -> bytes:
    """Return a model with its weights inside; a model without external weights is returned unchanged.

    Raises NoMessage for other bytes, ValueError like `read_model`.
    """

    def of_graph(graph: memoryview) -> bytes | memoryview:
        return replaced(graph, INITIALIZER, lambda tensor: with_values(tensor, files))

    return bytes(replaced(memoryview(model), GRAPH, of_graph))


def with_values(tensor: memoryview, files: Files) -> bytes | memoryview:
    """Return a tensor with its values inside. Raises the errors of `with_weights`."""
    place: dict[str, str] = {}
    for number, content, _ in fields(tensor):
        if number == EXTERNAL_DATA and content is not None:
            entry = {key: bytes(text).decode() for key, text, _ in fields(content) if text is not None}
            place[entry.get(KEY, "")] = entry.get(VALUE, "")
    if not place:
        return tensor
    start, length = (whole_number(place[name]) if name in place else None for name in ("offset", "length"))
    values = files.part(place.get("location", ""), start or 0, length)
    kept = [raw for number, _, raw in fields(tensor) if number not in (RAW_DATA, EXTERNAL_DATA, DATA_LOCATION)]
    return b"".join([*kept, field(RAW_DATA, values)])


def whole_number(text: str) -> int:
    """Return the number in a text. Raises ValueError for other text, or a number larger than any file."""
    if not (text.isdecimal() and len(text) < MOST_DIGITS):
        raise ValueError(f"its weights are at {text[:60]!r}, expected a number of bytes")
    return int(text)


def replaced(
    message: memoryview, number: int, change: Callable[[memoryview], bytes | memoryview]
) -> bytes | memoryview:
    """Return a message with every field of this number, itself a message, changed; the same object if none is."""
    parts: list[bytes | memoryview] = []
    same = True
    for found, content, raw in fields(message):
        changed = change(content) if found == number and content is not None else content
        unchanged = changed is None or changed is content
        parts.append(raw if unchanged or changed is None else field(number, changed))
        same = same and unchanged
    return message if same else b"".join(parts)


def fields(message: memoryview) -> Iterator[tuple[int, memoryview | None, memoryview]]:
    """Yield each field of a message: its number, its content if it is written as bytes, and all of its bytes.

    Raises NoMessage for other bytes.
    """
    at = 0
    while at < len(message):
        start, content = at, None
        tag, at = varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            _, at = varint(message, at)
        elif kind == BYTES:
            length, at = varint(message, at)
            content, at = message[at : at + length], at + length
        elif kind in (EIGHT, FOUR):
            at += 8 if kind == EIGHT else 4
        else:
            raise NoMessage("a field has an unknown wire type")
        if at > len(message):
            raise NoMessage("a field is cut short")
        yield tag >> 3, content, message[start:at]


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number at a place, and the next place. Raises NoMessage if there is none."""
    value = 0
    for i, byte in enumerate(message[at : at + MOST_BYTES]):
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, at + i + 1
    raise NoMessage("a number is cut short")


def field(number: int, content: bytes | memoryview) -> bytes:
    """Return a field that is written as bytes."""
    return b"".join([written(number << 3 | BYTES), written(len(content)), content])


def written(value: int) -> bytes:
    """Return a number as a varint of protobuf."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])

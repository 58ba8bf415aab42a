"""Small ONNX models, written byte by byte: a message is a list of numbered fields, and no library is needed."""

import struct

FLOAT, UINT8, INT64, STRING, BOOL, FLOAT16, DOUBLE = 1, 2, 7, 8, 9, 10, 11
VARINT, BYTES, FOUR = 0, 2, 5  # how a field is written


def varint(value):
    """Return a number as protobuf writes it."""
    value &= 2**64 - 1
    out = b""
    while True:
        out += bytes([value & 127 | (128 if value > 127 else 0)])
        value >>= 7
        if not value:
            return out


def message(*fields):
    """Return a message of (number, value) fields: int, float, text, or bytes of another message."""
    out = b""
    for number, value in fields:
        if isinstance(value, float):
            out += varint(number << 3 | FOUR) + struct.pack("<f", value)
        elif isinstance(value, int):
            out += varint(number << 3 | VARINT) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | BYTES) + varint(len(value)) + value
    return out


def attribute(name, value):
    """Return an attribute: int, text, or a list of ints."""
    if isinstance(value, list):
        return message((1, name), *[(8, v) for v in value], (20, 7))
    if isinstance(value, str):
        return message((1, name), (4, value), (20, 3))
    return message((1, name), (3, value), (20, 2))


def node(kind, inputs, outputs, **attributes):
    """Return a node of a graph."""
    fields = [(1, name) for name in inputs] + [(2, name) for name in outputs] + [(4, kind)]
    return message(*fields, *[(5, attribute(name, value)) for name, value in attributes.items()])


def tensor_type(kind, shape):
    """Return name-free type of a tensor; a side is a number, or a name where it is open."""
    sides = [message((2, side) if isinstance(side, str) else (1, side)) for side in shape]
    return message((1, message((1, kind), (2, message(*[(1, side) for side in sides])))))


def value(name, kind, shape):
    """Return an input or output."""
    return message((1, name), (2, tensor_type(kind, shape)))


def constant(name, kind, shape, raw):
    """Return an initial value of raw bytes."""
    return message(*[(1, side) for side in shape], (2, kind), (8, name), (9, raw))


def external(name, kind, shape, file, offset=0, length=None):
    """Return an initial value whose bytes lie in another file."""
    place = {"location": file, "offset": str(offset)} | ({} if length is None else {"length": str(length)})
    entries = [(13, message((1, key), (2, text))) for key, text in place.items()]
    return message(*[(1, side) for side in shape], (2, kind), (8, name), *entries, (14, 1))


def model(nodes, inputs, outputs, constants=(), opset=13):
    """Return the bytes of a model."""
    graph = message(
        *[(1, n) for n in nodes], (2, "g"), *[(5, c) for c in constants], *[(11, i) for i in inputs],
        *[(12, o) for o in outputs],
    )  # fmt: skip
    return message((1, 8), (8, message((1, ""), (2, opset))), (7, graph))


def matting(shape=(1, 3, 8, 8), kind=FLOAT, output=FLOAT, more=(), end="Sigmoid", axes=(1,), after=(), constants=()):
    """Return a model whose matte is `end` of the mean of the planes, computed in single precision.

    more: further inputs; after: nodes that make "matte" of "end".
    """
    nodes = [
        node("Cast", ["picture"], ["single"], to=FLOAT),
        node("ReduceMean", ["single"], ["mean"], axes=list(axes), keepdims=1),
        node(end, ["mean"], ["end"]),
        *(after or [node("Cast", ["end"], ["matte"], to=output)]),
    ]
    sides = (shape[0], 1, *shape[2:]) if len(shape) == 4 else shape
    return model(nodes, [value("picture", kind, shape), *more], [value("matte", output, sides)], constants)

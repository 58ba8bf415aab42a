"""Read a pickle file without executing it: the published CIFAR files are pickles, and pickles are programs.

`pickletools.genops` only splits the stream into opcodes. `parse` rebuilds plain containers, numbers and text from them.
If the stream asks to import or call something, only a note of the request is kept. Long byte strings stay in the file:
`Span` has their place, so one picture can be read without the others.
"""

from __future__ import annotations

import mmap
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from clp_aug.contract.errors import InputError
from clp_aug.datasets.names import shortened

PLAIN = {
    *("SHORT_BINSTRING", "STRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
LONG_BYTES = {"BINSTRING": 5, "BINBYTES": 5, "BINBYTES8": 9, "BYTEARRAY8": 9}  # opcode and length before the bytes


@dataclass(frozen=True)
class Span:
    """Bytes in the file: offset and length."""

    offset: int
    length: int


@dataclass
class Inert:
    """A request of the stream to import, call or restore something: noted, never done."""

    args: object = None
    state: object = None


def parse(path: Path) -> object:
    """Return the contents of a pickle file as dict, list, tuple, int, str, bool, None, Span and Inert.

    Nothing named in the file is imported or called. Raises InputError for a file that is no pickle of this kind.
    Source: the opcodes as the standard library's pickletools describes them.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            return _run(stream)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); restore the file") from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: not a published batch file ({shortened(error)}); download it again") from None


def _run(stream: mmap.mmap) -> object:
    stack: list[Any] = []
    below: list[list[Any]] = []  # the stacks under each open mark
    memo: dict[int, object] = {}
    argument: Any
    for opcode, argument, position in pickletools.genops(cast(IO[bytes], stream)):  # which reads files only
        name = opcode.name
        if name in ("APPENDS", "SETITEMS", "TUPLE", "LIST", "DICT"):
            items, stack = stack, below.pop()
        match name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                below.append(stack)
                stack = []
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE":
                stack.append({"EMPTY_LIST": [], "EMPTY_DICT": {}, "EMPTY_TUPLE": ()}[name])
            case "LIST":
                stack.append(items)
            case "TUPLE":
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "DICT":
                stack.append(_pairs(items))
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                stack[-1].extend(items)
            case "SETITEM":
                pair = _pairs(stack[-2:])
                del stack[-2:]
                stack[-1].update(pair)
            case "SETITEMS":
                stack[-1].update(_pairs(items))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(Inert())
            case "STACK_GLOBAL":
                stack[-2:] = [Inert()]
            case "REDUCE":
                stack[-2:] = [Inert(stack[-1])]
            case "BUILD":
                state = stack.pop()
                stack[-1].state = state
            case _:
                stack.append(_value(name, argument, position or 0))
    raise ValueError("no end")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    """Return keys and values in turn as a dict. Keys must be plain: hashing deeply nested tuples can crash Python."""
    for key in items[::2]:
        if not isinstance(key, (str, int, type(None))):
            raise ValueError(f"a {type(key).__name__} as a key")
    return dict(zip(items[::2], items[1::2], strict=True))


def _value(name: str, argument: Any, position: int) -> object:
    """Return the value that an opcode puts on the stack. Raises ValueError for an opcode without a value."""
    match name:
        case "SHORT_BINBYTES":
            return argument.decode("latin-1")
        case _ if name in PLAIN:
            return argument
        case _ if name in CONSTANTS:
            return CONSTANTS[name]
        case _ if name in LONG_BYTES:
            return Span(position + LONG_BYTES[name], len(argument))
    raise ValueError(f"opcode {name}")

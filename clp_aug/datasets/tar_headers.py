"""READ: the places of files in a tar, by one pass over its headers: ustar, GNU and pax, nothing compressed or sparse.

Headers may be hostile: every size is checked against the file before anything is read, and nothing is unpacked. Source
of the forms: POSIX.1-2008, pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar
Format".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from clp_aug.contract.errors import InputError
from clp_aug.datasets.names import LONGEST_PATH, leads_out, short_path, shortened

BLOCK = 512
ZEROS = bytes(BLOCK)
FILE, OLD_FILE, CONTIGUOUS, FOLDER = b"0", b"\0", b"7", b"5"
LONG_NAME, LONG_LINK, PAX, SOLARIS_PAX, GLOBAL_PAX = b"L", b"K", b"x", b"X", b"g"
PASSED_OVER = (b"V", b"D")  # GNU: the label of a volume, the list of a folder
LINKS = {b"1": "a hard link", b"2": "a link"}
OTHERS = {b"3": "a device", b"4": "a device", b"6": "a pipe", b"S": "a sparse file", b"M": "a part of another volume"}
MOST_EXTENDED = 1 << 20  # bytes of an extended header
LOOKED_AT = 1 << 16  # bytes after the end of the members
PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip"), b"BZh": ("bzip2", "bunzip2"), b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -d"), b"PK\x03\x04": ("zip", "unzip, then tar"),
}  # fmt: skip
"""First bytes of a compressed file -> the program that made it, and the one that unpacks it."""
CUT_OFF = "the file was cut off; fetch it or make it again"


class Entry(NamedTuple):
    """One file in a tar. name: as in the tar; start: offset of its bytes; size: number of its bytes."""

    name: str
    start: int
    size: int


def entries_of(file: BinaryIO, size: int, where: str) -> Iterator[Entry]:
    """Yield the files of a tar in their order; folders are ignored.

    file: open for reading; the caller may seek in it between two entries; size: of it, in bytes; where: its path, for
    messages. Raises InputError for a file that is no tar or is cut off, and for links, devices and sparse files.
    """
    at, long_name, records = 0, b"", dict[bytes, bytes]()
    while True:
        file.seek(at)
        head = file.read(BLOCK)
        if len(head) < BLOCK or head == ZEROS:
            check_end(file, head, at, size, where)
            return
        kind, length = head[156:157], checked_size(head, at, where)
        if b"size" in records:
            length = size_of_record(records[b"size"], at, where)
        start, at = at + BLOCK, at + BLOCK + -(-length // BLOCK) * BLOCK
        if start + length > size:
            what = short_path(name_of(head, long_name, records, where))
            raise InputError(f"{where}: {what} has {length:,} bytes, but only {size - start:,} are left; {CUT_OFF}")
        if kind in (LONG_NAME, LONG_LINK, PAX, SOLARIS_PAX, GLOBAL_PAX):
            if length > MOST_EXTENDED:
                raise InputError(f"{where}: a name of {length:,} bytes, expected at most {MOST_EXTENDED:,}; make the"
                                 " tar file again")  # fmt: skip
            content = file.read(length)
            if kind == LONG_NAME:
                long_name = content.rstrip(b"\0")
            elif kind != LONG_LINK:
                found = pax_records(content, start, where)
                if kind == GLOBAL_PAX and not found.keys().isdisjoint((b"path", b"size")):
                    raise InputError(f"{where}: an extended header gives all members one name or size; make the tar"
                                     " file again")  # fmt: skip
                records = records if kind == GLOBAL_PAX else {**records, **found}
            continue
        if kind in (FILE, OLD_FILE, CONTIGUOUS):
            name = name_of(head, long_name, records, where)
            if not (kind == OLD_FILE and name.endswith("/")):
                yield Entry(name, start, length)
        elif kind != FOLDER and kind not in PASSED_OVER:
            raise no_file(kind, name_of(head, long_name, records, where), where)
        long_name, records = b"", {}


def check_end(file: BinaryIO, head: bytes, at: int, size: int, where: str) -> None:
    """Raise InputError unless a tar ends here with a block of zeros, and only zeros follow."""
    if head != ZEROS:
        reason = f"no end after {at:,} bytes" if size else "the file is empty (0 bytes)"
        raise InputError(f"{where}: {reason}; {CUT_OFF}")
    if file.read(LOOKED_AT).strip(b"\0"):
        raise InputError(f"{where}: there is data after its end at {at:,} bytes, as in joined tar files; name"
                             " each of them, or join them with tar --concatenate")  # fmt: skip


def checked_size(head: bytes, at: int, where: str) -> int:
    """Return the size in a header. Raises InputError for a malformed header."""
    if octal(head[148:156]) != sum_of(head):
        raise no_header(head, at, where)
    length = number(head[124:136])
    if length is None:
        raise InputError(f"{where}: a header at {at:,} bytes has no size; make the tar file again")
    return length


def sum_of(head: bytes) -> int:
    """Return the checksum of a header: the sum of its bytes, with blanks in place of the checksum itself."""
    return sum(head) - sum(head[148:156]) + 256


def no_header(head: bytes, at: int, where: str) -> InputError:
    """Return the error for a block that is no header."""
    packed = next((how for beginning, how in PACKED.items() if not at and head.startswith(beginning)), None)
    if packed:
        return InputError(f"{where}: compressed with {packed[0]}, but pictures are read at any place in it; unpack it"
                          f" ({packed[1]})")  # fmt: skip
    if not at:
        return InputError(f"{where}: not a tar file; expected one from tar, or from webdataset's TarWriter")
    return InputError(f"{where}: no header at {at:,} bytes; the file is damaged, fetch it or make it again")


def octal(field: bytes) -> int | None:
    """Return a number in octal digits between blanks and zero bytes, None for anything else."""
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None


def number(field: bytes) -> int | None:
    """Return a size: octal digits, or binary as GNU tar writes large sizes; None for anything else."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    return octal(field)


def size_of_record(text: bytes, at: int, where: str) -> int:
    """Return the size in an extended header. Raises InputError if it is no number."""
    if not (text.isdigit() and len(text) < 20):
        raise InputError(f"{where}: the size of a member at {at:,} bytes is {shortened(text)}; make the tar file again")
    return int(text)


def pax_records(content: bytes, at: int, where: str) -> dict[bytes, bytes]:
    """Return an extended header: key -> value. Raises InputError for another form and for sparse files."""
    records, start = dict[bytes, bytes](), 0
    while start < len(content) and content[start]:
        digits, blank, _ = content[start : start + 12].partition(b" ")
        end = start + int(digits) if blank and digits.isdigit() else 0
        key, sign, value = content[start + len(digits) + 1 : end].partition(b"=")
        if not (start < end <= len(content) and sign and value.endswith(b"\n")):
            raise InputError(f"{where}: an extended header at {at:,} bytes is damaged; make the tar file again")
        if key.startswith(b"GNU.sparse"):
            raise no_file(b"S", f"at {at:,} bytes", where)
        records[key] = value[:-1]
        start = end
    return records


def no_file(kind: bytes, name: str, where: str) -> InputError:
    """Return the error for a member that is no file."""
    if kind in LINKS:
        remedy = "make the tar file again with tar --dereference --hard-dereference"
        return InputError(f"{where}: {short_path(name)} is {LINKS[kind]}; {remedy}")
    what = OTHERS.get(kind, f"of kind {kind!r}")
    return InputError(f"{where}: {short_path(name)} is {what}; expected plain files, make the tar file again")


def name_of(head: bytes, long_name: bytes, records: dict[bytes, bytes], where: str) -> str:
    """Return the name of a member, without ./ at the start. long_name, records: from the headers before.

    Raises InputError for a name that is no UTF-8, no path or far too long, and for one that leads out of its folder.
    """
    raw = records.get(b"path") or long_name
    if not raw:
        raw = head[:100].partition(b"\0")[0]
        if head[257:263] == b"ustar\0" and head[345]:
            raw = head[345:500].partition(b"\0")[0] + b"/" + raw
    name = raw.decode("utf-8", "replace")
    if "\ufffd" in name and raw.decode("utf-8", "ignore").encode() != raw:
        name = ""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    if (not name and raw not in (b".", b"./")) or len(raw) > LONGEST_PATH or "\0" in name or "\n" in name:
        raise InputError(f"{where}: a member has the name {shortened(raw)}; expected a path in UTF-8, rename it")
    if (name[:1] == "/" or ".." in name or "\\" in name or ":" in name) and leads_out(name):
        raise InputError(f"{where}: member {short_path(name)} leads out of the tar file; rename it")
    return name

"""Fuzzed readers of tar files of pictures, and of the names that patterns of them have."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clp_aug.datasets import load_dataset
from clp_aug.datasets.tar_headers import BLOCK
from tests.campaigns.mutations import Draw, bytes_changed, json_changed, text_changed
from tests.campaigns.readers import Reader, digest
from tests.clp_aug.datasets.tar_builders import mask, picture, write_tar

FORMS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
FACTS = {"label": "cat", "split": "train", "box": [1, 1, 4, 5], "place": "sea"}
NAMES = ("wds:train-{0..1}.tar,val=val-*.tar", "wds:{a,b}-{00..03..2}.tar", "wds:test_hard=x/[ab]?.tar,train=b/*.tar")


def members(seed: int) -> dict[str, bytes]:
    """Return samples of every kind."""
    deep = "d" * 60 + "/" + "é" * 50
    return {
        "a/0.jpg": picture(seed), "a/0.cls": b"0", "a/0.mask.png": mask(), "a/1.png": picture(seed + 1, kind="PNG"),
        "a/1.cls": b"1\n", "a/1.box.json": b"[0, 0, 3, 3]", f"{deep}.jpg": picture(seed + 2), f"{deep}.txt": b"0",
        "j.jpg": picture(seed + 3), "j.json": json.dumps(FACTS).encode(), "j.cls": b"1", "README": b"x",
    }  # fmt: skip


def make_tars(place: Path, inputs: Path) -> list[bytes]:
    """Return tars of every form, and one of class folders."""
    found = []
    for seed, form in enumerate(FORMS):
        names = {k: v for k, v in members(2 * seed).items() if form != tarfile.USTAR_FORMAT or k.isascii()}
        found.append(write_tar(place / "x.tar", names, form).read_bytes())
    folders = {f"{c}/{k}.jpg": picture(k) for c in ("cat", "dog") for k in range(3)}
    return [*found, write_tar(place / "x.tar", folders).read_bytes()]


def read_tar(path: Path) -> str:
    """Read all of a tar, as both tools do: its table, every picture, mask and box."""
    dataset = load_dataset("wds:train=x.tar", path.parent)
    samples = dataset.samples
    table = [samples.label, samples.group, samples.split, samples.name, dataset.class_names, dataset.group_names]
    parts = []
    for row in range(len(samples.name)):
        parts += [dataset.image(row, 6), dataset.alpha(row, 6), dataset.box(row, 6), dataset.source_size(row)]
    return digest(*table, *parts, dataset.digest(np.arange(len(samples.name))))


def tar_changed(good: bytes, seeds: Sequence[bytes], draw: Draw) -> bytes:
    """Change bytes anywhere, a field of a header whose checksum is mended, or what a label, JSON file or box says."""
    kind = draw.random()
    if kind < 0.3:
        return bytes_changed(good, seeds, draw)
    data = bytearray(good)
    with tarfile.open(fileobj=io.BytesIO(good)) as tar:
        infos = tar.getmembers()
    if kind < 0.7:
        for _ in range(draw.choice((1, 1, 2))):
            at = draw.choice(headers(good))
            field_changed(data, at, draw)
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + BLOCK])
        return bytes(data)
    texts = [info for info in infos if info.name.endswith((".cls", ".json", ".txt"))] or infos
    info, buffer = draw.choice(texts), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for each in infos:
            content = good[each.offset_data : each.offset_data + each.size]
            if each is info:
                change = json_changed if each.name.endswith(".json") else text_changed
                content = change(content, [content], draw)
            plain = tarfile.TarInfo(each.name)
            plain.size = len(content)
            tar.addfile(plain, io.BytesIO(content))
    return buffer.getvalue()


def headers(data: bytes) -> list[int]:
    """Return where the headers of a good tar are, those of long names with them."""
    found, at = [], 0
    while data[at : at + 1] != b"\0":
        found.append(at)
        at += BLOCK + -(-int(data[at + 124 : at + 135].strip(b" \0") or b"0", 8) // BLOCK) * BLOCK
    return found


def field_changed(data: bytearray, at: int, draw: Draw) -> None:
    """Put something else into the name, size, kind or prefix of a header."""
    field = draw.choice(("name", "size", "kind", "prefix", "any"))
    if field == "name":
        name = draw.choice(
            ("a/0.jpg", "../x.jpg", "/a.jpg", "\x1b[31m.jpg", "a/0.cls", "", ".", "a//0.png", "c:\\x.jpg")
        )
        data[at : at + 100] = name.encode().ljust(100, b"\0")
    elif field == "size":
        size = draw.choice((0, 1, 511, 512, 513, 1 << 20, 1 << 33, (1 << 63) - 1))
        text = b"%011o\0" % size if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
        data[at + 124 : at + 136] = draw.choice((text, b"-0000000001\0", b"9" * 12, b"\xff" * 12, b" " * 12))
    elif field == "kind":
        data[at + 156] = draw.choice(b"\x0001234567LKxgXSMVDNAQ")
    elif field == "prefix":
        data[at + 345 : at + 500] = draw.choice((b"p", b"..", b"\xff", b"/x", b"a" * 155)).ljust(155, b"\0")
    else:
        data[at + draw.randrange(BLOCK)] = draw.randrange(256)


def make_names(place: Path, inputs: Path) -> list[bytes]:
    """Make a few tars, and return names of patterns."""
    for name in ("train-0", "train-1", "val-0"):
        write_tar(place / f"{name}.tar", {"0.jpg": picture(), "0.cls": b"0"})
    return [name.encode() for name in NAMES]


def read_name(path: Path) -> str:
    """Load what a name means, as the door does."""
    from clp_aug.datasets import plugin_of, short_of

    name = "wds:" + path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("wds:")
    plugin_of(name)
    dataset = load_dataset(name, path.parent)
    return digest(dataset.samples.name, dataset.samples.split, short_of(name))


READERS = {
    "tar": Reader(make_tars, "x.tar", tar_changed, read_tar, cost=3.0),
    "tar-name": Reader(make_names, "x.txt", text_changed, read_name, cost=2.0, complete=False),
}

"""Fuzzed readers of files that programs write: shards, pictures, states, caches."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from clp_aug.contract import images
from clp_aug.contract.schema import FIELDS
from clp_aug.contract.shards import ShardReader
from tests.campaigns.mutations import STRINGS, Draw, bytes_changed
from tests.campaigns.readers import Reader, digest
from tests.clp_aug.builders import make_parts

KEY = {"method": "erm", "seed": 0}


def make_shards(place: Path, inputs: Path) -> list[bytes]:
    """Return two small shards."""
    paths = [make_parts(seed, originals=3, height=6, width=6).write(place / f"{seed}.h5") for seed in range(2)]
    return [path.read_bytes() for path in paths]


def read_shard(path: Path) -> str:
    """Read all of a shard, as clp-inspect --verify and clp-train do."""
    reader = ShardReader(path)
    reader.verify()
    mattes = [reader.matte(i) for i in range(len(reader.tables.get("look/sample_id", ())))]
    tables = [part for name in sorted(reader.tables) for part in (name, reader.tables[name])]
    return digest(reader.header, *tables, reader.images(), *mattes)


def shard_changed(good: bytes, seeds: Sequence[bytes], draw: Draw) -> bytes:
    """Change bytes, or, through HDF5 itself, a table, an attribute, a name or a link."""
    if draw.random() < 0.7:
        return bytes_changed(good, seeds, draw)
    buffer = io.BytesIO(good)
    with h5py.File(buffer, "r+") as file:
        draw.choice((table_changed, attribute_changed, name_changed))(file, draw)
    return buffer.getvalue()


def table_changed(file: h5py.File, draw: Draw) -> None:
    """Change one value of a data set."""
    data = file[draw.choice([name for name in FIELDS if name in file])]
    values = data[...]
    if values.size:
        flat = values.reshape(-1)
        flat[draw.randrange(flat.size)] = draw.choice((0, 1, 2, 100, np.iinfo(values.dtype).max))
        data[...] = values


def attribute_changed(file: h5py.File, draw: Draw) -> None:
    """Give an attribute another value, or remove it."""
    name = draw.choice(list(file.attrs))
    if draw.random() < 0.2:
        del file.attrs[name]
        return
    value = draw.choice((0, 1 << 40, b"[]", b"{}", b'"x"', b"\xff", b"[" * 3000, b'["a"]', b"1" * 5000, *STRINGS[:12]))
    if isinstance(value, str):
        value = json.dumps([value, value]).encode()
    if isinstance(value, bytes):
        file.attrs.create(name, value, dtype=h5py.string_dtype("utf-8", max(1, len(value))))
    else:
        file.attrs[name] = value


def name_changed(file: h5py.File, draw: Draw) -> None:
    """Remove, rename, replace or link a data set."""
    name = draw.choice([name for name in FIELDS if name in file])
    kind = draw.randrange(4)
    data = file[name][...]
    del file[name]
    if kind == 1:
        file[f"{name}x"] = data
    elif kind == 2:
        file[name] = draw.choice((h5py.SoftLink("/meta"), h5py.ExternalLink("/etc/passwd", "/"), h5py.SoftLink(name)))
    elif kind == 3:
        file[name] = data.astype(draw.choice(("f4", "i8", "u1", "S4")))


def make_pictures(place: Path, inputs: Path) -> list[bytes]:
    """Return small pictures of many formats and modes, with an orientation, a palette, transparency, 16 bits."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 4), np.uint8)
    rgb, rgba = Image.fromarray(pixels[..., :3]), Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8825] = 6, "maker", {1: "N", 2: (1.0, 2.0, 3.0)}
    paletted = rgb.quantize(7)
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    wanted: list[tuple[Image.Image, str, dict[str, object]]] = [
        (rgb, "PNG", {}), (rgba, "PNG", {}), (rgb, "PNG", {"exif": exif}), (paletted, "PNG", {"transparency": 3}),
        (rgb.convert("L"), "PNG", {}), (rgb.convert("1"), "PNG", {}), (deep, "PNG", {}),
        (rgba.convert("LA"), "PNG", {}), (rgb, "JPEG", {"exif": exif}), (rgb.convert("CMYK"), "JPEG", {}),
        (rgb, "JPEG", {"progressive": True}), (rgb, "WEBP", {"lossless": True}), (rgba, "WEBP", {}),
        (rgb, "BMP", {}), (paletted, "GIF", {}), (rgb, "TIFF", {}),
    ]  # fmt: skip
    found = []
    for picture, kind, options in wanted:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        found.append(buffer.getvalue())
    return found


def picture_reader(read: Callable[[bytes, str], object]) -> Callable[[Path], object]:
    """Return what reads a picture from a file."""
    return lambda path: read(path.read_bytes(), "a/b.png")


def make_states(place: Path, inputs: Path) -> list[bytes]:
    """Return two states of a run."""
    import torch

    from clp_aug.nets.state import write_state

    for seed in range(2):
        weights = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))
        tensors = {"network.w": weights, "network.n": torch.tensor(seed), "method.w": weights.half()}
        write_state(place / f"{seed}.safetensors", KEY, {"step": seed, "history": [{"epoch": 1, "loss": 0.5}]}, tensors)
    return [(place / f"{seed}.safetensors").read_bytes() for seed in range(2)]


def read_run_state(path: Path) -> str:
    """Read the state of a run."""
    from clp_aug.nets.state import read_state

    plain, tensors = read_state(path, KEY)
    return digest(plain, *(part for name in sorted(tensors) for part in (name, tensors[name].numpy())))


SHAPE = (4, 3, 5, 5)


def parts(row: int) -> list[np.ndarray]:
    """Return what a cache should hold; row: 0, for it has one block."""
    return [np.random.default_rng(seed).integers(0, 256, (2, *SHAPE[1:]), np.uint8) for seed in range(2)]


def make_caches(place: Path, inputs: Path) -> list[bytes]:
    """Return a cache, as it is first written."""
    from clp_train.loading.cache import load_or_fill

    load_or_fill(place / "first.array", SHAPE, np.uint8, parts)
    return [(place / "first.array").read_bytes()]


def read_cache(path: Path) -> str:
    """Read a cache; one that is damaged may be made anew."""
    from clp_train.loading.cache import load_or_fill

    return digest(load_or_fill(path, SHAPE, np.uint8, parts).numpy())


READERS = {
    "shard": Reader(make_shards, "x.h5", shard_changed, read_shard, strict=True, cost=5.6),
    "picture": Reader(make_pictures, "x", bytes_changed, picture_reader(images.read_rgb), cost=0.45),
    "picture-alpha": Reader(make_pictures, "x", bytes_changed, picture_reader(images.read_alpha), cost=0.45),
    "picture-size": Reader(make_pictures, "x", bytes_changed, picture_reader(images.read_size), cost=0.3),
    "checkpoint": Reader(make_states, "x.safetensors", bytes_changed, read_run_state, strict=True, cost=0.35),
    "cache": Reader(make_caches, "x.array", bytes_changed, read_cache, strict=True, cost=0.4),
}

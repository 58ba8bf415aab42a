"""Tiny data sets for tests: made on disk in the published layouts, or tables without pictures."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from clp_aug.datasets.base import Dataset, Samples


def save_picture(path: Path, seed: int = 0, size: tuple[int, int] = (8, 6)) -> None:
    """Write one noise picture of (width, height) pixels, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def save_mask(path: Path, value: int = 255, size: tuple[int, int] = (8, 6)) -> None:
    """Write one constant mask, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def make_folder(root: Path, files: list[str]) -> Path:
    """Write pictures at the given relative paths."""
    for seed, file in enumerate(files):
        save_picture(root / file, seed)
    return root


def make_waterbirds(root: Path, text: str | None = None) -> Path:
    """Write four groups of three pictures in each split, with masks, or the given table over the same pictures."""
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    cells = [(split, y, place) for split in range(3) for y in range(2) for place in range(2) for _ in range(3)]
    for i, (split, y, place) in enumerate(cells):
        save_picture(root / f"images/{i:05d}.jpg", i)
        save_mask(root / f"masks/{i:05d}.png")
        lines.append(f"{100 + i},images/{i:05d}.jpg,{y},{split},{place},x")
    (root / "metadata.csv").write_text(text if text is not None else "\n".join(lines) + "\n")
    return root


def python2_text(text: str) -> bytes:
    """SHORT_BINSTRING, as Python 2 writes short strings."""
    return b"U" + bytes([len(text)]) + text.encode()


def python2_array(pixels: np.ndarray, fortran: bool = False) -> bytes:
    """A uint8 array as numpy writes itself for Python 2, protocol 2: _reconstruct, then BUILD with the state."""
    raw = pixels.tobytes("F" if fortran else "C")
    shape = b"".join(b"J" + struct.pack("<i", n) for n in pixels.shape) + b"\x86"
    dtype = (
        b"cnumpy\ndtype\n"
        + python2_text("u1")
        + b"K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    head = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85U\x01b\x87R"
    flag = b"\x88" if fortran else b"\x89"
    return head + b"(K\x01" + shape + dtype + flag + b"T" + struct.pack("<i", len(raw)) + raw + b"tb"


def python2_list(items: list[bytes], chunk: int = 3) -> bytes:
    """A list written in several APPENDS, as long lists are."""
    parts = [b"(" + b"".join(items[i : i + chunk]) + b"e" for i in range(0, len(items), chunk)]
    return b"]q\x04" + b"".join(parts)


def python2_dict(entries: dict[str, bytes]) -> bytes:
    """A protocol-2 pickle of a dict whose values are opcodes already."""
    return b"\x80\x02}q\x01(" + b"".join(python2_text(key) + value for key, value in entries.items()) + b"u."


def python2_batch(pixels: np.ndarray, labels: list[int], key: str = "labels", fortran: bool = False) -> bytes:
    """A batch in the published form: uint8 (n, 3072) pixels, labels, and the strings beside them."""
    return python2_dict(
        {
            "batch_label": python2_text("training batch 1 of 5"),
            key: python2_list([b"K" + bytes([label]) for label in labels]),
            "data": python2_array(pixels, fortran),
            "filenames": python2_list([python2_text(f"labels_{i}.png") for i in range(len(labels))]),
        }
    )


def cifar_pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)


def make_cifar10(root: Path) -> Path:
    """Write five batches of two pictures and a test batch of two; labels run 0, 1, 2 ... 9, then 0, 9."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for i in range(5):
        (folder / f"data_batch_{i + 1}").write_bytes(python2_batch(cifar_pixels(2, i), [2 * i, 2 * i + 1]))
    (folder / "test_batch").write_bytes(python2_batch(cifar_pixels(2, 5), [0, 9]))
    names = [python2_text(f"class{i}") for i in range(10)]
    (folder / "batches.meta").write_bytes(python2_dict({"label_names": python2_list(names)}))
    return root


def make_cifar100(root: Path) -> Path:
    """Write a train file of 100 pictures, one a fine class, and a test file of two."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    (folder / "train").write_bytes(python2_batch(cifar_pixels(100), list(range(100)), "fine_labels"))
    (folder / "test").write_bytes(python2_batch(cifar_pixels(2, 1), [99, 0], "fine_labels"))
    names = python2_list([python2_text(f"fine{i}") for i in range(100)])
    coarse = python2_list([python2_text(f"coarse{i}") for i in range(20)])
    (folder / "meta").write_bytes(python2_dict({"fine_label_names": names, "coarse_label_names": coarse}))
    return root


GLT_COUNTS = {  # split -> pictures by class
    "train": (9, 6, 3), "val": (2, 2, 2), "test_lt": (3, 2, 1), "test_bl": (3, 3, 3), "test_bbl": (3, 3, 3),
}  # fmt: skip
CBL_COUNTS = GLT_COUNTS | {"train": (3, 3, 3), "test_lt": ()}


def glt_content(counts: dict[str, tuple[int, ...]], of: str, keyed: bool, text_labels: bool) -> tuple[dict, list[str]]:
    """Return a file of the published form and the paths in it, as on another machine, below `of`.

    keyed: pictures have keys and their paths stand under "path", as of MSCOCO; text_labels: as of ImageNet.
    """
    content: dict = {"id2cat": {}, "cat2id": {}}
    paths = []
    for c in range(3):
        content["id2cat"][str(c)] = f"n{c}"
        content["cat2id"][f"n{c}"] = c
    for which, per_class in counts.items():
        part: dict = {"label": {}, "frequency": {}, "attribute": {}} | ({"path": {}} if keyed else {})
        for c, count in enumerate(per_class):
            for k in range(count):
                key = f"{which}{c}{k}"
                path = f"{of}/images/{key}.jpg" if keyed else f"{of}/train/n{c}/{key}.JPEG"
                name = key if keyed else path
                part["label"][name] = str(c) if text_labels else c
                part["frequency"][name], part["attribute"][name] = c, k % 3
                if keyed:
                    part["path"][name] = path
                paths.append(path)
        content[which] = part
    return content, paths


def make_glt(root: Path) -> Path:
    """Write all six benchmark files with their pictures under one root, three classes each."""
    for counts, kind, short in ((GLT_COUNTS, "glt", "lt"), (CBL_COUNTS, "cbl", "bl")):
        for file, of, below, keyed in (  # the file, the other machine's folder, where it is here, the form
            (f"imagenet_sup_intra_lt_inter_{short}.json", "/data4/imagenet/CLS-LOC", "", False),
            (f"coco_{kind}/annotation.json", f"/data4/coco_{kind}", f"coco_{kind}", True),
            (f"generated_{kind}.json", ".", "", False),
        ):
            content, paths = glt_content(counts, of, keyed, not keyed)
            for seed, path in enumerate(paths):
                save_picture(root / below / path.removeprefix(f"{of}/"), seed)
            (root / file).write_text(json.dumps(content))
    return root


def make_table(root: Path, counts: tuple[int, int, int] = (3, 2, 1)) -> Path:
    """Write 3 x 3 groups, of each so many pictures in train, val and test, and table.csv with the column place."""
    lines = ["file,label,split,place"]
    for which, count in zip(("train", "val", "test"), counts, strict=True):
        for label, place in ((label, place) for label in ("cat", "dog", "eel") for place in ("land", "sea", "sky")):
            for k in range(count):
                lines.append(f"pictures/{which}-{label}-{place}-{k}.png,{label},{which},{place}")
                save_picture(root / lines[-1].split(",")[0], len(lines))
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return root


TABLE_FILES = ("a/1.png", "a/2.png", "b/3.png", "b/4.png")


def write_table(root: Path, text: str | bytes, name: str = "table.csv", files: tuple[str, ...] = TABLE_FILES) -> Path:
    """Write a table as it is, and some pictures."""
    make_folder(root, list(files))
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


LISTS = {  # name of the lists, their splits, a path of each as published
    "ImageNet_LT/ImageNet_LT": {
        "train": "train/n0144{c}/n0144{c}_{k}.JPEG", "val": "train/n0144{c}/n0144{c}_9{k}.JPEG",
        "test": "val/n0144{c}/ILSVRC2012_val_0000{c}{k}.JPEG",
    },
    "Places_LT/Places_LT": {
        "train": "train/place{c}/0000{k}.jpg", "val": "train/place{c}/0009{k}.jpg",
        "test": "val/place{c}/Places365_val_0000{c}{k}.jpg",
    },
    "iNaturalist18/iNaturalist18": {
        "train": "train_val2018/Aves/{c}/{k}.jpg", "val": "train_val2018/Aves/{c}/9{k}.jpg",
    },
}  # fmt: skip


def make_lists(root: Path, counts: tuple[int, ...] = (5, 3, 1)) -> Path:
    """Write the lists of all three sets and their pictures: so many training pictures a class, two in other splits."""
    for name, splits in LISTS.items():
        for split, path in splits.items():
            lines = [
                f"{path.format(c=c, k=k)} {c}\n"
                for c, count in enumerate(counts) for k in range(count if split == "train" else 2)
            ]  # fmt: skip
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / f"{name}_{split}.txt").write_text("".join(lines))
            for seed, line in enumerate(lines):
                save_picture(root / line.split()[0], seed)
    return root


class Table(Dataset):
    """A table without pictures, for protocols; ids are shuffled so that rows and ids differ."""

    def __init__(self, train: list[int], val: int = 0, test: int = 0, groups: bool = False, seed: int = 0) -> None:
        """train: pictures a class; val, test: pictures of every class; groups: two a class, alternating."""
        rng = np.random.default_rng(seed)
        label = np.concatenate(
            [np.repeat(np.arange(len(train)), n) for n in (train, [val] * len(train), [test] * len(train))]
        )
        split = np.repeat([0, 1, 2], [sum(train), val * len(train), test * len(train)])
        group = 2 * label + np.arange(len(label)) % 2 if groups else None
        names = [f"class{c}" for c in range(len(train))]
        ids = rng.permutation(3 * len(label))[: len(label)]
        samples = Samples.of(label, split, [str(i) for i in ids], ids, group)
        super().__init__(
            "table", names, samples, [f"{name} {side}" for name in names for side in "ab"] if groups else ()
        )

"""Fuzzed readers of what people write, or programs for people: settings, tables, lists, JSON, folders, names."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clp_aug.datasets import cifar10, folder, glt, lists, table, waterbirds
from clp_aug.datasets.annotations import read_boxes
from clp_aug.datasets.inert_pickle import parse
from tests.campaigns.inputs import CLASSES, SIDE, TABLE, disc, make_cutouts, picture, save
from tests.campaigns.mutations import NUMBERS, STRINGS, Draw, bytes_changed, json_changed, text_changed, words_changed
from tests.campaigns.readers import Reader
from tests.clp_aug.datasets.tiny_sets import make_cifar10, make_lists, make_table

SETTINGS = (
    "clp\nlr=0.1\nepochs=3\nmeta_step=lagged\nomega_lr=0.001\nsaliency_interval=5\ntransform=none\ntrainable=head",
    "focal\nbatch_size=20\ngamma=2\nform=sigmoid\nschedule=cosine\nweight_decay=1e-4\nhead_lr=none\nseed=7\nlimit=100",
    "co-teaching\nnoise_rate=0.2\nramp=3\nmodel=resnet8\ncache=none\nexport=true\nwatch_test=false",
)
LINES = (
    "--cf\ntile,random\n--f\nrandom\n--meta\n2/class\n--size\n16\n--ratio\n4\n--seed\n3\n--matte\ncentre\n--pad\n1",
    "--cf\ntelea\n--imbalance\n2\n--noise\nflip:0.2\n--noise-seed\n1\n--limit\n20\n--fit\nstretch\n--max-fallback\n0.5",
    "--f\nmix-rand,recolour\n--meta\n1/group\n--meta-from\nval\n--keep-meta-in-train\n--img-max\n10\n--workers\n2",
)
BENCH = (
    "--seeds\n2\n--methods\nerm\n--columns\nbirds\n--scale\ncpu\n--workers\n2\n--threads\n1",
    "--seeds\n0,3,5\n--extend",
)


def line_changed(good: bytes, seeds: Sequence[bytes], draw: Draw) -> bytes:
    """Change values of a command line; now and then its words."""
    if draw.random() < 0.3:
        return text_changed(good, seeds, draw)
    words = good.decode().split("\n")
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(len(words))
        if words[at].startswith("--"):
            words[at : at + 2] = draw.choice(([], words[at : at + 2] * 2, draw.choice(seeds).decode().split("\n")[:2]))
        else:
            words[at] = draw.choice((draw.choice(NUMBERS), draw.choice(STRINGS), words_changed(words[at], draw)))
        words = words or ["--help"]
    return "\n".join(words).encode("utf-8", "ignore")


def as_bytes(texts: Sequence[str]) -> list[bytes]:
    """Return texts as inputs."""
    return [text.encode() for text in texts]


def words_of(path: Path) -> list[str]:
    """Return the lines of a file as a shell gives words to a program."""
    return os.fsdecode(path.read_bytes().replace(b"\0", b"")).split("\n")


def make_presets(place: Path, inputs: Path) -> list[bytes]:
    """Return every preset that comes with the package, and one that extends another."""
    from clp_train.presets import FOLDER

    make_settings(place, inputs)
    found = [path.read_bytes() for path in sorted(FOLDER.glob("*.toml"))]
    return [
        *found,
        b'extends = "spurious-background"\n[settings]\nlr = 0.02\n[data]\ndataset = ["folder"]\nsize = 32\n',
    ]


def read_preset(path: Path) -> object:
    """Read a preset as clp-train does, for a method that has its own settings there."""
    from clp_train.config import make_config
    from clp_train.presets import check_shard, read_method, read_preset

    settings, of_method = read_preset(str(path)), read_method(str(path), "clp")
    config = make_config({"meta": Path("x.h5"), "method": "clp"}, (), settings, of_method).as_json()
    if path.stat().st_size % 2:
        check_shard(str(path), "folder", {"size": 32})
    return config


def make_tables(place: Path, inputs: Path) -> list[bytes]:
    """Return tables of the package, and a small one."""
    from clp_train.bench.spec import FOLDER

    return [TABLE.encode(), *(path.read_bytes() for path in sorted(FOLDER.glob("table*.toml"))[:3])]


def read_table(path: Path) -> object:
    """Read a table as clp-bench does."""
    from clp_train.bench.spec import read_table

    return read_table(str(path)).at("cpu")


def make_settings(place: Path, inputs: Path) -> list[bytes]:
    """Load every method, and return settings of some."""
    from clp_train.config import settings_of
    from clp_train.methods import METHODS

    for method in METHODS:
        settings_of(method)
    return as_bytes(SETTINGS)


def read_settings(path: Path) -> object:
    """Read texts as --set takes them; the first word is the method."""
    from clp_train.config import make_config, spelt_as_options

    method, *texts = words_of(path)
    with spelt_as_options():
        return make_config({"meta": Path("x.h5"), "method": method}, texts).as_json()


def make_class_folders(place: Path, inputs: Path) -> list[bytes]:
    """Write class folders to augment, and return command lines."""
    for c, name in enumerate(CLASSES):
        for i in range(6):
            save(place / "root" / "train" / name / f"{i}.png", picture(c, i))
        save(place / "root" / "test" / name / "0.png", picture(c, 9))
    return as_bytes(LINES)


def read_command_line(path: Path) -> object:
    """Read a command line of clp-augment and the data set that it names."""
    from clp_aug.cli import augment

    root = ["--dataset", "folder", "--root", str(path.parent / "root"), "--out", str(path.parent / "x.h5")]
    return augment.main([*root, *words_of(path), "--dry-run", "--quiet"], standalone_mode=False)


def read_bench_line(path: Path) -> object:
    """Read a command line of clp-bench and say what would be done."""
    from clp_train.bench.cli import bench

    (path.parent / "t.toml").write_text(TABLE)
    folders = ["--work", str(path.parent / "work"), "--out", str(path.parent / "results")]
    return bench.main([str(path.parent / "t.toml"), *folders, *words_of(path), "--dry-run"], standalone_mode=False)


NAMES = [f"train/cat/{i}.png" for i in range(4)]


def make_boxes(place: Path, inputs: Path) -> list[bytes]:
    """Return tables of boxes."""
    rows = "\n".join(f"{name},{i},1,{i + 5}.5,9" for i, name in enumerate(NAMES))
    return as_bytes(
        [f"file,x0,y0,x1,y1\n{rows}\n", f"x0,y0,x1,y1,file,note\n0,0,0,0,{NAMES[0]},a\n1,2,3,4,{NAMES[1]},\n"]
    )


def make_birds(place: Path, inputs: Path) -> list[bytes]:
    """Copy a set with groups, and return its table."""
    shutil.copytree(inputs / "birds", place, dirs_exist_ok=True)
    return [(place / "metadata.csv").read_bytes()]


def make_group_tables(place: Path, inputs: Path) -> list[bytes]:
    """Write pictures of groups, and return tables of them: the plain one, with boxes and masks, with numbers."""
    make_table(place, (2, 1, 1))
    header, *rows = (place / "table.csv").read_text().split()
    boxed = [f"{row};1;1;{4 + k % 3};5.5;{row.split(',')[0] if k % 2 else ''}" for k, row in enumerate(rows)]
    numbers = [",".join((row.split(",")[0], f"{k % 3}.0", f"{k % 2}.0", str(k % 4))) for k, row in enumerate(rows)]
    texts = (
        "\n".join((header, *rows)), "\n".join((f"{header},x0,y0,x1,y1,mask", *boxed)).replace(",", ";"),
        "\n".join(("id,filename,y,split,a", *(f"{k},{row}" for k, row in enumerate(numbers)))),
    )  # fmt: skip
    return as_bytes(texts)


def make_group_lines(place: Path, inputs: Path) -> list[bytes]:
    """Write pictures of groups, and return their table as JSON lines."""
    make_table(place, (2, 1, 1))
    header, *rows = (place / "table.csv").read_text().split()
    (place / "table.csv").unlink()
    names = ["file_name", *header.split(",")[1:]]
    return ["\n".join(json.dumps(dict(zip(names, row.split(","), strict=True))) for row in rows).encode()]


def read_groups(path: Path) -> object:
    """Read a table of pictures as clp-augment does."""
    return table.load(path.parent)


def make_long_tail(place: Path, inputs: Path) -> list[bytes]:
    """Write the published lists and their pictures, and return a training list."""
    return [(make_lists(place) / "ImageNet_LT/ImageNet_LT_train.txt").read_bytes()]


def read_long_tail(path: Path) -> object:
    """Read a training list beside the others as clp-augment does."""
    shutil.copyfile(path, path.parent / "ImageNet_LT/ImageNet_LT_train.txt")
    return lists.load(path.parent, "imagenet-lt")


def make_bird_list(place: Path, inputs: Path) -> list[bytes]:
    """Write cut-outs, and return the table of their classes, with and without splits."""
    make_cutouts(place)
    table = (place / "classes.csv").read_text()
    return as_bytes([table, "\n".join(f"{line},{'train' if i else 'split'}" for i, line in enumerate(table.split()))])


def read_bird_list(path: Path) -> object:
    """Read the table of the birds' classes as clp-data waterbirds does."""
    from clp_aug.making.foregrounds import read_birds

    return len(read_birds(path.parent / "birds", path, None, False)[0])


def make_cub(place: Path, inputs: Path) -> list[bytes]:
    """Write birds in the layout of CUB, and return its list of pictures."""
    names = [f"{c:03d}.{kind}/{i}.png" for c, kind in enumerate(("Mallard", "Cardinal"), 1) for i in range(3)]
    for i, name in enumerate(names):
        save(place / "images" / name, np.dstack([picture(0, i), disc(SIDE)]))
    (place / "train_test_split.txt").write_text("".join(f"{i} {i % 2}\n" for i in range(1, len(names) + 1)))
    return ["".join(f"{i} {name}\n" for i, name in enumerate(names, 1)).encode()]


def read_cub(path: Path) -> object:
    """Read birds as clp-data waterbirds does."""
    from clp_aug.making.foregrounds import read_birds

    return len(read_birds(path.parent, None, None, False)[0])


def make_glt(place: Path, inputs: Path) -> list[bytes]:
    """Write a set with a generalised long tail, and return its file."""
    content: dict[str, Any] = {"id2cat": {"0": "a", "1": "b"}, "cat2id": {"a": "0", "b": "1"}, "generator": {"seed": 0}}
    for split in ("train", "val", "test_lt", "test_bl", "test_bbl"):
        names = [f"{split}-{c}.png" for c in range(2)]
        for c, name in enumerate(names):
            save(place / "images" / name, picture(c, 3))
        keys = [f"/elsewhere/images/{name}" for name in names]
        part = {key: {path: c for c, path in enumerate(keys)} for key in ("label", "frequency", "attribute")}
        content[split] = part
    keyed = {**content, **{s: {**content[s], "path": {k: k for k in content[s]["label"]}} for s in ("train", "val")}}
    return [json.dumps(content).encode(), json.dumps(keyed).encode()]


def make_batches(place: Path, inputs: Path) -> list[bytes]:
    """Write CIFAR-10 in small, and return one batch and the names; pickles of other shapes are bad ones."""
    make_cifar10(place)
    batch = place / "cifar-10-batches-py"
    others = [pickle.dumps({"data": [1, "x", (2.5, None)], b"k": {1: {2: 3}}}, protocol) for protocol in (0, 2, 4)]
    return [(batch / "data_batch_1").read_bytes(), (batch / "batches.meta").read_bytes(), *others]


OPCODES = [
    bytes([code]) for code in b"(.0125FIJKMLNRSTUVXabcdeghijlopqrstu})]\x80\x81\x85\x86\x87\x88\x89\x8c\x93\x94\x95"
]


def pickle_changed(good: bytes, seeds: Sequence[bytes], draw: Draw) -> bytes:
    """Change bytes, or put instructions in, now and then many times."""
    if draw.random() < 0.5:
        return bytes_changed(good, seeds, draw)
    at = draw.randrange(len(good) + 1)
    more = b"".join(draw.choices(OPCODES, k=draw.choice((1, 2, 4)))) * draw.choice((1, 1, 1, 50, 3000))
    return good[:at] + more + good[at:]


def read_batch(path: Path) -> object:
    """Read a batch of CIFAR-10, and its first picture."""
    parse(path)
    shutil.copyfile(path, path.parent / "cifar-10-batches-py" / "data_batch_1")
    return cifar10.load(path.parent).image(0, 16).shape


def read_batch_names(path: Path) -> object:
    """Read the names of the classes of CIFAR-10."""
    parse(path)
    shutil.copyfile(path, path.parent / "cifar-10-batches-py" / "batches.meta")
    return cifar10.load(path.parent).class_names


TREES = (
    "\n".join(f"{split}/{name}/{i}.png" for split in ("train", "val", "test") for name in "ab" for i in range(2)),
    "\n".join(
        [*(f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3)), "masks/cat/0.png", "boxes.csv", "a.txt"]
    ),
    "cat/0.png\ncat/masks/0.png\ntrain/0.png\nimages/0.png\nboxes/0.png\n.hidden/0.png\ncat/Thumbs.db\ndog/0.JPG",
)


def lay_out_tree(path: Path) -> Path:
    """Make the files that an input names below a new folder: pictures and tables; what no disk takes is left out."""
    root = path.parent / "tree"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    good = path.parent / "good.png"
    for name in path.read_bytes().replace(b"\0", b"").splitlines()[:60]:
        place = os.path.normpath(os.path.join(os.fsencode(root), name.lstrip(b"/")))
        if not place.startswith(os.fsencode(root) + b"/"):
            continue
        try:
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if name.endswith(b"/"):
                os.makedirs(place, exist_ok=True)
            elif name.lower().endswith((b".png", b".jpg")):
                os.link(good, place)
            else:
                Path(os.fsdecode(place)).write_text(
                    f"file,x0,y0,x1,y1\n{os.fsdecode(name)},0,0,4,4\n", "utf-8", "replace"
                )
        except OSError:
            continue
    return root


def make_trees(place: Path, inputs: Path) -> list[bytes]:
    """Write the picture that all files of a tree are, and return trees."""
    save(place / "good.png", np.full((6, 6, 3), 90, np.uint8))
    return as_bytes(TREES)


def read_tree(path: Path) -> object:
    """Read class folders."""
    dataset = folder.load(lay_out_tree(path))
    return dataset.fingerprint()


def tree_changed(good: bytes, seeds: Sequence[bytes], draw: Draw) -> bytes:
    """Change names, and move files to other folders."""
    if draw.random() < 0.5:
        return text_changed(good, seeds, draw)
    lines = good.split(b"\n")
    at = draw.randrange(len(lines))
    parts = lines[at].split(b"/")
    parts.insert(draw.randrange(len(parts)), draw.choice((*STRINGS, "train", "masks", "val")).encode("utf-8", "ignore"))
    return b"\n".join([*lines[:at], b"/".join(parts), *lines[at + 1 :]])


READERS = {
    "preset": Reader(make_presets, "x.toml", text_changed, read_preset, cost=3),
    "table": Reader(make_tables, "x.toml", text_changed, read_table, cost=1.2),
    "settings": Reader(make_settings, "x", text_changed, read_settings, cost=1.5),
    "augment-line": Reader(make_class_folders, "x", line_changed, read_command_line, cost=2),
    "bench-line": Reader(lambda *_: as_bytes(BENCH), "x", line_changed, read_bench_line, cost=2),
    "boxes": Reader(make_boxes, "x.csv", text_changed, lambda path: read_boxes(NAMES, path), cost=0.3),
    "waterbirds": Reader(make_birds, "metadata.csv", text_changed, lambda path: waterbirds.load(path.parent), cost=1),
    "group-table": Reader(make_group_tables, "table.csv", text_changed, read_groups, cost=2),
    "group-lines": Reader(make_group_lines, "metadata.jsonl", text_changed, read_groups, cost=2),
    "long-tail": Reader(make_long_tail, "train.txt", text_changed, read_long_tail, cost=2),
    "bird-list": Reader(make_bird_list, "x.csv", text_changed, read_bird_list, cost=0.7),
    "cub-list": Reader(make_cub, "images.txt", text_changed, read_cub),
    "glt": Reader(
        make_glt, "generated_glt.json", json_changed, lambda path: glt.load(path.parent, "generated-glt"), cost=0.6
    ),
    "cifar-batch": Reader(make_batches, "x", pickle_changed, read_batch, cost=0.6),
    "cifar-names": Reader(make_batches, "x", pickle_changed, read_batch_names, cost=0.5),
    "folders": Reader(make_trees, "x", tree_changed, read_tree, cost=4),
}

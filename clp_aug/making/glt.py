"""clp-data glt: a benchmark of the generalised long tail from any labelled set, "generated-GLT": no published split.

Within each class, k-means finds clusters; sorted by size and merged in pairs they become three attributes, in place of
annotations. Then `glt_splits.divide` assigns the pictures to splits. Two JSON files in the published format hold the
splits; the data sets generated-glt and generated-cbl read them. Source: Tang et al. 2022.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clp_aug.common.files import disk_errors, remove_leftovers, written_beside
from clp_aug.common.locks import held_for
from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets import DATASETS, find_root, folder, load_dataset, registered
from clp_aug.datasets.base import Dataset, FileDataset
from clp_aug.datasets.glt import LAYOUTS
from clp_aug.making.folder import folder_made_beside
from clp_aug.making.foregrounds import bytes_of
from clp_aug.making.glt_config import GltConfig
from clp_aug.making.glt_splits import SHARES, Benchmark, Rows, divide
from clp_aug.protocol.clusters import CLUSTERS, cluster
from clp_aug.protocol.features import default_features, features_of

FILES = {"glt": LAYOUTS["generated-glt"].files[0], "cbl": LAYOUTS["generated-cbl"].files[0]}
SPLITS = ("train", "val", "test_lt", "test_bl", "test_bbl")
MANY, MEDIUM = 0.4, 0.85  # share of the classes by rank: many-shot up to MANY, medium-shot up to MEDIUM, then few-shot


@dataclass(frozen=True)
class Outcome:
    """The result. path: the root of the new data sets; counts: training set -> split -> pictures; smallest, largest:
    class sizes of Train-GLT; per_attribute: test_bbl pictures of each class and attribute; short: pictures that the
    long tail needed but attributes did not have; features: name of the clustered features.
    """

    path: Path
    counts: dict[str, dict[str, int]]
    largest: int
    smallest: int
    per_attribute: int
    short: int
    features: str


Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def make(config: GltConfig, progress: Progress) -> Outcome:
    """Make the benchmark: features, clusters, splits, files; the same settings give the same files on one machine.

    progress: (stage, total) -> context whose value is called with the amount done. Raises UsageError for a source that
    is too small and for files that exist already, InputError for a source that cannot be read and a disk that refuses.
    """
    with disk_errors(Path(config.source), "read"):
        dataset = source_of(config)
    where = config.out or (dataset.root if isinstance(dataset, FileDataset) and dataset.loose else None)
    if where is None:
        raise UsageError(f"--from {config.source}: its pictures are no files; give a folder for them with --out DIR")
    with disk_errors(Path(where)), destination(config, Path(where)) as folder:
        return make_in(folder, Path(where), dataset, config, progress)


@contextmanager
def destination(config: GltConfig, where: Path) -> Iterator[Path]:
    """Lock the place of a benchmark for this run; yield the folder to write to: with --out a new one.

    Raises UsageError if a benchmark is there already and must not be replaced, or if another run makes one.
    """
    if config.out is not None:
        with folder_made_beside(config.out) as new:
            yield new
        return
    files = [where / file for file in FILES.values()]
    with held_for(files[0]):
        for file in files:
            if file.exists() and not config.overwrite:
                raise UsageError(f"{file}: it exists already; give --overwrite, or --out DIR for a copy")
            remove_leftovers(file)
        yield where


def make_in(folder: Path, where: Path, dataset: Dataset, config: GltConfig, progress: Progress) -> Outcome:
    """Make the benchmark in a folder that is `where` now or later. Raises UsageError for a source that is too small."""
    name = config.features or default_features()
    rows = dataset.samples.ascending(np.arange(len(dataset.samples.label)))
    with progress("FEATURES", len(rows)) as advance:
        features = features_of(dataset, rows, name, advance)
    with progress("CLUSTER", len(dataset.class_names)) as advance:
        attribute = attributes_of(features, dataset.samples.label[rows], config.seed, advance)
    order = rank_classes(dataset, config.seed)
    pools = shuffled_pools(rows, dataset.samples.label[rows], attribute, order, config.seed)
    classes = [dataset.class_names[c] for c in order]
    made = divide(pools, classes, config.imbalance, config.per_attribute, rng_for(config.seed, 0, "glt pool"))
    about = {
        "name": "generated-GLT, not a published split",
        "source": dataset.name,
        "fingerprint": dataset.fingerprint(),
        "seed": config.seed,
        "imbalance": config.imbalance,
        "per_attribute": made.per_attribute,
        "features": name,
        "clusters": CLUSTERS,
        "short": made.short,
    }
    names = dict(enumerate(dataset.samples.name))
    if config.out is not None:
        with progress("COPY", used(made).size) as advance:
            names = copy_pictures(dataset, used(made), folder, advance)
    write_files(folder, made, classes, about, names)
    train = [sum(len(rows) for (c, _), rows in made.sets["glt"]["train"].items() if c == k) for k in range(len(order))]
    counts = {kind: {s: sum(map(len, made.sets[kind][s].values())) for s in SPLITS} for kind in FILES}
    return Outcome(where, counts, max(train), min(train), made.per_attribute, sum(made.short), name)


def source_of(config: GltConfig) -> Dataset:
    """Return the labelled set for the benchmark. Raises InputError that lists the folders that were tried."""
    if registered(config.source) in DATASETS and config.source != "folder":
        return load_dataset(config.source, config.root)
    place = config.root or Path(config.source)
    if not place.is_dir():
        place = find_root(config.source, config.root) or place
    return folder.load(place, place.resolve().name, hold_out=False)


def attributes_of(features: np.ndarray, label: np.ndarray, seed: int, watch: Callable[[int], None]) -> np.ndarray:
    """Return the attribute of each picture, int64 (n,), 0 the largest of its class: six clusters merged in pairs.

    features: float32 (n, A); label: int64 (n,); watch: called with the number of classes done. The largest two clusters
    are attribute 0, the smallest two attribute 2; with fewer clusters the last attributes are empty.
    """
    attribute = np.empty(len(label), np.int64)
    for c in np.unique(label):
        attribute[label == c] = cluster(features[label == c], CLUSTERS, seed, int(c)) // (CLUSTERS // len(SHARES))
        watch(1)
    return attribute


def rank_classes(dataset: Dataset, seed: int) -> np.ndarray:
    """Return the classes, int64 (C,), by falling number of pictures; equally large classes in an order from the seed.

    In label order, the head of a set with equal classes would depend on its names. Source: ours.
    """
    counts = np.bincount(dataset.samples.label, minlength=len(dataset.class_names))
    shuffled = rng_for(seed, 0, "glt classes").permutation(len(counts))
    return shuffled[np.argsort(-counts[shuffled], kind="stable")]


def shuffled_pools(rows: np.ndarray, label: np.ndarray, attribute: np.ndarray, order: np.ndarray, seed: int) -> Rows:
    """Return the rows of each (rank of class, attribute), shuffled, each cell with its own generator."""
    cells = {(c, a): rows[(label == old) & (attribute == a)] for c, old in enumerate(order) for a in range(len(SHARES))}
    return {
        (c, a): rng_for(seed, int(order[c]) * len(SHARES) + a, "glt rows").permutation(own)
        for (c, a), own in cells.items()
    }


def used(made: Benchmark) -> np.ndarray:
    """Return every row that is in some split, ascending."""
    parts = [rows for splits in made.sets.values() for cells in splits.values() for rows in cells.values()]
    return np.unique(np.concatenate(parts))


def copy_pictures(dataset: Dataset, rows: np.ndarray, out: Path, watch: Callable[[int], None]) -> dict[int, str]:
    """Write the pictures below `out`, files unchanged, others as PNG, with masks and boxes; return row -> name."""
    names = {}
    boxes = ["file,x0,y0,x1,y1"]
    for row in rows.tolist():
        label, sample_id = dataset.samples.label[row], dataset.samples.sample_id[row]
        if isinstance(dataset, FileDataset) and dataset.loose:
            names[row] = dataset.samples.name[row]
            copy(dataset.root / names[row], out / names[row])
            if row in dataset.annotations.masks:
                copy(Path(str(dataset.annotations.masks[row])), (out / "masks" / names[row]).with_suffix(".png"))
            if row in dataset.annotations.boxes:
                quoted = names[row].replace('"', '""')
                boxes.append(f'"{quoted}",' + ",".join(map(str, dataset.annotations.boxes[row])))
        else:
            names[row] = f"images/{label:04d}/{sample_id:08d}.png"
            (out / names[row]).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(dataset.image(row)).save(out / names[row])
        watch(1)
    if len(boxes) > 1:
        (out / "boxes.csv").write_text("\n".join(boxes) + "\n", "utf-8")
    return names


def copy(source: Path, target: Path) -> None:
    """Copy one file and make its folder. Raises InputError if the source cannot be read."""
    content = bytes_of(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def write_files(where: Path, made: Benchmark, classes: list[str], about: dict[str, Any], names: dict[int, str]) -> None:
    """Write the files of both training sets, in the published format, plus "generator": how they were made.

    classes: names by rank; names: row -> relative path of its picture. Both files are renamed when both are complete.
    """
    with ExitStack() as renamed:
        for kind, splits in made.sets.items():
            temporary = renamed.enter_context(written_beside(where / FILES[kind]))
            temporary.write_text(json.dumps(content_of(splits, classes, about, names)), "utf-8")


def content_of(
    splits: dict[str, Rows], classes: list[str], about: dict[str, Any], names: dict[int, str]
) -> dict[str, Any]:
    """Return the content of the file of one training set."""
    content: dict[str, Any] = {
        "generator": about,
        "id2cat": {str(i): name for i, name in enumerate(classes)},
        "cat2id": {name: str(i) for i, name in enumerate(classes)},
    }
    for split in SPLITS:
        listed = [(names[row], c, a) for (c, a), rows in sorted(splits[split].items()) for row in rows.tolist()]
        content[split] = {
            "label": {name: str(c) for name, c, _ in listed},
            "frequency": {name: frequency(c, len(classes)) for name, c, _ in listed},
            "attribute": {name: a for name, _, a in listed},
        }
    return content


def frequency(rank: int, classes: int) -> int:
    """Return 0 for a many-shot class, 1 for a medium-shot and 2 for a few-shot class, by its rank among `classes`."""
    return int(rank >= MANY * classes) + int(rank >= MEDIUM * classes)

"""READ pictures from tar files in the layout of webdataset; nothing is unpacked.

    --dataset wds:'train-{0000..0099}.tar' --root DIR

`tar_patterns` explains such names, `tar_index` the layout of a tar, docs/how-to/data.md both for users.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clp_aug.contract.errors import InputError
from clp_aug.datasets.attached import Annotations, Stored
from clp_aug.datasets.base import SPLITS, TEST, TRAIN, FileDataset, Samples
from clp_aug.datasets.folder import hold_out_rows
from clp_aug.datasets.frames import Corners
from clp_aug.datasets.mask_forms import BY_ITSELF
from clp_aug.datasets.masks import NotMasks, check_masks, remarks_on
from clp_aug.datasets.names import short_path, shown, some
from clp_aug.datasets.table_columns import Columns, Row
from clp_aug.datasets.table_groups import groups_of, rare_groups
from clp_aug.datasets.tar_index import TarIndex
from clp_aug.datasets.tar_labels import Labels, labels_of
from clp_aug.datasets.tar_members import Member
from clp_aug.datasets.tar_patterns import FOLDERS, OTHER_TEST, Tar, find_tars
from clp_aug.datasets.tar_store import indexes_of

SPLIT, GROUP = "split", "group"
NO_ATTRIBUTES = ("filename", "file_name", "file", "path", "key", "__key__", "url", "id", "width", "height", "caption")
SHOWN_ATTRIBUTES = 8
NONE_HELD_OUT = "no tar of val or test, and every class has few pictures, so no pictures were held out"
HELD_OUT_REMARK = (
    "no tar of val or test: both were held out of each class by the names of the pictures; to choose them, name tars,"
    " for example wds:train=A.tar,val=B.tar,test=C.tar"
)


@dataclass(frozen=True)
class SampleRow(Row):
    """One sample of a tar in place of the line of a table. sample: its name in the tar."""

    sample: str = ""

    @property
    def where(self) -> str:
        """Tar file and sample, for messages."""
        return f"{self.path}: {short_path(self.sample)}"


class TarDataset(FileDataset):
    """Pictures in tar files. The id of a picture gives its place: its position in all of the tars.

    splits: train, val, test, then other test splits from the user.
    """

    loose = False

    def __init__(
        self, name: str, root: Path, class_names: Sequence[str], samples: Samples, group_names: Sequence[str],
        splits: tuple[str, ...], tars: Sequence[Tar], indexes: Sequence[TarIndex],
    ) -> None:  # fmt: skip
        self.splits = splits
        self.tars = [(Path(root) / tar.name, index.tar_size) for tar, index in zip(tars, indexes, strict=True)]
        self.inside = [len(tar.name) + 1 for tar in tars]  # start of the name in the tar, within the name of a sample
        self.tar_of = np.repeat(np.arange(len(tars), dtype=np.int32), [len(index.name) for index in indexes])
        self.start = np.concatenate([np.asarray(index.start, np.int64) for index in indexes])
        self.size = np.concatenate([np.asarray(index.size, np.int64) for index in indexes])
        super().__init__(name, root, class_names, samples, group_names)

    def path_of(self, row: int) -> Stored:
        """Return the place of a row's picture."""
        at = int(self.samples.sample_id[row])
        which = int(self.tar_of[at])
        tar, size = self.tars[which]
        name = self.samples.name[row][self.inside[which] :]
        return Member(tar, size, name, int(self.start[at]), int(self.size[at]))


def load(root: Path, name: str = "wds", attributes: Sequence[str] = ()) -> TarDataset:
    """Return the data set of the tar files of a name, in a root; ids are positions, training tars first.

    attributes: keys of the JSON files whose values form groups with the label, ("none",) for no groups; by default the
    key group as it is. Raises UsageError for a malformed name, InputError for tars that cannot be read and for samples
    without a label, SettingError for attributes that no JSON file has. Source: ours.
    """
    root = Path(root)
    tars = find_tars(name, root)
    indexes = indexes_of([root / tar.name for tar in tars])
    filled = [(tar, index) for tar, index in zip(tars, indexes, strict=True) if index.name]
    if not filled:
        raise InputError(f"data set {name}: no sample in {some(tar.name for tar in tars)}; expected pictures with their"
                         " labels, for example cat.jpg and cat.cls")  # fmt: skip
    tars, indexes = [tar for tar, _ in filled], [index for _, index in filled]
    names = [f"{tar.name}/{inside}" for tar, index in filled for inside in index.name]
    inside = [inside for index in indexes for inside in index.name]
    labels = labels_of(name, root, tars, indexes)
    split, splits, of_splits = splits_of(name, tars, indexes, labels, inside)
    check_trained(name, labels, split, splits)
    groups, of_groups = groups_of_samples(root, tars, indexes, labels, attributes, split)
    samples = Samples.of(labels.number, split, names, group=groups[0] if groups[1] else None)
    dataset = TarDataset(name, root, labels.names, samples, groups[1], splits, tars, indexes)
    dataset.annotations, of_masks = annotations_of(dataset, indexes)
    dataset.remarks = (*labels.remarks, *of_splits, *of_groups, *of_masks, *passed_over(indexes))
    return dataset


def splits_of(
    name: str, tars: Sequence[Tar], indexes: Sequence[TarIndex], labels: Labels, inside: list[str]
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Return the number of each sample's split, uint8 (n,), the splits by name, and remarks.

    Splits come from the tar, else from the key split of the JSON files. If all is training data, some of each class are
    held out, as in the data set `folder`. Raises InputError if tar and JSON file differ, and if only some samples have
    a split.
    """
    texts: list[str] = []
    for tar, index in zip(tars, indexes, strict=True):
        column = index.values.get(SPLIT)
        if column is None:
            texts += [tar.split] * len(index.name)
            continue
        meant = {text: split_named(name, tar, text) for text in set(column)}
        for sample, text in zip(index.name, column, strict=True):
            if tar.split and text and meant[text] != tar.split:
                raise InputError(f"{tar.name}: {short_path(sample)} is of {meant[text]} by its JSON file, its tar of"
                                 f" {tar.split}; correct one")  # fmt: skip
            texts.append(meant[text] or tar.split)
    counts = Counter(texts)
    if 0 < counts[""] < len(texts):
        ends = np.cumsum([len(index.name) for index in indexes])
        first = tars[int(np.searchsorted(ends, texts.index(""), "right"))].name
        raise InputError(
            f"data set {name}: {first} has no split, but others have"
            f" {some(sorted(set(counts) - {''}))}; name its split, e.g. wds:train={first},..."
        )
    others = sorted(set(counts) - {*SPLITS, ""})
    splits = (*SPLITS[:TEST], *(SPLITS[TEST:] if counts[SPLITS[TEST]] or not others else ()), *others)
    number = {text: splits.index(text or SPLITS[TRAIN]) for text in counts}
    split = np.array([number[text] for text in texts], np.uint8)
    if set(counts) - {"", SPLITS[TRAIN]}:
        return split, splits, ()
    held_out = np.array(hold_out_rows(labels.number.tolist(), inside), np.uint8)
    return held_out, splits, (HELD_OUT_REMARK if held_out.any() else NONE_HELD_OUT,)


def split_named(name: str, tar: Tar, text: str) -> str:
    """Return the split that a JSON file names, "" for none. Raises InputError for a word that is no split."""
    split = FOLDERS.get(text.lower()) or (text if OTHER_TEST.fullmatch(text) else None)
    if text and split is None:
        raise InputError(f"{tar.name}: split is {shown(text)} in a JSON file; expected train, val, test or test_NAME")
    return split or ""


def check_trained(name: str, labels: Labels, split: np.ndarray, splits: Sequence[str]) -> None:
    """Raise InputError for a class without training pictures."""
    trained = np.zeros(len(labels.names), bool)
    trained[labels.number[split == TRAIN]] = True
    for c in np.flatnonzero(~trained):
        where = splits[int(split[labels.number == c][0])]
        raise InputError(f"data set {name}: class {shown(labels.names[c])} of {where} has no training picture; add"
                         " some, or leave its samples out")  # fmt: skip


def groups_of_samples(
    root: Path, tars: Sequence[Tar], indexes: Sequence[TarIndex], labels: Labels, attributes: Sequence[str],
    split: np.ndarray,
) -> tuple[tuple[list[int], tuple[str, ...]], list[str]]:  # fmt: skip
    """Return the group of each sample, the names of the groups (both empty without groups), and remarks."""
    keys = {key for index in indexes for key in index.values} - {SPLIT}
    whole = sorted(key for key in keys - {GROUP} if all(all(index.values.get(key, [""])) for index in indexes))
    group = GROUP if GROUP in keys else ""
    if not (attributes or group):
        offered = [key for key in whole if key not in NO_ATTRIBUTES]
        remark = f"keys of the JSON files that could form groups with --attributes: {some(offered, SHOWN_ATTRIBUTES)}"
        return ([], ()), [remark] if offered else []
    columns = Columns("", "", "", group, "", None, tuple(whole), ())
    wanted = {name.lower() for name in attributes} & {*whole, group} or {group}
    rows = [
        SampleRow(root / tar.name, 0, {key: index.values[key][k] if key in index.values else "" for key in wanted},
                  sample=sample)
        for tar, index in zip(tars, indexes, strict=True) for k, sample in enumerate(index.name)
    ]  # fmt: skip
    groups = groups_of(rows, columns, labels.number.tolist(), labels.names, attributes, root / tars[0].name)
    return (groups.number, groups.names), [*groups.remarks, *rare_groups(groups, split.tolist())]


def annotations_of(dataset: TarDataset, indexes: Sequence[TarIndex]) -> tuple[Annotations, tuple[str, ...]]:
    """Return the masks and boxes that come with the pictures, and remarks on how masks are read."""
    masks: dict[int, Stored] = {}
    boxes: dict[int, Corners] = {}
    first = 0
    for (tar, size), index in zip(dataset.tars, indexes, strict=True):
        masks |= {first + row: Member(tar, size, *mask) for row, mask in index.masks.items()}
        boxes |= {first + row: box for row, box in index.boxes.items()}
        first += len(index.name)
    source = "box of its JSON file" if boxes else ""
    if not masks:
        return Annotations(boxes=boxes, source=source), ()
    found = list(masks.values())
    try:
        check_masks(dataset.root, found)
    except NotMasks as error:
        said = str(error).partition("; if these are numbers")[0]
        doubt = f"{said}; write masks like that, or give a folder of them with --masks DIR --masks-form index"
        return Annotations(boxes=boxes, source=source, doubt=doubt), ()
    return Annotations(masks, boxes, source=source), remarks_on(dataset.root, found, BY_ITSELF)


def passed_over(indexes: Sequence[TarIndex]) -> tuple[str, ...]:
    """Return a remark on the files of tars that belong to no sample, or are not used."""
    counts = sum((index.others for index in indexes), Counter[str]())
    if not counts:
        return ()
    kinds = some(f"{count:,} {kind}" for kind, count in counts.most_common())
    return (f"files in the tars ignored: {kinds}",)

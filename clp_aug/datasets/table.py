"""READ a table of labelled pictures: file and label; optional split, group, attributes, box and mask of each.

ROOT/table.csv, else ROOT/metadata.csv or ROOT/metadata.jsonl, else the only table in ROOT, else tables of these names
in ROOT/train, ROOT/val and ROOT/test, as in the image folders of Hugging Face. docs/how-to/data.md has the columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from clp_aug.contract.errors import InputError
from clp_aug.datasets.annotation_words import PIXELS
from clp_aug.datasets.annotations import with_own
from clp_aug.datasets.attached import Annotations
from clp_aug.datasets.base import SPLITS, TEST, TRAIN, FileDataset, Samples
from clp_aug.datasets.box_forms.choosing import Chosen, choose
from clp_aug.datasets.box_forms.found import Found
from clp_aug.datasets.box_forms.pictures import Pictures
from clp_aug.datasets.class_folders import BOXES, MASKS, OTHER_SPELLINGS, list_folder
from clp_aug.datasets.folder import HELD_OUT, hold_out_rows
from clp_aug.datasets.free_tables import TABLE_SUFFIXES, read_free_table
from clp_aug.datasets.masks import check_masks
from clp_aug.datasets.names import LONGEST_PATH, check_names, is_file, is_folder, short_path, shown, some
from clp_aug.datasets.paths import check_there, relative
from clp_aug.datasets.table_columns import Columns, Row, column, columns_of, numbered
from clp_aug.datasets.table_groups import groups_of, rare_groups

TABLES = ("table.csv", "metadata.csv", "metadata.jsonl")
FOLDERS = {**{name: name for name in SPLITS}, **OTHER_SPELLINGS}  # of splits, in lower case -> split
SPELLINGS = {**FOLDERS, **{str(number): name for number, name in enumerate(SPLITS)}}
LARGEST_SHARE = 1.01  # largest value of a box in fractions of the picture's sides
OTHER_TEST = re.compile(r"test[_-][A-Za-z0-9_-]{1,40}")


class TableDataset(FileDataset):
    """Pictures of a table. splits: train, val, test, then its other test splits."""

    def __init__(
        self, root: Path, class_names: Sequence[str], samples: Samples, splits: tuple[str, ...],
        group_names: Sequence[str], annotations: Annotations, remarks: tuple[str, ...],
    ) -> None:  # fmt: skip
        self.splits, self.remarks = splits, remarks
        super().__init__("table", root, class_names, samples, group_names, annotations)


def load(root: Path, attributes: Sequence[str] = ()) -> TableDataset:
    """Return the data set of the table in ROOT; ids are positions of rows.

    attributes: columns whose values form groups with the label, ("none",) for no groups; by default the column group as
    it is, else all columns without another meaning, crossed. Raises InputError, with file and line, for malformed
    values, and for missing pictures, with their number; SettingError for attributes that the table does not have.
    """
    root = Path(root)
    paths = find_tables(root)
    columns, rows = read_rows(root, paths)
    names = picture_names(rows, columns, root, paths[0])
    labels, class_names, remarks = labels_of(rows, columns, names, paths[0])
    label = numbered(labels, class_names)
    split, splits, of_splits = splits_of(rows, columns, label, class_names, names)
    groups = groups_of(rows, columns, label, class_names, attributes, paths[0])
    masks = masks_of(rows, columns, root, paths[0])
    boxes = boxes_of(rows, columns, names, paths[0])
    remarks += (*passed_over(columns), *groups.remarks, *rare_groups(groups, split), *of_splits, *boxes.remarks)
    annotations = Annotations(masks, boxes.boxes, source=str(paths[0]), places=boxes.places, sizes=boxes.sizes)
    dataset = TableDataset(
        root, class_names, Samples.of(label, split, names, group=groups.number if groups.names else None), splits,
        groups.names, annotations, remarks,
    )  # fmt: skip
    beside = (root / MASKS if not columns.mask and is_folder(root / MASKS) else None,
              root / BOXES if not columns.box and is_file(root / BOXES) else None)  # fmt: skip
    return with_own(dataset, *beside, of_more=True)


def find_tables(root: Path) -> list[Path]:
    """Return the table of a root, or the tables of its folders train, val and test.

    Raises InputError for a root without a table, and for several tables if none has a name of TABLES.
    """
    there = list_folder(root)
    tables = [name for name in there.others
              if name.lower().endswith(TABLE_SUFFIXES) and name != BOXES and not name.startswith(".")]  # fmt: skip
    first = next((name for name in TABLES if name in tables), None)
    if first or len(tables) == 1:
        return [root / (first or tables[0])]
    if tables:
        raise InputError(f"{root}: several tables, {some(tables)}; rename the right one to {TABLES[0]}")
    inside = [root / folder / name for folder in there.folders for name in TABLES[1:]
              if folder.lower() in FOLDERS and is_file(root / folder / name)]  # fmt: skip
    if not inside:
        near = [*(root / folder for folder in there.folders), root.absolute().parent]
        found = next((place for place in near if any(is_file(place / name) for name in TABLES)), None)
        remedy = f"give --root {found}" if found else "see docs/how-to/data.md"
        raise InputError(f"data set table: no {', '.join(TABLES)} and no other CSV file in {root}; {remedy}")
    return inside


def read_rows(root: Path, paths: Sequence[Path]) -> tuple[Columns, list[Row]]:
    """Return the meaning of the columns and the rows of all tables. Raises InputError for two different headers."""
    tables = [read_free_table(path) for path in paths]
    for table in tables[1:]:
        if set(table.columns) != set(tables[0].columns):
            raise InputError(f"{table.path}: other columns than {tables[0].path}; give all tables the same header")
    rows = []
    for table in tables:
        folder = "" if table.path.parent == root else table.path.parent.name
        split = FOLDERS.get(folder.lower(), "")
        rows += [Row(table.path, line, values, folder, split) for line, values in table.rows]
    return columns_of(tables[0]), rows


def picture_names(rows: Sequence[Row], columns: Columns, root: Path, path: Path) -> list[str]:
    """Return the names of the pictures below the root.

    Raises InputError for a picture that is outside the root, occurs twice or is missing.
    """
    names = []
    rows_of: dict[str, str] = {}  # name -> where
    for row in rows:
        name = name_below(row, columns.file, root)
        if name in rows_of:
            raise InputError(f"{row.where}: {short_path(name)} is in {rows_of[name]} already; list a picture once")
        rows_of[name] = row.where
        names.append(name)
    check_names(names, "picture", path, LONGEST_PATH)
    check_there(root, names, path)
    return names


def name_below(row: Row, column: str, root: Path) -> str:
    """Return the file of a row in a column, relative to the root. Raises InputError for a path that leads out."""
    text = row.values[column]
    name = relative(text, root / row.folder) if text else None
    if name is None:
        raise InputError(f"{row.where}: {column} is {shown(text)}; expected a path below {root / row.folder}")
    return (PurePosixPath(row.folder) / name).as_posix()


def labels_of(
    rows: Sequence[Row], columns: Columns, names: Sequence[str], path: Path
) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Return the label of each row, the class names in their order, and remarks.

    Without a label column a picture's class is its folder. Raises InputError for a picture without a folder.
    """
    if columns.label:
        return (*column(rows, columns.label, "label", path), ())
    labels = []
    for row, name in zip(rows, names, strict=True):
        folder = PurePosixPath(name).parent.name
        if not folder or folder.lower() in FOLDERS:
            raise InputError(f"{row.where}: no column label, and {short_path(name)} is in no class folder; add one")
        labels.append(folder)
    return labels, sorted(set(labels)), ("no column label: classes are the folders of the pictures",)


def splits_of(
    rows: Sequence[Row], columns: Columns, label: list[int], class_names: Sequence[str], names: list[str]
) -> tuple[list[int], tuple[str, ...], tuple[str, ...]]:
    """Return the number of each row's split, the splits, and remarks.

    Splits come from the column split, else from the folder of the table or of the pictures, train/, val/ and test/. If
    there are only training pictures, or no splits, some of each class are held out, as in the data set `folder`.
    """
    tops = [PurePosixPath(name).parts[0].lower() for name in names]
    if columns.split:
        texts = [spelling_of(row, columns.split) for row in rows]
    elif all(row.split for row in rows):
        texts = [row.split for row in rows]
    elif all(top in FOLDERS for top in tops):
        texts = [FOLDERS[top] for top in tops]
    else:
        texts = [SPLITS[TRAIN]] * len(rows)
    others = sorted(set(texts) - set(SPLITS))
    splits = (*SPLITS[:TEST], *(SPLITS[TEST:] if SPLITS[TEST] in texts or not others else ()), *others)
    split = numbered(texts, splits)
    if columns.split or set(split) != {TRAIN}:
        return split, splits, ()
    split = hold_out_rows(label, names)
    return split, splits, remarks_on_held_out(label, split, class_names)


def spelling_of(row: Row, column: str) -> str:
    """Return the split of a row. Raises InputError for an unknown split."""
    text = row.values[column]
    whole = text[:-2] if text.endswith(".0") else text
    found = SPELLINGS.get(whole.lower()) or (text if OTHER_TEST.fullmatch(text) else None)
    if found is None:
        raise InputError(
            f"{row.where}: {column} is {shown(text)}; expected train, val, test or 0, 1, 2; other test splits have"
            " names like test_NAME"
        )
    return found


def remarks_on_held_out(label: Sequence[int], split: Sequence[int], class_names: Sequence[str]) -> tuple[str, ...]:
    """Return what a user should know about pictures that were held out."""
    tested = {c for c, which in zip(label, split, strict=True) if which == TEST}
    small = [name for c, name in enumerate(class_names) if c not in tested]
    few = f"fewer than {HELD_OUT[TEST]} pictures"
    if len(small) == len(class_names):
        return (f"no column split, and every class has {few}, so no pictures were held out as val and test",)
    remarks = ("no column split: val and test were held out of each class by file name; to choose them, add one",)
    return (*remarks, f"classes with {few}, so without a test picture: {some(small)}") if small else remarks


def passed_over(columns: Columns) -> tuple[str, ...]:
    """Return a remark on the columns that are ignored."""
    return (f"columns ignored: {some(columns.passed_over)}",) if columns.passed_over else ()


def masks_of(rows: Sequence[Row], columns: Columns, root: Path, path: Path) -> dict[int, Path]:
    """Return row -> mask from the column mask, without empty values. Raises InputError for files that are no masks."""
    if not columns.mask:
        return {}
    named = {k: name_below(row, columns.mask, root) for k, row in enumerate(rows) if row.values[columns.mask]}
    check_there(root, list(named.values()), path)
    masks = {k: root / name for k, name in named.items()}
    if masks:
        check_masks(root, list(masks.values()))
    return masks


def boxes_of(rows: Sequence[Row], columns: Columns, names: Sequence[str], path: Path) -> Chosen:
    """Return the box of each row in source pixels, half open; empty values mean no box.

    path: of the table, for messages. Raises InputError for an invalid box, and for fractions of the picture's sides.
    """
    found, pictures = [], Pictures(names)
    for row, name in zip(rows, names, strict=True):
        values = {column.lower(): value for column, value in row.values.items()}
        if columns.box is not None and any(values[column] for column in columns.box.names):
            box = columns.box.box(values, row.where)
            found.append(Found(name, box, f"line {row.line}", size=columns.box.size(values)))
    if not found:
        return Chosen()
    if all(max(each.box) <= LARGEST_SHARE for each in found):
        raise InputError(
            f"{path} {found[0].place}: box {found[0].box}, and all others are as small; expected pixels, not"
            " fractions of the picture's sides"
        )
    return choose(found, pictures, path, units=PIXELS)

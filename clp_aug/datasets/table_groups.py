"""READ: the groups of a table of pictures: from its column group, or its labels crossed with columns of attributes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clp_aug.contract.errors import InputError, SettingError, listed, suggestion
from clp_aug.datasets.base import TRAIN
from clp_aug.datasets.names import shortened, some
from clp_aug.datasets.table_columns import Columns, Row, column, numbered

NO_GROUPS = ("none",)
MOST_GROUPS = 1000


@dataclass(frozen=True)
class Groups:
    """The groups of a table. number: group of each picture; names: of the groups, label by label, empty without groups;
    remarks: a line each.
    """

    number: list[int]
    names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def groups_of(
    rows: Sequence[Row],
    columns: Columns,
    label: Sequence[int],
    class_names: Sequence[str],
    attributes: Sequence[str],
    path: Path,
) -> Groups:
    """Return the groups of a table. label: of each row; attributes: columns to cross with it, from the user.

    Group = label x attributes, in that order, all combinations: the group number modulo the number of combinations of
    attributes is the same for all labels. Raises SettingError for missing columns, InputError for too many groups.
    """
    if tuple(attributes) == NO_GROUPS:
        return Groups([])
    if not attributes and columns.group:
        return named_groups(rows, columns.group, label, path)
    chosen = chosen_of(columns, attributes)
    if not chosen:
        return Groups([])
    values = {name: column(rows, name, "value", path) for name in chosen}
    sizes = [len(class_names), *(len(different) for _, different in values.values())]
    if math.prod(sizes) > MOST_GROUPS:
        counts = ", ".join(f"{name} with {len(different):,}" for name, (_, different) in values.items())
        remedy = "choose columns with --attributes NAME,NAME, or --attributes none"
        raise InputError(
            f"{path}: {len(class_names):,} labels and the values of {shortened(counts)} make {math.prod(sizes):,}"
            f" groups, expected at most {MOST_GROUPS:,}; {remedy}"
        )
    number, names = np.asarray(label, np.int64), list(class_names)
    for name, (of_rows, different) in values.items():
        number = number * len(different) + np.asarray(numbered(of_rows, different), np.int64)
        names = [f"{group}, {name} {value}" for group in names for value in different]
    crossed = f"groups are label x {' x '.join(chosen)}"
    remarks = (f"{crossed}; for others take --attributes",) if not attributes and len(chosen) > 1 else (crossed,)
    return Groups(number.tolist(), tuple(names), remarks)


def chosen_of(columns: Columns, attributes: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of attributes to cross, by default all of them."""
    there = {name.lower(): name for name in (*columns.attributes, *filter(None, (columns.group,)))}
    for name in attributes:
        if name.lower() not in there:
            hint = suggestion(there, name.lower())
            has = f"{hint}choose of {listed(there.values())}, or none" if there else "its table has no such columns"
            raise SettingError("attributes", ",".join(attributes), f"no column {name} of attributes; {has}")
    chosen = tuple(there[name.lower()] for name in attributes)
    if len(set(chosen)) < len(chosen):
        raise SettingError("attributes", ",".join(attributes), "a column is named twice; name each once")
    return chosen or columns.attributes


def named_groups(rows: Sequence[Row], name: str, label: Sequence[int], path: Path) -> Groups:
    """Return the groups of a column, as they are."""
    values, different = column(rows, name, "group", path)
    if len(different) > MOST_GROUPS:
        raise InputError(
            f"{path}: {len(different):,} different values of {name}, expected at most {MOST_GROUPS:,} groups; choose"
            " columns with --attributes NAME,NAME, or --attributes none"
        )
    number = numbered(values, different)
    labels_of_group = Counter(group for group, _ in set(zip(number, label, strict=True)))
    mixed = sum(count > 1 for count in labels_of_group.values())
    remark = f"groups are those of column {name}"
    if mixed:
        remark += f", {mixed} of {len(different)} have several labels; --attributes {name} crosses them with the label"
    return Groups(number, tuple(different), (remark,))


def rare_groups(groups: Groups, split: Sequence[int]) -> tuple[str, ...]:
    """Return remarks on groups without pictures, and without training pictures."""
    if not groups.names:
        return ()
    trained = {group for group, which in zip(groups.number, split, strict=True) if which == TRAIN}
    there, remarks = set(groups.number), []
    for what, lacking in (("pictures", set(range(len(groups.names))) - there), ("training pictures", there - trained)):
        if lacking:
            names = some(groups.names[group] for group in sorted(lacking))
            remarks.append(f"groups without {what}: {len(lacking)} ({names}); a meta set of --meta 10/class does not"
                           " draw from each")  # fmt: skip
    return tuple(remarks)

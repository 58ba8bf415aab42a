"""The table of a run's training pictures: what methods may know about labels and groups before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from clp_aug.contract.errors import SettingError


class TrainTable(NamedTuple):
    """What a method may know about the training pictures before it starts. label, group: int64 (N,).

    meta_label: int64 (K,), of the meta originals, in the order of `begin_stage`'s scores; wrong: the expected share of
    wrong labels under the shard's label noise, in [0, 1), 0 for none.
    """

    label: Tensor
    group: Tensor
    classes: int
    groups: int
    class_names: Sequence[str] = ()
    meta_label: Tensor | None = None
    wrong: float = 0.0

    def class_counts(self) -> Tensor:
        """Return the pictures of each class, float32 (C,)."""
        return torch.bincount(self.label, minlength=self.classes).float()

    def group_counts(self) -> Tensor:
        """Return the pictures of each group, float32 (G,)."""
        return torch.bincount(self.group, minlength=self.groups).float()

    def require_all_classes(self, method: str) -> None:
        """Raise SettingError, naming the class, if a class has no training picture."""
        empty_classes = (self.class_counts() == 0).nonzero().flatten().tolist()
        if empty_classes:
            names = ", ".join(str(self.class_names[c] if self.class_names else c) for c in empty_classes[:5])
            more = f" and {len(empty_classes) - 5} more" if len(empty_classes) > 5 else ""
            raise SettingError(
                "method", method, f"no training picture of class {names}{more}; expected at least one of each class;"
                " raise limit, or leave the class out of the data set",
            )  # fmt: skip

    def require_meta_of_all_classes(self, method: str) -> None:
        """Raise SettingError, naming the class, if a class has no meta original."""
        label = self.label[:0] if self.meta_label is None else self.meta_label
        counts = torch.bincount(label, minlength=self.classes)
        for c in (counts == 0).nonzero().flatten().tolist():
            name = self.class_names[c] if self.class_names else c
            raise SettingError(
                "method", method, f"no meta picture of class {name}; expected at least one of each class; make the"
                " shard with --meta N/class",
            )  # fmt: skip

    def require_groups(self, method: str) -> None:
        """Raise SettingError if the data set knows no groups other than its classes."""
        cells = torch.unique(torch.stack([self.label, self.group]), dim=1)
        if self.groups <= self.classes or torch.bincount(cells[0]).max() < 2:
            raise SettingError(
                "method", method, f"its groups are the {self.classes} classes; expected a data set that knows groups"
                " within classes, such as waterbirds; take a method without groups (clp-train --list-methods)",
            )  # fmt: skip

    def environments(self) -> Tensor:
        """Return the environment of each group, which its pictures share across classes: int64 (G,).

        For groups (y, a) in order this is a, for example the place of a bird; groups may be empty, and fewer than half
        of the labels may be wrong. For other groups it is a group's rank among the non-empty groups of its class. It is
        0 if the groups are the classes.
        """
        places, rest = divmod(self.groups, self.classes)
        if rest == 0 and 2 * int((self.group // places == self.label).sum()) > len(self.label):
            return torch.arange(self.groups) % places
        groups_of_class = [sorted(set(self.group[self.label == c].tolist())) for c in range(self.classes)]
        rank = torch.zeros(self.groups, dtype=torch.int64)
        for groups in groups_of_class:
            rank[groups] = torch.arange(len(groups))
        return rank

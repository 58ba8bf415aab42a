"""Pictures in memory, and a batch of them with the columns of each picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clp_aug.contract.schema import KINDS
from clp_train.pictures.moving import onto


@dataclass(frozen=True)
class Pictures:
    """Pictures in memory. images: uint8 (N, 3, H, W); label, group, sample_id: int64 (N,).

    group: the class if the data set has no groups.
    """

    images: Tensor
    label: Tensor
    group: Tensor
    sample_id: Tensor

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class BoxedPictures(Pictures):
    """Pictures to learn from. box: int64 (N, 4), half-open pixels; kind: uint8 (N,) of the contract."""

    box: Tensor
    kind: Tensor

    def take(self, rows: Tensor) -> BoxedPictures:
        """Return the given rows, int64 (n,), in that order; on the device of the pictures."""
        fields = (self.images, self.label, self.group, self.sample_id, self.box, self.kind)
        places = onto(rows, self.images.device)
        return BoxedPictures(*(values[places] for values in fields))

    def every(self, rows: slice) -> BoxedPictures:
        """Return the rows of a slice, not copied."""
        return BoxedPictures(*(values[rows] for values in vars(self).values()))

    def to(self, device: torch.device) -> BoxedPictures:
        """Return all pictures and their columns on a device."""
        return BoxedPictures(*(values.to(device) for values in vars(self).values()))

    def followed_by(self, others: BoxedPictures) -> BoxedPictures:
        """Return these and then the others, in memory."""
        columns = zip(vars(self).values(), vars(others).values(), strict=True)
        return BoxedPictures(*(torch.cat(pair) for pair in columns))


@dataclass(frozen=True)
class Batch:
    """A transformed batch. images: float32 (n, 3, H, W) in [0, 1]; inside: bool (n, H, W), True in the box. Features of
    a frozen body have shape (n, A), with an empty `inside`. row: int64 (n,), rows of the pictures in the stream;
    target: soft labels (n, C) of mixed pictures; second: as many other pictures, for methods that need partners.
    """

    images: Tensor
    inside: Tensor
    label: Tensor
    group: Tensor
    kind: Tensor
    sample_id: Tensor
    row: Tensor | None = None
    target: Tensor | None = None
    second: Batch | None = None

    def __len__(self) -> int:
        return len(self.label)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; its rows stay where their stream is."""
        parts = {name: values for name, values in vars(self).items() if isinstance(values, Tensor) and name != "row"}
        second = None if self.second is None else self.second.to(device)
        return replace(self, **{name: values.to(device) for name, values in parts.items()}, second=second)

    def first(self, n: int) -> Batch:
        """Return the first n pictures, without partners."""
        return self.between(slice(n))

    def between(self, rows: slice) -> Batch:
        """Return the pictures of a slice, without partners."""
        parts = {name: values[rows] for name, values in vars(self).items() if isinstance(values, Tensor)}
        return replace(self, **parts, second=None)


def masks(box: Tensor, height: int, width: int) -> Tensor:
    """Return r of eq. (6) for boxes (n, 4), on their device: bool (n, H, W), True inside."""
    x0, y0, x1, y1 = box.T[..., None]  # each (n, 1)
    ys, xs = torch.arange(height, device=box.device), torch.arange(width, device=box.device)
    return ((ys >= y0) & (ys < y1))[:, :, None] & ((xs >= x0) & (xs < x1))[:, None, :]


def as_input(images: Tensor) -> Tensor:
    """Return uint8 pictures as float32 in [0, 1]; features, already float, unchanged."""
    return images if images.is_floating_point() else images.float() / 255


def meta_of_kinds(meta: BoxedPictures, kinds: Sequence[int]) -> BoxedPictures:
    """Return the meta pictures of some kinds of the contract, in their order.

    Pictures are not copied if their rows are evenly spaced: for example the originals of a shard in which every
    original has the same number of others after it, or all pictures. Features are always copied, because a matrix
    product may round differently if rows are not adjacent.
    """
    rows = rows_of_kinds(meta.kind, kinds)
    if len(rows) == len(meta):
        return meta
    evenly = None if meta.images.is_floating_point() else slice_of(rows)
    return meta.take(rows) if evenly is None else meta.every(evenly)


def rows_of_kinds(kind: Tensor, kinds: Sequence[int]) -> Tensor:
    """Return the rows of a column of kinds, uint8 (N,), that hold one of `kinds`: int64 (n,), ascending."""
    return torch.isin(kind, torch.tensor(kinds, dtype=torch.uint8, device=kind.device)).nonzero().squeeze(1)


def slice_of(rows: Tensor) -> slice | None:
    """Return rows, int64 (n,), ascending, as a slice; None if they are not evenly spaced."""
    if not len(rows):
        return slice(0)
    first, last = int(rows[0].item()), int(rows[-1].item())
    step = max(1, (last - first) // max(1, len(rows) - 1))
    evenly = torch.arange(first, last + 1, step, device=rows.device)
    return slice(first, last + 1, step) if torch.equal(rows, evenly) else None


def kind_counts(meta: BoxedPictures) -> dict[str, int]:
    """Return how many meta pictures there are of each kind, by name."""
    return dict(zip(KINDS, torch.bincount(meta.kind.long(), minlength=len(KINDS)).tolist(), strict=True))

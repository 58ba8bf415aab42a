"""The settings of the protocol: training pictures, meta pictures, and changes of the training labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import SettingError
from clp_aug.datasets import DEFAULT_META, META_FROM_VAL
from clp_aug.protocol.specs import MAX_SEED, parse_meta, parse_noise

META_FROM = ("train", "val")
IMG_MAX = ("rest", "all")


@dataclass(frozen=True, kw_only=True)
class ProtocolSettings(Settings):
    """The settings of `make_split`. Raises UsageError at once for settings that fit no data set.

    Train and meta share no picture unless keep_meta_in_train: then the meta pictures join the training set after the
    long tail, with their clean labels. Meta pictures from val are removed from val. img_max: the size of the largest
    class, from which the long tail starts: of the training pictures without the meta set ("rest", Shu et al. 2019:
    4,990 on CIFAR-10), of all of them ("all", Cao et al. 2019: 5,000; then a class trains on meta pictures if it has no
    others left), or a number, of the rest, for shorter runs.
    """

    meta: str | None = setting(
        None, "10/class, 10/group, 10/cluster or 1000/balanced.", shown="of the data set", metavar="TEXT"
    )
    meta_from: str | None = setting(
        None, "Split of the meta pictures: train or val.", choices=META_FROM, shown="train; of GLT sets val"
    )
    keep_meta_in_train: bool = setting(False, "Keep the meta pictures in the training set, too.")
    imbalance: float | None = setting(
        None, "Thin the training set to a long tail of this head-to-tail ratio.", low=1, high=1e6
    )
    img_max: str = setting("rest", "Largest class of the tail: of the rest after the meta set, of all, or a number.")
    noise: str | None = setting(None, "Label noise in training: uniform:P, flip:P or flip-similar:P.")
    noise_seed: int = setting(1, "Seed of only the label noise.", low=0, high=MAX_SEED)
    limit: int | None = setting(None, "Most training pictures, spread over groups, for a quick look.", low=1)
    seed: int = setting(0, "Seed of the meta selection, the plan and the fills.", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.meta is not None:
            parse_meta(self.meta)
        if self.noise is not None:
            parse_noise(self.noise)
        if self.meta_from is not None:
            self.meta_from_of("")
        largest_class(self.img_max)
        if self.img_max != "rest" and self.imbalance is None:
            reason = "it sets the start of a long tail, and there is none"
            raise SettingError("img_max", self.img_max, reason, {"imbalance": 100})
        if self.img_max == "all" and self.keep_meta_in_train:
            reason = "its counts are those of a training set without added meta pictures; leave out one of the two"
            raise SettingError("img_max", "all", reason)

    def meta_of(self, dataset: str) -> str | None:
        """Return the meta set to choose, by default that of the named data set; None if the name does not decide it."""
        return self.meta or DEFAULT_META.get(dataset)

    def meta_from_of(self, dataset: str) -> str:
        """Return the split that the meta set comes from, by default that of the data set of this name.

        Raises SettingError for val if the meta pictures must stay in the training set.
        """
        split = self.meta_from or ("val" if dataset in META_FROM_VAL else "train")
        if split == "val" and self.keep_meta_in_train:
            raise SettingError("keep_meta_in_train", True, "the meta set comes from val; leave out one of the two")
        return split


def largest_class(img_max: str) -> float:
    """Return the most pictures that the largest class of a long tail may have, infinity for "rest" and "all".

    Raises SettingError for any other text that is no number of pictures.
    """
    if img_max in IMG_MAX:
        return math.inf
    if not (img_max.isascii() and img_max.isdigit() and int(img_max)):
        raise SettingError("img_max", img_max, f"choose one of {', '.join(IMG_MAX)}, or a number of pictures")
    return int(img_max)

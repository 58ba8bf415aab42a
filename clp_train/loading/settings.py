"""The settings of LOAD. No torch here."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from clp_aug.common.settings import Settings, setting
from clp_train.evaluating.selection import GAP


@dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """Where the pictures of a run are."""

    meta: Path = setting(
        MISSING, "Shard that clp-augment wrote. (In clp-augment, --meta is the number of meta pictures.)",
        shown="required", option=True, metavar="PATH",
    )  # fmt: skip
    root: Path | None = setting(
        None, "Folder of the data set.", shown="$CLP_DATA/NAME, else ./data/NAME", option=True, metavar="PATH"
    )
    dataset: str | None = setting(
        None, "Data set of a shard that was made from a plug-in: module:name or file.py:name, as in clp-augment.",
        shown="as the shard says", option=True, metavar="NAME",
    )  # fmt: skip
    audit: Path | None = setting(
        None, "Shard of clp-augment --audit val, for --select gap.", shown="none", option=True, metavar="PATH",
        works_with=("select", (GAP,)),
    )  # fmt: skip
    cache: Path | None = setting(
        None, "Folder for decoded pictures and features of a frozen body: for fast starts, and for data larger than"
        " memory.", shown="$CLP_CACHE, else memory", option=True, metavar="PATH",
    )  # fmt: skip
    workers: int | None = setting(
        None, "Threads or processes that read pictures; the number does not change the result.", low=1,
        shown="as many as torch's threads (see OMP_NUM_THREADS), at most 16", option=True,
    )  # fmt: skip
    limit: int | None = setting(
        None, "Largest number of training pictures to learn from, spread over groups.", low=2, shown="all", option=True
    )

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
        MISSING, "Shard that clp-augment wrote. (clp-augment's own --meta says how many meta pictures to choose.)",
        shown="required", option=True, metavar="PATH",
    )  # fmt: skip
    root: Path | None = setting(
        None, "Folder of the data set.", shown="$CLP_DATA/NAME, else ./data/NAME", option=True, metavar="PATH"
    )
    dataset: str | None = setting(
        None, "Data set of a shard that was made of a plug-in: module:name or file.py:name, as clp-augment had it.",
        shown="as the shard says", option=True, metavar="NAME",
    )  # fmt: skip
    audit: Path | None = setting(
        None, "Shard of clp-augment --audit val, for --select gap.", shown="none", option=True, metavar="PATH",
        works_with=("select", (GAP,)),
    )  # fmt: skip
    cache: Path | None = setting(
        None, "Folder for decoded pictures and features of a frozen body: quick starts, and sets that memory cannot"
        " hold.", shown="$CLP_CACHE, else memory", option=True, metavar="PATH",
    )  # fmt: skip
    workers: int | None = setting(
        None, "Threads, or processes, that read pictures; more are no slower and change nothing.", low=1,
        shown="as many as torch computes with (see OMP_NUM_THREADS), 16 at most", option=True,
    )  # fmt: skip
    limit: int | None = setting(
        None, "Learn from at most so many training pictures, spread over groups.", low=2, shown="all", option=True
    )

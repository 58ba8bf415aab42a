"""The settings of clp-data glt: one frozen dataclass, checked once."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import UsageError, pick


@dataclass(frozen=True)
class GltConfig(Settings):
    """The settings of a benchmark.

    source: name of a data set, or a folder of class folders, or the name of such a folder among the data sets; root:
    folder of the named data set; out: folder to copy the pictures to, None to write beside them; imbalance and
    per_attribute: as in `glt_splits.divide`; features: to cluster by, None for the best that is available; seed: of
    clusters, of the order of equally large classes and of every draw.
    """

    source: str = setting(MISSING, "Name of a data set, or a folder of class folders.")
    root: Path | None = setting(None, "Its folder; else $CLP_DATA/<name>, else ./data/<name>.", option=True)
    out: Path | None = setting(
        None, "Folder to copy the pictures to.", shown="two files beside the pictures", option=True
    )
    imbalance: float = setting(
        20.0, "Largest to smallest class of the long-tailed training set.", low=1, high=1e6, option=True
    )
    per_attribute: int = setting(20, "Most test pictures of each class and attribute.", low=1, option=True)
    features: str | None = setting(
        None, "Features to cluster by: efficientnet-lite0 or thumbnail.", shown="the best available", option=True
    )
    seed: int = setting(0, "Seed of clusters, class order and every draw.", low=0, option=True)
    overwrite: bool = setting(False, "Replace the files of a benchmark beside the pictures.", option=True)

    def __post_init__(self) -> None:
        from clp_aug.datasets.glt import LAYOUTS
        from clp_aug.protocol.features import FEATURES

        super().__post_init__()
        if self.features is not None:
            pick(FEATURES, self.features, "features")
        if self.source in LAYOUTS:
            raise UsageError(f"--from {self.source}: it has a generalised long tail already; give another data set")

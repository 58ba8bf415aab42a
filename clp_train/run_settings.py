"""The settings of a run itself: its method and preset, its length, its folder, its meta batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clp_aug.common.settings import Settings, setting
from clp_aug.nets.devices import AUTO, HELP
from clp_train import exports
from clp_train.algorithm.settings import META_STEP
from clp_train.algorithm.stages import TRAINABLE
from clp_train.evaluating.selection import AUTO as AUTO_SELECT
from clp_train.evaluating.selection import SELECT, WITH_PATIENCE
from clp_train.ranks import BATCH_NORMS, SYNCHRONISED

PRECISIONS = ("float32", "tf32", "bf16")


@dataclass(frozen=True)
class Start(Settings):
    """The method and preset of a run."""

    method: str = setting("clp", "Method of training: a name of --list-methods.", option=True)
    preset: str | None = setting(
        None,
        "Settings to start from: a preset's name, a .toml file, or none for the defaults.",
        shown="chosen for the shard and the device",
        option=True,
        metavar="NAME",
    )


@dataclass(frozen=True)
class RunSettings(Settings):
    """One run: its length, its seed, its folder, and what is measured and stored."""

    epochs: int = setting(30, "Passes over the training pictures.", low=1, option=True)
    trainable: str = setting(
        "all", "What learns: the whole network, or its last layer on features of pictures without transforms.",
        choices=TRAINABLE,
    )  # fmt: skip
    watch_test: bool = setting(
        False, "Measure test after each epoch too, and also report the best epoch by test, labelled as such."
    )
    checkpoint_interval: int = setting(100, "Steps between two checkpoints on disk.", low=1)
    seed: int = setting(0, "Seed of the run.", low=0, option=True)
    device: str = setting(AUTO, HELP, option=True)
    precision: str = setting(
        "float32", "Precision of networks: float32; tf32, which rounds inputs of convolutions and products; bf16."
        " Logits, losses, Omega, and passes that a meta step takes differences of, are always in float32.",
        choices=PRECISIONS, option=True,
    )  # fmt: skip
    rank_batch_norm: str = setting(
        SYNCHRONISED, "Batch norm statistics in training with several ranks: of the whole batch, as in one process,"
        " or of each rank's own part, which needs less communication and gives other results.", choices=BATCH_NORMS,
        source="ours", works_with=("freeze_batch_norm", (False,)),
    )  # fmt: skip
    select: str = setting(
        AUTO_SELECT, "Selected epoch: the best on val by this measure, ties by the average; gap is the accuracy on"
        " other backgrounds; auto is worst-group if the method needs groups, else worst-class.",
        choices=SELECT, option=True,
    )  # fmt: skip
    patience: int | None = setting(
        None, "Early stopping: epochs without a better val score, by the measure of select.", low=1,
        shown="no early stopping", works_with=("select", WITH_PATIENCE),
    )  # fmt: skip
    out: Path | None = setting(
        None, "Folder of the run; the default name contains each setting that differs from the usual one.",
        shown="runs/SHARD-METHOD-seedN", option=True, metavar="PATH",
    )  # fmt: skip
    export: str = setting(exports.NONE, exports.HELP, option=True, metavar="FORMS")

    def __post_init__(self) -> None:
        super().__post_init__()
        exports.check_forms(self.export)


@dataclass(frozen=True)
class MetaBatchSettings(Settings):
    """The meta batch of a step, and factuals that are made in it."""

    meta_batch_size: int | None = setting(
        None, "Meta pictures per step.", low=2, shown="as batch_size, or all if fewer", part=META_STEP, option=True
    )
    online: str = setting(
        "none", "Factuals that are made in each meta batch from its originals, besides the stored ones.",
        choices=("none", "mix-rand", "fgsm"), source="section 3.2.1", part=META_STEP,
    )  # fmt: skip
    online_epsilon: float = setting(
        0.5, "Radius of online fgsm, in [0, 1] pixel units.", low=0, high=1, part=META_STEP,
        works_with=("online", ("fgsm",)),
    )  # fmt: skip

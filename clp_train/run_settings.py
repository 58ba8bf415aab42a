"""What is set of a run itself: what it starts from, its length, its folder, its meta batches."""

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
    """What a run starts from."""

    method: str = setting("clp", "How to train: a name of --list-methods.", option=True)
    preset: str | None = setting(
        None,
        "Settings to start from: a preset's name, a .toml file, or none for the defaults alone.",
        shown="what fits the shard and the device",
        option=True,
        metavar="NAME",
    )


@dataclass(frozen=True)
class RunSettings(Settings):
    """One run: its length, its seed, its folder, and what is measured and kept."""

    epochs: int = setting(30, "Passes over the training pictures.", low=1, option=True)
    trainable: str = setting(
        "all", "What learns: the whole network, or its last layer on the features of untransformed pictures.",
        choices=TRAINABLE,
    )  # fmt: skip
    watch_test: bool = setting(
        False, "Measure test after each epoch too, and report the best epoch by test, labelled as such."
    )
    checkpoint_interval: int = setting(100, "Steps between two full states on disk.", low=1)
    seed: int = setting(0, "Seed of the run.", low=0, option=True)
    device: str = setting(AUTO, HELP, option=True)
    precision: str = setting(
        "float32", "What networks compute in: float32; tf32, which rounds it within convolutions and products; bf16."
        " Logits, losses and Omega are in float32 always, and so is what a meta step takes differences of.",
        choices=PRECISIONS, option=True,
    )  # fmt: skip
    rank_batch_norm: str = setting(
        SYNCHRONISED, "With several ranks, whose statistics batch norm takes in training: of the whole batch, as in one"
        " process, or of each rank's own part of it, which exchanges less and is another run.", choices=BATCH_NORMS,
        source="ours", works_with=("freeze_batch_norm", (False,)),
    )  # fmt: skip
    select: str = setting(
        AUTO_SELECT, "Which epoch counts: the best on val by this, of equals by its average; gap is accuracy before"
        " other backgrounds; auto is worst-group where the method needs groups, else worst-class.",
        choices=SELECT, option=True,
    )  # fmt: skip
    patience: int | None = setting(
        None, "Epochs without a better val score, by what select compares, after which the run stops.", low=1,
        shown="as long as epochs says", works_with=("select", WITH_PATIENCE),
    )  # fmt: skip
    out: Path | None = setting(
        None, "Folder of the run; the default names each setting that is not the usual one, too.",
        shown="runs/SHARD-METHOD-seedN", option=True, metavar="PATH",
    )  # fmt: skip
    export: str = setting(exports.NONE, exports.HELP, option=True, metavar="FORMS")

    def __post_init__(self) -> None:
        super().__post_init__()
        exports.check_forms(self.export)


@dataclass(frozen=True)
class MetaBatchSettings(Settings):
    """The meta batch of a step, and factuals that are made inside it."""

    meta_batch_size: int | None = setting(
        None, "Meta pictures a step.", low=2, shown="as batch_size, or all there are", part=META_STEP, option=True
    )
    online: str = setting(
        "none", "Factuals that are made in each meta batch of its originals, beside the stored ones.",
        choices=("none", "mix-rand", "fgsm"), source="section 3.2.1", part=META_STEP,
    )  # fmt: skip
    online_epsilon: float = setting(
        0.5, "Radius of online fgsm, in [0, 1] pixel units.", low=0, high=1, part=META_STEP,
        works_with=("online", ("fgsm",)),
    )  # fmt: skip

"""The settings of a fit: validated once, stored in its weights."""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import SettingError
from clp_aug.nets.devices import AUTO, HELP

PRECISIONS = ("float32", "tf32")
STATE, CURVE = ".checkpoint", ".jsonl"
"""Suffixes of the files beside the weights: the full state of an unfinished fit, the curve on held-out pictures."""
WEIGHTS = "Weights to write (.safetensors); state and curve are beside them."


@dataclass(frozen=True)
class Fit(Settings):
    """The settings of every fit. After a warm-up the learning rate falls to 0 as a cosine.

    Raises SettingError for a value of the wrong type or out of its range.
    """

    data: Path = setting(MISSING, "Folder with pictures.", option=True)
    out: Path = setting(MISSING, WEIGHTS, option=True)
    steps: int = setting(6000, "Steps of --batch-size pictures.", low=1, option=True)
    batch_size: int = setting(16, "Pictures per step.", low=1, option=True)
    sizes: tuple[int, ...] = setting((64,), "Sides of pictures in pixels, one per step.", option=True)
    lr: float = setting(1e-3, "Learning rate.", above=0, option=True)
    checkpoint_interval: int = setting(100, "Steps between two states on disk.", low=1)
    validate_interval: int = setting(500, "Steps between two points of the curve.", low=1)
    device: str = setting(AUTO, HELP, option=True)
    precision: str = setting(
        "float32", "Precision of the network: float32, or tf32, which rounds products and convolutions.",
        choices=PRECISIONS, option=True,
    )  # fmt: skip

    smallest: ClassVar[int] = 1
    """Side of the smallest picture that the network accepts, in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.out.name or self.out.suffix in (STATE, CURVE):
            raise SettingError("out", self.out, f"expected the name of a file that does not end in {STATE} or {CURVE}")
        if not self.sizes or any(not self.smallest <= size <= 512 for size in self.sizes):
            raise SettingError("sizes", self.sizes, f"expected whole numbers from {self.smallest} to 512")

    def key(self) -> dict[str, Any]:
        """Return the settings that a resumed fit must share, as plain JSON: no paths and no device; precision only if
        it is not the default.
        """
        usual = ("precision",) if self.precision == PRECISIONS[0] else ()
        whole = dataclasses.asdict(self)
        return {name: v for name, v in whole.items() if name not in ("data", "out", "device", *usual)}


@dataclass(frozen=True)
class MatteFit(Fit):
    """The settings of one fit of the matting network.

    distil, filter_cues: the two attentions; start: "imagenet" for the backbone's weights, "nothing", "shipped" for the
    network of the package, or a file from `clp-fit matte`.
    """

    data: Path = setting(MISSING, "Folder with foregrounds/, backgrounds/, pictures/ and masks/.", option=True)
    steps: int = setting(6000, "Steps of --batch-size pairs.", low=1, option=True)
    batch_size: int = setting(16, "Pairs per step.", low=1, option=True)
    sizes: tuple[int, ...] = setting((128, 160, 224), "Sides of pairs in pixels, one per step.", option=True)
    lr: float = setting(1e-3, "Learning rate of the head.", above=0, option=True)
    backbone_lr: float = setting(1e-4, "Learning rate of the pretrained part.", above=0, option=True)
    weight_decay: float = setting(1e-4, "Weight decay of AdamW.", low=0)
    adversarial: float = setting(0.0, "Weight of the adversarial loss.", low=0, option=True, source="0.05 in the paper")
    distil: bool = setting(True, "Whether the network has the distillation of channels.")
    filter_cues: bool = setting(True, "Whether the network has the filtration of appearance cues.")
    start: str = setting("imagenet", "imagenet, nothing, shipped (our weights), or a file of weights.", option=True)
    seed: int = setting(0, "Seed of the start and of every pair.", low=0, option=True)

    smallest: ClassVar[int] = 32

    def key(self) -> dict[str, Any]:
        """As `Fit.key`; a start file is stored by its name without folders."""
        return super().key() | {"start": Path(self.start).name}


@dataclass(frozen=True)
class InpainterFit(Fit):
    """The settings of one fit of the inpainting network.

    batch_size: pictures of 64 x 64 pixels; for other sizes as many as have the same number of pixels; width, dilations,
    smooth: of the network, see `ContextualAttentionNet`; gamma: of the spatial discount; critic_steps: steps of the
    critics for each step of the network.
    """

    data: Path = setting(MISSING, "Folder with pictures, at any depth.", option=True)
    batch_size: int = setting(16, "Pictures per step, of 64 x 64 pixels.", low=1, option=True)
    sizes: tuple[int, ...] = setting((32, 64), "Sides of pictures in pixels, one per step.", option=True)
    width: int = setting(16, "Planes of the first layer; published: 32.", low=1, option=True)
    dilations: tuple[int, ...] = setting((2, 4, 8), "Rates of the dilated layers.", option=True)
    smooth: bool = setting(True, "Whether the network starts from a smooth fill.")
    ssim: float = setting(0.3, "Weight of 1 - SSIM in the hole.", low=0, option=True, source="0 in the paper")
    gamma: float = setting(
        0.99, "Discount per pixel, in a hole of 128 pixels.", above=0, high=1, option=True, source="0.9 in the code"
    )
    adversarial: float = setting(0.0, "Weight of the critics' scores.", low=0, option=True, source="0.001 in the paper")
    critic_steps: int = setting(2, "Steps of the critics for each step of the network.", low=1)
    seed: int = setting(0, "Seed of the start and of every window.", low=0, option=True)

    smallest: ClassVar[int] = 16

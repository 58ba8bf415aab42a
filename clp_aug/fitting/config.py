"""The settings of a fit, validated once, written into its weights."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from clp_aug.contract.errors import UsageError


@dataclass(frozen=True)
class Fit:
    """What every fit has.

    out: the weights to write; the state and the curve lie beside them; steps: of batch_size pictures; lr: step size,
    after a warm-up falling to 0 as a cosine.
    """

    data: Path
    out: Path
    steps: int = 6000
    batch_size: int = 16
    lr: float = 1e-3
    seed: int = 0
    checkpoint_interval: int = 100
    validate_interval: int = 500

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_interval", "validate_interval"):
            self.check_at_least(name, 1)
        self.check_at_least("seed", 0)
        self.check_positive("lr")

    def check_at_least(self, name: str, low: int) -> None:
        """Raise UsageError for a lower number."""
        if getattr(self, name) < low:
            raise UsageError(f"--{option(name)} {getattr(self, name)}: expected a whole number >= {low}")

    def check_weight(self, name: str) -> None:
        """Raise UsageError unless this setting is a finite number, 0 or more."""
        if not 0 <= getattr(self, name) < float("inf"):
            raise UsageError(f"--{option(name)} {getattr(self, name)}: expected a number >= 0")

    def check_positive(self, *names: str) -> None:
        """Raise UsageError unless these settings are finite numbers above 0."""
        for name in names:
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"--{option(name)} {getattr(self, name)}: expected a number > 0")

    def check_sizes(self, low: int) -> None:
        """Raise UsageError for sides outside [low, 512], or none."""
        if not self.sizes or any(not low <= size <= 512 for size in self.sizes):
            raise UsageError(f"--sizes {','.join(map(str, self.sizes))}: expected whole numbers of {low} to 512")

    def key(self) -> dict:
        """Return what a resumed fit must share, as plain JSON."""
        whole = dataclasses.asdict(self)
        return {name: v for name, v in whole.items() if name not in ("data", "out")}


@dataclass(frozen=True)
class MatteFit(Fit):
    """The settings of one fit of the matting network.

    sizes: sides of a pair in pixels, one a step, in turn at random; backbone_lr: step size of the pretrained part, lr
    that of the head; adversarial: the weight of the adversarial loss, 0.05 in the paper; distil, filter_cues: the two
    attentions; start: "imagenet" for the backbone's weights, "nothing", "shipped" for the network that comes with the
    package, or a file that `clp-fit matte` wrote.
    """

    sizes: tuple[int, ...] = (128, 160, 224)
    backbone_lr: float = 1e-4
    weight_decay: float = 1e-4
    adversarial: float = 0.0
    distil: bool = True
    filter_cues: bool = True
    start: str = "imagenet"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_sizes(32)
        self.check_weight("adversarial")
        self.check_positive("backbone_lr")

    def key(self) -> dict:
        """As `Fit.key`; a file that it starts from goes by its name, wherever it lies."""
        return super().key() | {"start": Path(self.start).name}


@dataclass(frozen=True)
class InpainterFit(Fit):
    """The settings of one fit of the inpainting network.

    batch_size: pictures of 64 x 64 pixels; of other sizes as many as have the same number of pixels; sizes: of the
    pictures, one a step, in turn at random; width, dilations, smooth: of the network, see `ContextualAttentionNet`;
    ssim: the weight of 1 - SSIM in the hole, 0 in the paper; gamma: of the spatial discount, a pixel in a hole of 128,
    0.99 in the paper and 0.9 in its code; adversarial: the weight of the critics' verdict, 0.001 in the paper;
    critic_steps: of the critics for each of the network.
    """

    lr: float = 1e-3
    sizes: tuple[int, ...] = (32, 64)
    width: int = 16
    dilations: tuple[int, ...] = (2, 4, 8)
    smooth: bool = True
    gamma: float = 0.99
    ssim: float = 0.3
    adversarial: float = 0.0
    critic_steps: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_sizes(16)
        if not 0 < self.gamma <= 1:
            raise UsageError(f"--gamma {self.gamma}: expected a number above 0, at most 1")
        self.check_at_least("critic_steps", 1)
        self.check_weight("ssim")
        self.check_weight("adversarial")


def option(name: str) -> str:
    """Return a setting's name as it stands on the command line."""
    return name.replace("_", "-")

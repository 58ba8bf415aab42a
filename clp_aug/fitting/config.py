"""MatteFit: every setting of a fit of the matting network, validated once, written into its weights."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from clp_aug.contract.errors import UsageError


@dataclass(frozen=True)
class MatteFit:
    """The settings of one fit.

    out: the weights to write; the state and the curve lie beside them; steps: of batch_size pairs of size x size
    pixels; lr, backbone_lr: AdamW's step sizes of the head and of the pretrained part, after a warm-up falling to 0 as
    a cosine; adversarial: the weight of the adversarial loss, 0.05 in the paper; distil, filter_cues: the two
    attentions; pretrained: start the backbone from its ImageNet weights.
    """

    data: Path
    out: Path
    steps: int = 6000
    batch_size: int = 16
    size: int = 224
    lr: float = 1e-3
    backbone_lr: float = 1e-4
    weight_decay: float = 1e-4
    adversarial: float = 0.0
    distil: bool = True
    filter_cues: bool = True
    pretrained: bool = True
    seed: int = 0
    checkpoint_interval: int = 100
    validate_interval: int = 500

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("batch_size", 1), ("size", 32), ("checkpoint_interval", 1),
                          ("validate_interval", 1), ("seed", 0)):  # fmt: skip
            if getattr(self, name) < low:
                value, option = getattr(self, name), name.replace("_", "-")
                raise UsageError(f"--{option} {value}: expected a whole number >= {low}")
        if not 0 <= self.adversarial < float("inf"):
            raise UsageError(f"--adversarial {self.adversarial}: expected a number >= 0")
        for name in ("lr", "backbone_lr"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)}: expected a number > 0")

    def key(self) -> dict:
        """Return what a resumed fit must share, as plain JSON."""
        whole = dataclasses.asdict(self)
        return {name: v for name, v in whole.items() if name not in ("data", "out")}

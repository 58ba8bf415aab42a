"""FGSM: one gradient-sign step on the background. Paper, section 3.2.1, factual 2); Goodfellow et al. 2015."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clp_aug.common.settings import setting
from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError
from clp_aug.fills.exported import load_classifier
from clp_aug.fills.options import FillOptions, network_file
from clp_aug.fills.scene import Materials, Scene


@dataclass(frozen=True)
class Options(FillOptions):
    """What is attacked, how far and which way."""

    classifier: Path | None = network_file(
        "Exported program (.pt2) that --f fgsm attacks.",
        stored="classifier",
        missing="attacks a classifier: give one with --classifier FILE.pt2 (clp-train --export writes it)",
    )
    epsilon: float = setting(0.5, "Radius of fgsm, l_inf, in [0, 1] pixel units.", low=1 / 255, high=1)
    fgsm: str = setting(
        "targeted", "targeted (to a random other class) or untargeted.", choices=("targeted", "untargeted")
    )

    def prepare(self) -> None:
        """Load the classifier. Raises what `load_classifier` raises."""
        load_classifier(self.classifier)


def fgsm(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials, options: Options) -> np.ndarray:
    """Return uint8 (H, W, 3): the pixels moved by epsilon along the sign of the loss gradient.

    targeted: down the cross entropy of a random other class; else up that of the own class. epsilon is in [0, 1]
    pixel units and rounded down to whole grey levels, so the l_inf bound holds in the stored picture. The gradient
    is taken at the untouched picture; the object never moves.
    """
    import torch

    classifier = load_classifier(options.classifier)
    targeted = options.fgsm == "targeted"
    others = [c for c in range(materials.num_classes) if c != scene.label]
    goal = int(rng.choice(others)) if targeted else scene.label
    pixels = torch.tensor(scene.image).permute(2, 0, 1)[None].float().div(255).requires_grad_()
    try:
        logits = classifier(pixels)
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, torch.tensor([goal])), pixels)
    except (RuntimeError, IndexError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"classifier {options.classifier}: it does not take pictures of {tuple(pixels.shape)} with"
            f" {materials.num_classes} classes ({reason}); export one trained on this data set at this --size"
        ) from None
    if logits.shape != (1, materials.num_classes):
        raise InputError(
            f"classifier {options.classifier}: it gives {tuple(logits.shape)}, expected (1, {materials.num_classes})"
        )
    step = int(options.epsilon * 255) * (-1 if targeted else 1)
    sign = gradient[0].sign().permute(1, 2, 0).numpy().astype(np.int64)  # (H, W, 3)
    return np.clip(scene.image.astype(np.int64) + step * sign, 0, 255).astype(np.uint8)

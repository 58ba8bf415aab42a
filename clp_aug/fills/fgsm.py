"""FGSM: one gradient-sign step on the background. Paper, section 3.2.1, factual 2); Goodfellow et al. 2015."""

from __future__ import annotations

import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError
from clp_aug.fills.exported import load_classifier
from clp_aug.fills.scene import Materials, Scene


def fgsm(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (H, W, 3): the pixels moved by epsilon along the sign of the loss gradient.

    targeted: down the cross entropy of a random other class; else up that of the own class. epsilon is in [0, 1]
    pixel units and rounded down to whole grey levels, so the l_inf bound holds in the stored picture. The gradient
    is taken at the untouched picture; the object never moves.
    """
    import torch

    classifier = load_classifier(materials.classifier)
    others = [c for c in range(materials.num_classes) if c != scene.label]
    goal = int(rng.choice(others)) if materials.targeted else scene.label
    pixels = torch.tensor(scene.image).permute(2, 0, 1)[None].float().div(255).requires_grad_()
    try:
        logits = classifier(pixels)
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, torch.tensor([goal])), pixels)
    except (RuntimeError, IndexError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"classifier {materials.classifier}: it does not take pictures of {tuple(pixels.shape)} with"
            f" {materials.num_classes} classes ({reason}); export one trained on this data set at this --size"
        ) from None
    if logits.shape != (1, materials.num_classes):
        raise InputError(
            f"classifier {materials.classifier}: it gives {tuple(logits.shape)}, expected (1, {materials.num_classes})"
        )
    step = int(materials.epsilon * 255) * (-1 if materials.targeted else 1)
    sign = gradient[0].sign().permute(1, 2, 0).numpy().astype(np.int64)  # (H, W, 3)
    return np.clip(scene.image.astype(np.int64) + step * sign, 0, 255).astype(np.uint8)

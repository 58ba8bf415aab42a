"""FGSM: one gradient-sign step on the background. Paper, section 3.2.1, factual 2); Goodfellow et al. 2015."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clp_aug.common.rounding import unrounded
from clp_aug.common.settings import setting
from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError
from clp_aug.fills.options import FillOptions, network_file
from clp_aug.fills.scene import Materials, Scene, trial_scene
from clp_aug.nets.devices import CPU
from clp_aug.nets.reading import first_line

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

REMEDY = "export one trained on this data set at this --size"


@dataclass(frozen=True)
class Options(FillOptions):
    """The classifier to attack, the radius and the direction."""

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
        """Load the classifier. Raises the errors of `load_classifier`."""
        from clp_aug.nets.exported import load_classifier

        load_classifier(self.classifier)

    def check(self, size: int, classes: int) -> None:
        """Compute the gradient for a scene of the run's size. Raises the errors of `input_gradient`."""
        input_gradient(self.classifier, trial_scene(size).image, 0, classes)


def fgsm(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials, options: Options) -> np.ndarray:
    """Return uint8 (H, W, 3): the pixels moved by epsilon along the sign of the loss gradient.

    targeted: down the cross entropy of a random other class; else up that of the own class. epsilon is in [0, 1] pixel
    units and rounded down to whole grey levels, so the l_inf bound holds in the stored picture. The gradient is
    computed at the unchanged picture; the object never changes. Raises the errors of `input_gradient`.
    """
    return attacked(scene, rng, materials, options, CPU)


def fgsm_all(
    scenes: Sequence[Scene],
    windows: object,
    rngs: Sequence[np.random.Generator],
    materials: Materials,
    options: Options,
) -> list[np.ndarray]:
    """Return the result of `fgsm` for each scene, on the device of the materials, one by one: an exported program may
    accept only one picture.
    """
    with unrounded():
        return [attacked(*one, materials, options, materials.device) for one in zip(scenes, rngs, strict=True)]


def attacked(scene: Scene, rng: np.random.Generator, materials: Materials, options: Options, device: str) -> np.ndarray:
    """Return uint8 (H, W, 3) like `fgsm`, with the classifier on a device."""
    import numpy as np

    targeted = options.fgsm == "targeted"
    others = [c for c in range(materials.num_classes) if c != scene.label]
    goal = int(rng.choice(others)) if targeted else scene.label
    gradient = input_gradient(options.classifier, scene.image, goal, materials.num_classes, device)
    step = int(options.epsilon * 255) * (-1 if targeted else 1)
    return np.clip(scene.image.astype(np.int64) + step * np.sign(gradient).astype(np.int64), 0, 255).astype(np.uint8)


def input_gradient(file: Path | None, image: np.ndarray, goal: int, classes: int, device: str = CPU) -> np.ndarray:
    """Return the gradient of a classifier's cross entropy for class `goal`, float32 (H, W, 3), at an image, uint8 (H,
    W, 3).

    Raises InputError for a classifier that does not accept such pictures, or does not return finite logits of `classes`
    classes.
    """
    import torch

    from clp_aug.nets.exported import load_classifier

    classifier, what = load_classifier(file, device), f"classifier {file}"
    pixels = torch.tensor(image).to(device).permute(2, 0, 1)[None].float().div(255).requires_grad_()
    misfit = f"{what}: it does not take pictures of {tuple(pixels.shape)} with {classes} classes"
    try:
        logits = classifier(pixels)
    except Exception as error:  # a program may fail in any way
        raise InputError(f"{misfit} ({first_line(error)}); {REMEDY}") from None
    if getattr(logits, "shape", None) != (1, classes):
        given = tuple(logits.shape) if hasattr(logits, "shape") else f"a {type(logits).__name__}"
        raise InputError(f"{what}: it gives {given}, expected (1, {classes}); {REMEDY}")
    require_finite(logits, f"{what}: its logits are")
    try:
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([goal]).to(device))
        (gradient,) = torch.autograd.grad(loss, pixels)
    except Exception as error:  # no path from the logits to the pixels, or logits that are no floating point
        raise InputError(f"{misfit} ({first_line(error)}); {REMEDY}") from None
    require_finite(gradient, f"{what}: its gradient is")
    moved: np.ndarray = gradient[0].permute(1, 2, 0).cpu().numpy()
    return moved


def require_finite(values: Tensor, what: str) -> None:
    """Raise InputError if values are NaN or infinite."""
    if not values.isfinite().all():
        value = "nan" if values.isnan().any() else "infinite"
        raise InputError(f"{what} {value} for a picture; {REMEDY}")

"""onnx: any U2Net-like network (picture in, foreground probability out) through onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.mattes import About, PictureLike
from clp_aug.nets.devices import CPU
from clp_aug.nets.onnx_session import session_of
from clp_aug.nets.onnx_weights import read_model
from clp_aug.nets.reading import first_line
from clp_aug.nets.threads import batches, most_in_a_batch

SIDE = 320  # if the network leaves its input size open
LARGEST_SIDE = 4096
MOST = 64  # largest batch that a network may require
LARGEST = 2**31  # bytes of a model with its weights, the limit of protobuf
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
FLOATS: dict[str, np.dtype[Any]] = {"float": np.dtype("f4"), "float16": np.dtype("f2"), "double": np.dtype("f8")}
OUTSIDE = 0.5  # how far a network without a last sigmoid may go beyond [0, 1]
ONE_FLOAT = "export it with float32 input, for pictures in [0, 1] less ImageNet's mean, over its deviation"
MATTE_FIRST = "export it with the matte as its first output"


class OnnxMatte:
    """One network. Input floating-point (n, 3, h, w), ImageNet mean and deviation; first output is the matte.

    Weights may be in files beside it; the digest is over all files, the model first, the others by name. device: by
    name. A network with a fixed batch size gets the last picture repeatedly if there are fewer. Raises InputError for a
    file that is no model, or a network with another input or output; UsageError without onnxruntime, or if that does
    not support the device.
    """

    def __init__(self, file: str, device: str = CPU) -> None:
        path, self.what, self.device = Path(file), f"matte onnx:{file}", device
        weights, sha256 = content_of(path, self.what)
        self.network = session_of(weights, device, self.what)
        self.input = only_input(self.network, self.what)
        if not self.network.get_outputs():
            raise InputError(f"{self.what}: it has no output, expected the matte; {MATTE_FIRST}")
        check_input(self.input.shape, self.what)
        self.kind = kind_of(self.input.type, self.what)
        self.fixed = self.input.shape[0] if isinstance(self.input.shape[0], int) else None
        self.at_once = self.fixed or 1
        self.about = About(f"onnx:{path.stem}", sha256, "see the model's own terms")
        if not np.isfinite(self.mattes_of([trial_picture()])).all():
            raise InputError(f"{self.what}: it gives NaN or infinity for a plain picture; give another export")
        if device != CPU and self.gives_many():
            self.at_once = most_in_a_batch(self.sides[0] * self.sides[1])

    @property
    def provider(self) -> str:
        """Onnxruntime's name of the network's device."""
        return str(self.network.get_providers()[0])

    def gives_many(self) -> bool:
        """Return whether a network for any number of pictures gives a matte for each of two."""
        try:
            return self.fixed is None and len(self.mattes_of([trial_picture()] * 2)) == 2
        except InputError:
            return False

    def find(self, picture: PictureLike) -> np.ndarray:
        """Return the matte at the network's own resolution, float32 (h, w), about in [0, 1], not stretched.

        Raises InputError for values far beyond.
        """
        return self.find_all([picture])[0]

    def find_all(self, pictures: Sequence[PictureLike]) -> list[np.ndarray]:
        """Return the mattes of some pictures; in batches on an accelerator, if the network accepts them."""
        parts = batches(len(pictures), self.at_once)
        return [alpha for part in parts for alpha in self.mattes_of([pictures[i].image for i in part])]

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        height, width = (n if isinstance(n, int) else SIDE for n in self.input.shape[2:])
        return height, width

    def mattes_of(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return the mattes, float32 (n, h, w), of images, uint8 (size, size, 3) RGB, in one pass."""
        height, width = self.sides
        count = self.fixed or len(images)
        pixels = np.stack([prepared(image, height, width) for image in images]).astype(self.kind)
        whole = np.concatenate([pixels, *[pixels[-1:]] * (count - len(images))])
        try:
            outputs = self.network.run(None, {self.input.name: np.ascontiguousarray(whole)})
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise InputError(
                f"{self.what}: it fails on a picture of {width} x {height} ({first_line(error)}); give another export"
            ) from None
        return mattes_in(outputs, count, self.what)[: len(images)]


def prepared(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an image, uint8 (size, size, 3), in the form of networks: float32 (3, height, width), normalised."""
    method = cv2.INTER_AREA if len(image) > width else cv2.INTER_CUBIC
    resized = cv2.resize(image, (width, height), interpolation=method)
    planes: np.ndarray = ((resized.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)
    return planes


def content_of(path: Path, what: str) -> tuple[bytes, str]:
    """Return the bytes of a model, including the weights from files beside it, and the SHA-256 of all files.

    Raises UsageError without onnxruntime, InputError for a file that cannot be read or is in another folder.
    """
    try:
        import onnxruntime  # noqa: F401  # a missing package is reported before the file is read
    except ImportError:
        raise UsageError("matte onnx needs onnxruntime: pip install 'causal-logit-perturbation[matting]'") from None
    if not path.is_file():
        raise InputError(f"{what}: no such file; give the path of a U2Net-like ONNX model")
    try:
        return read_model(path, LARGEST)
    except ValueError as error:
        remedy = "give the path of a U2Net-like ONNX model"
        if "its weights" in str(error):
            remedy = "put both files into one folder, or save it as one: onnx.save(onnx.load(FILE), 'one.onnx')"
        raise InputError(f"{what}: {error}; {remedy}") from None


def only_input(network: Any, what: str) -> Any:
    """Return the only input of a session. Raises InputError for more inputs or none."""
    inputs = network.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(repr(one.name[:40]) for one in inputs[:4])
        raise InputError(
            f"{what}: it takes {len(inputs)} inputs ({names}), expected one, the picture; export it with the picture as"
            " its only input"
        )
    return inputs[0]


def check_input(shape: list[int | str | None], what: str) -> None:
    """Raise InputError unless an input is for one picture or more, of three planes. Open sides are no integers."""
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        said = str(tuple(shape[:8]))[:80]
        raise InputError(f"{what}: its input is {said}, expected (1, 3, h, w); export it for pictures, planes first")
    if isinstance(shape[0], int) and not 1 <= shape[0] <= MOST:
        raise InputError(
            f"{what}: it takes {shape[0]} pictures at a time, expected 1 to {MOST}; export it for one picture, or for"
            " any number"
        )
    sides = [side for side in shape[2:] if isinstance(side, int)]
    if not all(1 <= side <= LARGEST_SIDE for side in sides):
        said = f"{shape[3]} x {shape[2]}"
        raise InputError(f"{what}: its sides are {said}, expected 1 to {LARGEST_SIDE}; export it for smaller pictures")


def kind_of(name: str, what: str) -> np.dtype[Any]:
    """Return numpy's type of an input, "tensor(float)". Raises InputError unless it is floating-point."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    if inner not in FLOATS:
        raise InputError(f"{what}: its input is {inner[:40]}, expected floating-point numbers; {ONE_FLOAT}")
    return FLOATS[inner]


def mattes_in(outputs: list[Any], count: int, what: str) -> np.ndarray:
    """Return the mattes, float32 (count, h, w), from a network's outputs. Raises InputError for anything else."""
    output = outputs[0]
    if not isinstance(output, np.ndarray):
        raise InputError(f"{what}: its output is no array, expected ({count}, 1, h, w); {MATTE_FIRST}")
    if output.dtype.kind not in "fiub":
        raise InputError(f"{what}: its output is of strings or objects, expected ({count}, 1, h, w); {MATTE_FIRST}")
    if output.ndim != 4 or output.shape[:2] != (count, 1) or not output.size:
        raise InputError(f"{what}: its output is {output.shape[:8]}, expected ({count}, 1, h, w); {MATTE_FIRST}")
    alpha: np.ndarray = output[:, 0].astype(np.float32)
    low, high = np.fmin.reduce(alpha, axis=None), np.fmax.reduce(alpha, axis=None)  # ignoring NaN
    if low < -OUTSIDE or high > 1 + OUTSIDE:
        raise InputError(
            f"{what}: its output goes from {low:.2f} to {high:.2f}, expected foreground probabilities in [0, 1]; export"
            " it with a sigmoid at its end, or divided by 255"
        )
    return alpha


def trial_picture() -> np.ndarray:
    """Return uint8 (64, 64, 3): a bright disc on a dark gradient; every matting network finds something in it."""
    y, x = np.mgrid[:64, :64]
    image = np.stack([40 + x, 50 + y, 60 + (x + y) // 2], axis=2)
    image[(x - 32) ** 2 + (y - 32) ** 2 < 18**2] = (220, 200, 170)
    return image.astype(np.uint8)

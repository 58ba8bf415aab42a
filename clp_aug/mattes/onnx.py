"""onnx: any U2Net-like network (picture in, foreground probability out) through onnxruntime."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.mattes import About, PictureLike

SIDE = 320  # where the network leaves its input size open
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


class OnnxMatte:
    """One network file. Input float32 (1, 3, h, w), ImageNet mean and deviation; first output is the matte."""

    def __init__(self, file: str) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise UsageError("matte onnx needs onnxruntime: pip install 'causal-logit-perturbation[matting]'") from None
        path = Path(file)
        if not path.is_file():
            raise InputError(f"matte onnx:{file}: no such file; give the path of a U2Net-like ONNX model")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the same sums for any worker count
        options.log_severity_level = 3
        weights = path.read_bytes()
        try:
            self.network = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no base class
            reason = str(error).splitlines()[0]
            raise InputError(f"matte onnx:{file}: not a usable ONNX model ({reason}); download it again") from None
        self.input = self.network.get_inputs()[0]
        if len(self.input.shape) != 4 or self.input.shape[1] != 3:
            raise InputError(f"matte onnx:{file}: its input is {self.input.shape}, expected (1, 3, h, w)")
        self.about = About(f"onnx:{path.stem}", hashlib.sha256(weights).hexdigest(), "see the model's own terms")

    def find(self, picture: PictureLike) -> np.ndarray:
        """Return the matte at the network's own resolution, float32 (h, w) in [0, 1], not stretched."""
        height, width = (n if isinstance(n, int) else SIDE for n in self.input.shape[2:])
        shrinking = picture.size > width
        resized = cv2.resize(
            picture.image, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
        )
        pixels = ((resized.astype(np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
        output = self.network.run(None, {self.input.name: np.ascontiguousarray(pixels)})[0]
        if output.ndim != 4 or output.shape[:2] != (1, 1):
            raise InputError(f"matte {self.about.name}: its output is {output.shape}, expected (1, 1, h, w)")
        alpha: np.ndarray = output[0, 0]
        return alpha

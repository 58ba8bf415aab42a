"""Names, shapes and file formats of the published inpainting network, written out."""

import numpy as np
import torch
from safetensors.torch import save_file

ATROUS = [f"conv{i}_atrous" for i in (7, 8, 9, 10)]

COARSE = {  # planes in, planes out, side of the kernel
    "conv1": (5, 32, 5), "conv2_downsample": (32, 64, 3), "conv3": (64, 64, 3), "conv4_downsample": (64, 128, 3),
    **dict.fromkeys(["conv5", "conv6", *ATROUS, "conv11", "conv12"], (128, 128, 3)),
    "conv13": (128, 64, 3), "conv14": (64, 64, 3), "conv15": (64, 32, 3), "conv16": (32, 16, 3), "conv17": (16, 3, 3),
}  # fmt: skip

FINE = {
    "conv1": (5, 32, 5), "conv2_downsample": (32, 32, 3), "conv3": (32, 64, 3), "conv4_downsample": (64, 64, 3),
    "conv5": (64, 128, 3), **dict.fromkeys(["conv6", *ATROUS], (128, 128, 3)),
    "pmconv1": (5, 32, 5), "pmconv2_downsample": (32, 32, 3), "pmconv3": (32, 64, 3),
    "pmconv4_downsample": (64, 128, 3), **dict.fromkeys([f"pmconv{i}" for i in (5, 6, 9, 10)], (128, 128, 3)),
    "allconv11": (256, 128, 3), "allconv12": (128, 128, 3), "allconv13": (128, 64, 3), "allconv14": (64, 64, 3),
    "allconv15": (64, 32, 3), "allconv16": (32, 16, 3), "allconv17": (16, 3, 3),
}  # fmt: skip

UPSAMPLED = ("conv13", "conv15", "allconv13", "allconv15")


def in_tensorflow(port):
    """The same tensors as TensorFlow names and orders them."""
    state = {}
    for name, value in port.items():
        part, layer, _, kind = name.split(".")
        if part == "fine_generator" and layer.startswith("conv"):
            layer = f"x{layer}"
        scope = f"{layer}_upsample/{layer}_upsample_conv" if layer in UPSAMPLED else layer
        if kind == "weight":
            state[f"inpaint_net/{scope}/kernel"] = value.permute(2, 3, 1, 0).contiguous()
        else:
            state[f"inpaint_net/{scope}/bias"] = value
    return state


def write(path, state):
    """Write tensors in the format that the ending names."""
    if path.suffix == ".safetensors":
        save_file({name: value.clone() for name, value in state.items()}, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    else:
        torch.save(state, path)
    return path

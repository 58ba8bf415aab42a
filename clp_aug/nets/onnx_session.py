"""onnxruntime's session of a model, only on the chosen device.

onnxruntime comes in several packages, each with the providers of some vendors. If a provider cannot start, it silently
uses the CPU. So the session's device is checked afterwards.
"""

from __future__ import annotations

import os
from typing import Any

from clp_aug.contract.errors import InputError, SettingError
from clp_aug.nets.devices import CPU
from clp_aug.nets.reading import first_line

ON_CPU = "CPUExecutionProvider"
PROVIDERS = {
    "cuda": ("CUDAExecutionProvider", "ROCMExecutionProvider", "MIGraphXExecutionProvider", "DmlExecutionProvider"),
    "xpu": ("OpenVINOExecutionProvider", "DmlExecutionProvider"),
    "mps": ("CoreMLExecutionProvider",),
}
"""Kind of device in torch -> onnxruntime's providers for it; the first available one is used."""
PACKAGES = {"cuda": "onnxruntime-gpu", "xpu": "onnxruntime-openvino", "mps": "onnxruntime"}
"""Kind of device -> the package of onnxruntime with a provider for it."""


def provider_for(device: str) -> str:
    """Return the provider of the installed onnxruntime for a device, "" if there is none."""
    import onnxruntime

    there = onnxruntime.get_available_providers()
    served = (ON_CPU,) if device == CPU else PROVIDERS.get(kind_of(device), ())
    return next((name for name in served if name in there), "")


def session_of(weights: bytes, device: str, what: str, threads: int = 1) -> Any:
    """Return onnxruntime's session of a model. what: "matte onnx:FILE", for messages; threads: on the CPU.

    Raises SettingError for a device that onnxruntime does not support, InputError for bytes that are no model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1  # one: the same sums for any worker count
    options.log_severity_level = 4  # failures are reported by exceptions
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    provider = provider_for(device)
    if not provider:
        raise not_served(device, what, "the onnxruntime that is installed has no provider for it")
    try:
        session = onnxruntime.InferenceSession(
            weights, options, providers=[(provider, options_of(provider, device))], enable_fallback=0
        )
    except Exception as error:  # onnxruntime's own exceptions share no base class
        if "external data" in str(error).lower():
            raise InputError(
                f"{what}: it keeps weights in another file; save it as one: onnx.save(onnx.load(FILE), 'one.onnx')"
            ) from None
        raise InputError(f"{what}: not a usable ONNX model ({first_line(error)}); download it again") from None
    if session.get_providers()[0] != provider:
        raise not_served(device, what, f"onnxruntime's {provider} does not start and would leave the work to the CPU")
    return session


def options_of(provider: str, device: str) -> dict[str, str]:
    """Return the options of a provider: the number of the device, and no rounding of float32."""
    number = device.partition(":")[2] or "0"
    if provider == "CUDAExecutionProvider":
        return {"device_id": number, "use_tf32": "0"}
    if provider == "OpenVINOExecutionProvider":
        return {"device_type": f"GPU.{number}"}
    return {} if provider in (ON_CPU, "CoreMLExecutionProvider") else {"device_id": number}


def kind_of(device: str) -> str:
    """Return the kind of a device, "cuda" of "cuda:1"."""
    return device.partition(":")[0]


def not_served(device: str, what: str, reason: str) -> SettingError:
    """Return the error for a device that a model cannot run on. what: "matte onnx:FILE", shown without the file."""
    return SettingError("device", device, f"{what.partition(':')[0]}: {reason}; {package_for(device)}", {"device": CPU})


def package_for(device: str) -> str:
    """Return in words the package to install for a device."""
    package = PACKAGES.get(kind_of(device))
    return f"pip install {package} in its place" if package else "no package of it supports such a device"

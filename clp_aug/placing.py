"""The devices for the networks of a run, of the matte and of the fills: the chosen device, after a trial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import SettingError
from clp_aug.fills import fill_of, infill_all
from clp_aug.fills.scene import Materials, trial_scene
from clp_aug.mattes import is_network
from clp_aug.nets.devices import AUTO, CPU, describe, find_device, name_of


@dataclass(frozen=True)
class Devices:
    """Devices by name. matte: of the chosen matte and its fallbacks; fills: of all fills; the CPU if there is no
    network; provider: onnxruntime's name of the matte's device, if it runs the matte; remark: what a user should know.
    """

    matte: str = CPU
    fills: str = CPU
    provider: str = ""
    remark: str = ""

    def of(self, stage: str) -> str:
        """Return the device of a stage: "boxes-meta", "boxes-train" or "infill"."""
        return self.fills if stage == "infill" else self.matte

    def stored(self) -> dict[str, str]:
        """Return the facts for the shard's settings: none for the CPU, the same for two devices of one make."""
        taken = {"matte_device": self.matte, "fill_device": self.fills}
        facts = {name: make_of(device) for name, device in taken.items() if device != CPU}
        return facts | ({"matte_provider": self.provider} if self.provider else {})

    def in_words(self) -> dict[str, str]:
        """Return each device that is not the CPU in words: its name and its memory."""
        taken = {"matte": self.matte, "fills": self.fills}
        facts = {use: f"{name} ({described(name)})" for use, name in taken.items() if name != CPU}
        return facts | ({"matte": f"{facts['matte']} by {self.provider}"} if self.provider else {})


def place_networks(config: AugmentConfig, matte: str) -> Devices:
    """Return the devices of a run. matte: that of the run.

    Raises SettingError for a missing device, or for a chosen device if no network runs.
    """
    kind, networks = matte.partition(":")[0], [fill for fill in config.fills if fill_of(fill).many]
    if not is_network(matte) and not networks:
        if config.device not in (AUTO, CPU):
            reason = f"it has no effect: matte {matte} and fills {', '.join(config.fills)} are no networks"
            raise SettingError("device", config.device, reason, {"device": CPU})
        return Devices()
    device = CPU if config.device == CPU else str(find_device(config.device))
    devices = Devices(device if is_network(matte) else CPU, device if networks else CPU)
    return with_provider(devices, config.device == AUTO) if kind == "onnx" and device != CPU else devices


def with_provider(devices: Devices, leave: bool) -> Devices:
    """Return the devices with onnxruntime's provider. leave: whether a matte without a provider stays on the CPU.

    If not, the matte raises an error when it is made.
    """
    from clp_aug.nets.onnx_session import package_for, provider_for

    provider = provider_for(devices.matte)
    if provider or not leave:
        return Devices(devices.matte, devices.fills, provider)
    remark = (
        f"matte onnx runs on the CPU: onnxruntime has no provider for {devices.matte}; {package_for(devices.matte)}"
    )
    return Devices(CPU, devices.fills, remark=remark)


def try_on_device(config: AugmentConfig, devices: Devices, size: int, classes: int) -> None:
    """Let the fills' networks fill a scene on their device, if that is not the CPU.

    Raises InputError if one does not work there.
    """
    if devices.fills == CPU:
        return
    for name in config.fills:
        kind, scene, rng = fill_of(name).kinds[0], trial_scene(size), np.random.default_rng(0)
        if fill_of(name).many:
            infill_all(name, kind, [scene], [rng], Materials(num_classes=classes, device=devices.fills),
                       config.fill_options.get(name))  # fmt: skip


def described(name: str) -> str:
    """Return a device in words."""
    import torch

    return describe(torch.device(name))


def make_of(device: str) -> str:
    """Return the kind and the make of a device: "cuda (NVIDIA H200)"."""
    import torch

    kind, name = device.partition(":")[0], name_of(torch.device(device))
    return kind if name == kind else f"{kind} ({name})"

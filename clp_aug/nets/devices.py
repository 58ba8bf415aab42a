"""The devices of this machine by name, on which networks run. No vendor is named here; torch lists the devices."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from clp_aug.contract.errors import SettingError

if TYPE_CHECKING:
    import torch

AUTO, CPU = "auto", "cpu"
USUAL = "CLP_DEVICE"
"""The environment variable that sets the meaning of "auto"."""
HELP = (
    "Where networks run: auto (an accelerator if there is one), cpu, or an accelerator's name, such as cuda or cuda:1."
)


def find_device(name: str) -> torch.device:
    """Return the device of a name: "auto", "cpu", or an accelerator's kind with or without its number.

    "auto" is the device in $CLP_DEVICE; without it the current accelerator if there is one, else the CPU. Raises
    SettingError for a device that does not exist, with the list of devices, or that does not answer.
    """
    import torch

    usual = os.environ.get(USUAL) or AUTO
    wanted_name = usual if name == AUTO else name
    if wanted_name == CPU:
        return torch.device(CPU)
    accelerators = list(found())
    wanted = [device for device in accelerators if wanted_name in (AUTO, device.type, str(device))]
    if not wanted and wanted_name == AUTO:
        return torch.device(CPU)
    if not wanted:
        of_auto = f"${USUAL} is {usual}; " if name == AUTO else ""
        there = ", ".join([CPU, *(f"{device} ({describe(device)})" for device in accelerators)])
        remedy = CPU if name == AUTO else AUTO
        raise SettingError("device", name, f"{of_auto}there is no such device; there are: {there}", {"device": remedy})
    current = wanted[0] if len(wanted) == 1 else wanted[torch.accelerator.current_device_index()]
    try:
        torch.ones(1, device=current).sum().item()
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SettingError("device", name, f"it does not answer ({reason})", {"device": CPU}) from None
    return current


def found() -> Iterator[torch.device]:
    """Yield the accelerators of this machine, in their order."""
    import torch

    kind = torch.accelerator.current_accelerator(check_available=True)
    if kind is not None:
        yield from (torch.device(kind.type, i) for i in range(torch.accelerator.device_count()))


def require_precision(device: torch.device, precision: str, names: Sequence[str]) -> None:
    """Raise SettingError for a precision that a device does not have. names: all precisions that may be chosen."""
    if not has_precision(device, precision):
        there = ", ".join(name for name in names if has_precision(device, name))
        reason = f"{device} ({describe(device)}) does not have it; it has {there}"
        raise SettingError("precision", precision, reason, {"precision": "float32"})


def has_precision(device: torch.device, precision: str) -> bool:
    """Return whether a device computes in a precision: "float32", "tf32" or "bf16"."""
    import torch

    module: Any = torch.get_device_module(device)
    if precision == "tf32":
        return bool(getattr(module, "is_tf32_supported", lambda: False)())
    if precision == "bf16":
        supported = getattr(module, "is_bf16_supported", lambda: True)()
        return bool(supported) and torch.amp.is_autocast_available(device.type)
    return True


def describe(device: torch.device) -> str:
    """Return a device in words: its name, and its memory if known."""
    import torch

    if device.type == CPU:
        return f"{platform.machine()}, {torch.get_num_threads()} threads"
    name, total = name_of(device), memory_of(device)
    return name if total is None else f"{name}, {total / (1 << 30):.1f} GiB"


def name_of(device: torch.device) -> str:
    """Return the name of an accelerator, or its kind if it has none."""
    import torch

    ask = getattr(torch.get_device_module(device), "get_device_name", None)
    return device.type if ask is None else str(ask(device))


def memory_of(device: torch.device) -> int | None:
    """Return the bytes of memory of an accelerator, None if unknown."""
    import torch

    ask: Any = getattr(torch.get_device_module(device), "get_device_properties", None)
    total = None if ask is None else getattr(ask(device), "total_memory", None)
    return None if total is None else int(total)


def free_memory_of(device: torch.device) -> int | None:
    """Return the free bytes of memory of an accelerator, None if unknown."""
    import torch

    ask: Any = getattr(torch.get_device_module(device), "mem_get_info", None)
    return None if ask is None else int(ask(device)[0])

"""Where networks run: the devices of this machine by name. No vendor is named here; torch says what there is."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from clp_aug.contract.errors import SettingError

if TYPE_CHECKING:
    import torch

AUTO, CPU = "auto", "cpu"
HELP = (
    "Where networks run: auto (an accelerator if there is one), cpu, or an accelerator's name, such as cuda or cuda:1."
)


def find_device(name: str) -> torch.device:
    """Return the device of a name: "auto", "cpu", or an accelerator's kind with or without its number.

    "auto" is the current accelerator where there is one, else the CPU. Raises SettingError for a device that is not
    there, or that does not answer, naming those that are.
    """
    import torch

    if name == CPU:
        return torch.device(CPU)
    accelerators = list(found())
    wanted = [device for device in accelerators if name in (AUTO, device.type, str(device))]
    if not wanted and name == AUTO:
        return torch.device(CPU)
    if not wanted:
        there = ", ".join([CPU, *(f"{device} ({describe(device)})" for device in accelerators)])
        raise SettingError("device", name, f"there is no such device; there are: {there}", {"device": AUTO})
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


def describe(device: torch.device) -> str:
    """Return what a device is, in words: its name, and its memory where it says so."""
    import torch

    if device.type == CPU:
        return f"{platform.machine()}, {torch.get_num_threads()} threads"
    name, total = name_of(device), memory_of(device)
    return name if total is None else f"{name}, {total / (1 << 30):.1f} GiB"


def name_of(device: torch.device) -> str:
    """Return the name that an accelerator goes by, its kind where it has none."""
    import torch

    ask = getattr(torch.get_device_module(device), "get_device_name", None)
    return device.type if ask is None else str(ask(device))


def memory_of(device: torch.device) -> int | None:
    """Return the bytes of memory of an accelerator, None where it does not say."""
    import torch

    ask: Any = getattr(torch.get_device_module(device), "get_device_properties", None)
    total = None if ask is None else getattr(ask(device), "total_memory", None)
    return None if total is None else int(total)


def free_memory_of(device: torch.device) -> int | None:
    """Return the bytes of memory that are free on an accelerator, None where it does not say."""
    import torch

    ask: Any = getattr(torch.get_device_module(device), "mem_get_info", None)
    return None if ask is None else int(ask(device)[0])

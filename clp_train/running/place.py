"""The device and the precision of a run's networks; no other code depends on them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from clp_aug.contract.errors import InputError, SettingError
from clp_aug.nets.devices import CPU, describe, find_device, require_precision
from clp_train.algorithm.precision import compute_in, precision_of_run
from clp_train.models.parts import Classifier, heads
from clp_train.ranks.team import ALONE, Ranks
from clp_train.run_settings import PRECISIONS, RunSettings

LESS_MEMORY = "lower batch_size and meta_batch_size, or take store = memory or precision = bf16"


@dataclass(frozen=True)
class Place:
    """A device and a precision that it supports."""

    device: torch.device
    precision: str

    def take(self, network: Classifier) -> Classifier:
        """Move a network to the device, in place, let its passes compute in the precision, and return it."""
        network.to(self.device)
        if self.precision != "float32":
            compute_in(network, heads(network), self.precision)
        return network

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Inside this context, float32 is rounded only as the precision says; the CPU never rounds.

        Raises InputError if the device runs out of memory inside it.
        """
        if self.is_cpu:
            yield
            return
        try:
            with precision_of_run(self.precision):
                yield
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error).lower():
                raise
            raise InputError(f"{self.name} is out of memory; {LESS_MEMORY}") from None

    @property
    def is_cpu(self) -> bool:
        """Whether networks run on the CPU, where pictures are read."""
        return self.device.type == CPU

    @property
    def name(self) -> str:
        """The device in words."""
        return f"{self.device} ({describe(self.device)})"

    def __str__(self) -> str:
        return f"{self.name}, {self.precision}"

    def shared_by(self, ranks: Ranks) -> str:
        """The device in words, and the number of ranks, each with its own device."""
        return self.name if ranks.size == 1 else f"{self.name}, {ranks.size} ranks"


CPU_PLACE = Place(torch.device(CPU), "float32")


def find_place(settings: RunSettings, ranks: Ranks = ALONE) -> Place:
    """Return the place for the settings; each rank of a machine gets its own accelerator.

    Raises SettingError for a device or a precision that is not available.
    """
    device = find_device(settings.device)
    if ranks.size > 1 and device.type != CPU:
        if ":" in settings.device:
            reason = f"{ranks.size} ranks would share it; each needs its own"
            raise SettingError("device", settings.device, reason, {"device": device.type})
        device = find_device(f"{device.type}:{ranks.local}")
    require_precision(device, settings.precision, PRECISIONS)
    return Place(device, settings.precision)

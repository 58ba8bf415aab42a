"""Where a run's networks live, and the precision that they compute in: the run's business, and nobody else's."""

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
    """A device and a precision that it has."""

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
        """Within it, float32 is rounded on the way only where the precision says so; the CPU never rounds.

        Raises InputError where the device has too little memory for what is done within.
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
        """Whether networks run where pictures are read."""
        return self.device.type == CPU

    @property
    def name(self) -> str:
        """The device in words."""
        return f"{self.device} ({describe(self.device)})"

    def __str__(self) -> str:
        return f"{self.name}, {self.precision}"

    def shared_by(self, ranks: Ranks) -> str:
        """The device in words, and how many ranks have one each."""
        return self.name if ranks.size == 1 else f"{self.name}, {ranks.size} ranks"


CPU_PLACE = Place(torch.device(CPU), "float32")


def find_place(settings: RunSettings, ranks: Ranks = ALONE) -> Place:
    """Return the place that settings ask for, of each rank of a machine its own accelerator.

    Raises SettingError for a device or a precision that is not there.
    """
    device = find_device(settings.device)
    if ranks.size > 1 and device.type != CPU:
        if ":" in settings.device:
            reason = f"{ranks.size} ranks would share it; each takes one of its own"
            raise SettingError("device", settings.device, reason, {"device": device.type})
        device = find_device(f"{device.type}:{ranks.local}")
    require_precision(device, settings.precision, PRECISIONS)
    return Place(device, settings.precision)

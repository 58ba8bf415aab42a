"""The engines for a table's jobs, with their options: this machine, a Ray cluster, or a batch system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clp_aug.contract.errors import UsageError, pick
from clp_aug.nets.devices import AUTO, CPU

if TYPE_CHECKING:
    from clp_train.bench.queue import Place

LOCAL, RAY, SLURM = "local", "ray", "slurm-array"
ENGINES = {
    LOCAL: "processes on this machine",
    RAY: "tasks on a Ray cluster",
    SLURM: "a script with two arrays of tasks for Slurm",
}


@dataclass(frozen=True)
class Engine:
    """The engine and its options. name: of ENGINES; address, gpus: of a Ray cluster; script: file for the arrays of
    Slurm; workers: most jobs at once; threads: of a job; device: of all runs.
    """

    name: str = LOCAL
    address: str | None = None
    gpus: float | None = None
    script: Path | None = None
    workers: int | None = None
    threads: int = 1
    device: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for an unknown engine, and for options that have no effect with it or are out of range."""
        pick(ENGINES, self.name, "engine")
        for option, value, owner in (
            ("--address", self.address, RAY),
            ("--gpus", self.gpus, RAY),
            ("--script", self.script, SLURM),
        ):
            if value is not None and self.name != owner:
                raise UsageError(f"{option} {value}: it has no effect with engine {self.name}; give --engine {owner}")
        if self.gpus is not None and not 0 < self.gpus <= 1:
            raise UsageError(f"--gpus {self.gpus:g}: expected a job's share of a GPU, in (0, 1]")
        if self.name == RAY and self.device not in (None, AUTO, CPU):
            raise UsageError(f"--device {self.device}: on a cluster Ray assigns the GPUs; give --gpus 1 instead")
        if self.gpus is not None and self.device == CPU:
            raise UsageError(f"--gpus {self.gpus:g}: runs on the CPU need no GPU; leave out --gpus or --device cpu")

    @contextmanager
    def place(self, work: Path) -> Iterator[Place]:
        """Yield the place of the queue, open inside this context. work: the existing folder of shards and runs."""
        if self.name == RAY:
            from clp_train.bench.on_ray import cluster

            gpus = self.gpus or 0.0
            device = self.device if gpus else CPU  # a job without a reserved GPU uses none
            with cluster(self.address, self.workers, self.threads, gpus, device, work) as place:
                yield place
        else:
            from clp_train.bench.processes import Here
            from clp_train.bench.queue import cores

            yield Here(self.workers or max(1, cores() // self.threads), self.threads, self.device)


def given(**options: object) -> Sequence[str]:
    """Return options as words, without those that are missing or empty."""
    return [word for name, value in options.items() if value not in (None, "") for word in (f"--{name}", str(value))]

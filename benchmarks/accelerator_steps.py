"""Steps of a network on a device, timed: what `accelerator.py` measures. Ratios are of steps that take turns.

A row is one way to step, `train_step` as `clp-train` does it, on a random batch that lies on the device. In a round
every row does a few steps between two waits for the device; the figure is the median of the rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from clp_aug.contract.errors import ClpError
from clp_aug.nets.devices import has_precision
from clp_train.algorithm.method import Context
from clp_train.algorithm.step import StepLosses, StepRule, read_losses, train_step
from clp_train.algorithm.table import TrainTable
from clp_train.config import make_config
from clp_train.methods import build_method
from clp_train.models import build_model
from clp_train.pictures.keys import generator_for
from clp_train.pictures.types import Batch, masks
from clp_train.running.assembly import step_rule
from clp_train.running.place import Place

PLAIN = "plain"
PRECISIONS = ("float32", "tf32", "bf16")
ROWS = {  # name -> settings of the run; central differences are the default
    PLAIN: {"method": "erm"},
    "exact": {"method": "meta-lp"},
    "lagged": {"method": "meta-lp", "meta_step": "lagged"},
    "full CLP": {"method": "clp"},
    "exact, forward": {"method": "meta-lp", "hypergradient": "forward"},
    "full CLP, forward": {"method": "clp", "hypergradient": "forward"},
    "full CLP, lagged": {"method": "clp", "meta_step": "lagged"},
    "exact, double backward": {"method": "meta-lp", "hypergradient": "reference"},
}
RATE = 1e-3  # so that no network diverges, however long it is timed
STEPS = 3  # of a row in a round


@dataclass(frozen=True)
class Network:
    """A classifier and what it is fed with. model: its name; side: of a picture in pixels; pictures: of a batch."""

    model: str
    side: int
    pictures: int
    classes: int = 10


def batch_of(network: Network, seed: int, kinds: int = 1) -> Batch:
    """Return random pictures with a centred box, and kinds of the contract in turn."""
    generator, n, side = torch.Generator().manual_seed(seed), network.pictures, network.side
    label = torch.randint(network.classes, (n,), generator=generator)
    images = torch.rand(n, 3, side, side, generator=generator).contiguous(memory_format=torch.channels_last)
    box = torch.tensor([[side // 4, side // 4, 3 * side // 4, 3 * side // 4]]).expand(n, 4)
    return Batch(images, masks(box, side, side), label, label, (torch.arange(n) % kinds).byte(), torch.arange(n))


class Stepper:
    """One way to step, with its own network, method and optimiser, in one place."""

    def __init__(self, network: Network, row: str, place: Place) -> None:
        config = make_config({"meta": "none", "model": network.model, **ROWS[row]})
        built = build_model(network.model, network.classes, [0.5] * 3, [0.25] * 3, generator_for(0, 0, "network"))
        self.network = place.take(built.to(memory_format=torch.channels_last).train())
        self.train, self.meta = (batch_of(network, seed, kinds).to(place.device) for seed, kinds in ((0, 1), (1, 3)))
        table = TrainTable(self.train.label.cpu(), self.train.label.cpu(), network.classes, network.classes)
        context = Context(
            config.method, table, generator_for(0, 0, "method"), sgd=config.sgd, meta_step=config.meta_step,
            saliency=config.saliency,
        )  # fmt: skip
        self.method, self.rule = build_method(config.options, context), step_rule(config)
        self.optimiser = torch.optim.SGD(self.network.parameters(), RATE, 0.9, weight_decay=5e-4)
        self.steps, self.place = 0, place

    def step(self) -> StepLosses:
        """Do one step; the device may still be at it when this returns."""
        self.steps += 1
        return self.take(self.rule, self.steps)

    def bare_step(self) -> Tensor:
        """Do the part of a step that is the same each time, as a graph would hold it; return its loss."""
        return torch.as_tensor(self.take(replace(self.rule, seed=None), 1).train)

    def take(self, rule: StepRule, number: int) -> StepLosses:
        """Do a step by a rule."""
        meta = self.meta if self.method.learned else None
        return train_step(self.network, self.method, self.optimiser, self.train, meta, rule, number)

    def check(self) -> None:
        """Do one step and look at its losses. Raises DivergedError for one that is not finite."""
        read_losses([self.step()])


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def seconds_of(work: Callable[[], Any], times: int, device: torch.device) -> float:
    """Return the seconds of one of some repetitions, between two waits for the device."""
    wait_for(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait_for(device)
    return (time.perf_counter() - start) / times


def in_turns(
    rows: Mapping[str, Callable[[], Any]], device: torch.device, seconds: float, least: int
) -> dict[str, list[float]]:
    """Return the seconds of each row in each round; rounds until the time is over, so many at least."""
    found: dict[str, list[float]] = {name: [] for name in rows}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < least or time.perf_counter() < end:
        for name, work in rows.items():
            found[name].append(seconds_of(work, STEPS, device))
        rounds += 1
    return found


def ratio(times: Sequence[float], plain: Sequence[float]) -> float:
    """Return the median over rounds of how many times as long one row takes as another."""
    return round(statistics.median(t / p for t, p in zip(times, plain, strict=True)), 3)


def memory_of(work: Callable[[], Any], device: torch.device) -> float | None:
    """Return by how many MiB the memory that is taken on a device rises meanwhile; None on the CPU."""
    if device.type == "cpu":
        work()
        return None
    wait_for(device)
    torch.accelerator.reset_peak_memory_stats(device)
    before = torch.accelerator.memory_allocated(device)
    work()
    wait_for(device)
    return round((torch.accelerator.max_memory_allocated(device) - before) / (1 << 20), 1)


def busy_seconds(work: Callable[[], Any], device: torch.device) -> float | None:
    """Return how long a device is at work meanwhile, by torch's profiler; None where that sees no device."""
    with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profile:
        work()
        wait_for(device)
    events = [
        e for e in profile.events() if e.device_type.name != "CPU" and not getattr(e, "is_user_annotation", False)
    ]
    spans = sorted((event.time_range.start, event.time_range.end) for event in events)
    return covered(spans) / 1e6 if spans else None


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Return the length of what sorted spans cover together."""
    total, reached = 0.0, float("-inf")
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def waiting_share(work: Callable[[], Any], seconds: float, device: torch.device) -> float | None:
    """Return the share of the time that a device waits for work. seconds: that the work takes without a profiler."""
    busy = busy_seconds(work, device)
    return None if busy is None else round(max(0.0, 1 - busy / seconds), 3)


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line with its type."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"


def measure_steps(
    network: Network, place: Place, rows: Sequence[str], seconds: float, least: int
) -> dict[str, dict[str, Any]]:
    """Return for each row its seconds, its ratio to the plain step, its peak memory, and how much the device waits.

    A row that fails, for want of memory for instance, says why and is left out; the others go on.
    """
    found: dict[str, dict[str, Any]] = {}
    steppers: dict[str, Stepper] = {}
    for name in rows:
        try:
            steppers[name] = Stepper(network, name, place)
            steppers[name].check()  # warms up
            found[name] = {"peak_mib": memory_of(steppers[name].step, place.device)}
        except (RuntimeError, ClpError) as error:
            found[name] = {"failed": first_line(error)}
            steppers.pop(name, None)
    times = in_turns({name: stepper.step for name, stepper in steppers.items()}, place.device, seconds, least)
    for name, stepper in steppers.items():
        median = statistics.median(times[name])
        found[name] |= {"seconds": median, "rounds": len(times[name])}
        if PLAIN in times:
            found[name]["ratio"] = ratio(times[name], times[PLAIN])
        found[name]["device_waits"] = waiting_share(stepper.step, median, place.device)
    return found


def place_of(device: torch.device, precision: str) -> Place | None:
    """Return the place, None for a precision that the device lacks."""
    return Place(device, precision) if has_precision(device, precision) else None


def experiment_of(
    name: str, row: str, network: Network, device: torch.device, seconds: float, least: int
) -> dict[str, Any]:
    """Measure a step beside the same under torch.compile, or replayed as one graph of the device."""
    place = Place(device, "float32")
    with place.active():
        eager, other = Stepper(network, row, place), Stepper(network, row, place)
        eager.check()
        start = time.perf_counter()
        changed = compiled(other) if name == "compile" else captured(other)
        changed()
        wait_for(device)
        preparation = time.perf_counter() - start
        whole = {"eager": eager.step, "bare": eager.bare_step, name: changed}
        times = in_turns(whole, device, seconds, least)
    found = {key: {"seconds": statistics.median(t), "ratio": ratio(t, times["eager"])} for key, t in times.items()}
    return found | {"seconds_of_preparation": preparation}


def compiled(stepper: Stepper) -> Callable[[], Any]:
    """Return the step of a network whose passes are compiled."""
    stepper.network.compile()
    stepper.check()
    return stepper.step


def captured(stepper: Stepper) -> Callable[[], Any]:
    """Return the replay of a step that was captured as one graph. Raises RuntimeError for a device without graphs."""
    device = stepper.place.device
    if device.type == "cpu":
        raise RuntimeError("the CPU has no graphs")
    stream = torch.Stream(device)
    with stream:
        for _ in range(3):  # what a first step makes, such as momentum, must be there before
            stepper.bare_step()
    stream.synchronize()
    graph = torch.accelerator.Graph()
    with stream, graph:
        loss = stepper.bare_step()
    graph.replay()
    before = float(loss)
    graph.replay()
    if not float(loss) != before:
        raise RuntimeError(f"the replayed step does not learn: its loss stays {before}")
    return graph.replay

"""The whole job for four sets of pictures on five kinds of machines, from what was measured on one core.

Only the column of one core is measured, times the number of pictures. All others are derived, by the assumptions of
`Machine` and `GPU`; every figure of theirs is marked on the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

HOUR = 3_600_000.0  # milliseconds
HEAD, BODY, HEAD_SIZE, HEAD_EPOCHS = "a head on 1,280 features", "efficientnet-lite0", 224, 60
FEATURE_BYTES = 4 * 1280
PLAIN, EXACT, NO_SALIENCY = "plain", "CLP exact", "CLP exact, no saliency"
ROWS = (PLAIN, EXACT, NO_SALIENCY, "CLP lagged", "CLP lagged, no saliency")
PLANNED = (PLAIN, EXACT, NO_SALIENCY, "CLP lagged, no saliency")
FROZEN = "features of a frozen body, and CLP on a head"
AVERAGES = 3  # over the ranks: of the training gradient in the virtual and in the real step, and of the meta gradient
ROWS_EACH = 3  # of the shard: an original and two copies
AT_ONCE = 250  # pictures that a network is asked for when nothing learns


class Job(NamedTuple):
    """A set of pictures, and a run on it. meta: originals of the meta set; held: pictures that are measured on; size:
    measured costs are of; batch, epochs: of the preset.
    """

    name: str
    train: int
    held: int
    meta: int
    size: int
    net: str
    batch: int
    epochs: int

    @property
    def pictures(self) -> int:
        """All of them."""
        return self.train + self.held


JOBS = (
    Job("Waterbirds", 4_795, 6_993, 40, 224, "resnet50", 16, 300),
    Job("CIFAR-10 or -100", 50_000, 10_000, 1_000, 32, "resnet32", 128, 78),
    Job("ImageNet-GLT", 116_000, 60_000, 10_000, 224, "resnet50", 256, 100),
    Job("ImageNet", 1_281_167, 50_000, 10_000, 224, "resnet50", 256, 90),
)


class Machine(NamedTuple):
    """cores: of a node; gpus: of a node; nodes: how many; offline, training: the share of so many times one core's
    speed that is left where as many work, for independent pictures and for one network.
    """

    name: str
    cores: int = 1
    gpus: int = 0
    nodes: int = 1
    offline: float = 1.0
    training: float = 1.0

    @property
    def speed(self) -> float:
        """Of a node's cores, with independent pictures, in times of one core."""
        return self.cores * self.offline

    @property
    def training_speed(self) -> float:
        """Of a node's cores, with one network, in times of one core."""
        return self.cores * self.training


ONE = Machine("1 core")
MACHINES = (
    ONE,
    Machine("16 cores", 16, offline=0.85, training=0.7),
    Machine("1 GPU", 16, 1, offline=0.85, training=0.7),
    Machine("8 GPUs", 128, 8, offline=0.85, training=0.7),
    Machine("Ray, 10 x 16 cores", 16, nodes=10, offline=0.85, training=0.7),
)


class GPU:
    """An A100 in float32, which is what networks of clp-augment compute in, and the default of clp-train."""

    published = 367.0  # pictures a second, ResNet-50, float32, one V100: NVIDIA's DeepLearningExamples
    peak_published, peak = 15.7e12, 19.5e12  # float32, V100 and A100
    flops_published = 24.5e9  # a picture, forward and backward
    call = 10e-6  # seconds until the next kernel, where kernels are small
    link = 200e9  # bytes a second between GPUs of a node
    actors = 4  # workers of the engine ray that share one

    @classmethod
    def rate(cls) -> float:
        """Return operations a second: the share of the peak that was published, of the newer card's peak."""
        return cls.peak * cls.published * cls.flops_published / cls.peak_published


@dataclass(frozen=True)
class Plan:
    """Hours and bytes of a job. measured: what `experiments.scale.measure` wrote."""

    job: Job
    measured: Mapping[str, Any]

    def part(self, name: str) -> Any:
        """Return what was measured of a part."""
        return self.measured["parts"][name]

    def ms(self, *stages: str) -> float:
        """Return milliseconds that some stages of clp-augment take a picture on one core."""
        costs = self.part(f"offline {self.job.size}")["costs"]
        return sum(costs[stage]["ms"] for stage in stages)

    def hours(self, machine: Machine) -> dict[str, float]:
        """Return the hours of each stage and of each kind of training."""
        return self.offline_hours(machine) | self.training_hours(machine)

    def offline_hours(self, machine: Machine) -> dict[str, float]:
        """Return the hours of each stage of clp-augment, and of LOAD."""
        job, fill, rest = self.job, self.ms("SHARD fill"), self.ms("SHARD rest")
        all_cores = machine.speed * machine.nodes
        found = {
            "CHECK": job.pictures * self.ms("CHECK") / all_cores,
            "READ, MATTE, BOX": job.train * self.of_network(machine, "MATTE hatt", ("READ", "DIGEST"), ("BOX",)),
            "INFILL": job.meta * self.of_network(machine, "INFILL cagan", ("READ",), ("INFILL random",)),
            "SHARD": job.meta * (fill / (machine.speed if machine.nodes == 1 else 1.0) + rest),
            "LOAD": job.pictures * self.part(f"load {job.size}")["LOAD"]["ms"] / machine.speed,
        }
        return {name: ms / HOUR for name, ms in found.items()}

    def of_network(self, machine: Machine, network: str, before: Sequence[str], beside: Sequence[str]) -> float:
        """Return milliseconds a picture of a stage that is a network. before: what workers do for one that has a
        device; beside: what is done where the device is.
        """
        if not machine.gpus:
            return self.ms(network, *before, *beside) / machine.speed / machine.nodes
        asked = self.part(f"offline {self.job.size}")["asked"][network]
        device = 1000 * asked["flops a picture"] / GPU.rate() / machine.gpus
        if machine.gpus == 1:  # this process has it
            return max(device + self.ms(*beside), self.ms(*before) / machine.speed)
        return max(device, self.ms(*before, *beside) / (GPU.actors * machine.gpus))

    def training_hours(self, machine: Machine) -> dict[str, float]:
        """Return the hours of what can be trained, and of measuring after every epoch."""
        job = self.job
        seen, net = job.train * job.epochs, self.part(f"training {job.net}")
        found = {row: seen * self.step(machine, net, row) for row in PLANNED}
        found["EVALUATE"] = job.held * job.epochs * self.forward(machine, net)
        if job.size == HEAD_SIZE:
            made = (job.pictures + job.meta * ROWS_EACH) * self.forward(machine, self.part(f"training {BODY}"))
            head = self.part(f"training {HEAD}")
            found[FROZEN] = made + job.train * HEAD_EPOCHS * self.step(machine, head, NO_SALIENCY)
        return {name: ms / HOUR for name, ms in found.items()}

    def step(self, machine: Machine, net: Mapping[str, Any], row: str) -> float:
        """Return milliseconds a picture of a training step."""
        if not machine.gpus:
            return float(net["steps"][row]["ms"]) / machine.training_speed
        batch, asked = (self.job.batch if "parameters" in net else net["batch"]), net["asked"][row]
        computed = batch * asked["flops a picture"] / machine.gpus / GPU.rate()
        return 1000 * (max(computed, asked["calls"] * GPU.call) + averaging(machine, net, row)) / batch

    def forward(self, machine: Machine, net: Mapping[str, Any]) -> float:
        """Return milliseconds a picture of a pass without gradients."""
        if not machine.gpus:
            return float(net["features"]["ms"]) / machine.training_speed
        asked = net["asked, features"]
        seconds = max(asked["flops a picture"] / GPU.rate(), asked["calls"] * GPU.call / AT_ONCE)
        return 1000 * seconds / machine.gpus

    def whole(self, machine: Machine) -> float:
        """Return the hours of clp-augment, LOAD, and one CLP run over all of the network, measured after each epoch."""
        return sum(self.offline_hours(machine).values()) + self.run(machine)

    def run(self, machine: Machine) -> float:
        """Return the hours of one such run alone."""
        hours = self.training_hours(machine)
        return hours[EXACT] + hours["EVALUATE"]

    def node_hours(self, machine: Machine) -> float:
        """Return hours times nodes; a run stays on one node."""
        offline = self.offline_hours(machine)
        return machine.nodes * (sum(offline.values()) - offline["LOAD"]) + offline["LOAD"] + self.run(machine)

    def bytes(self) -> dict[str, float]:
        """Return bytes on disk and over the network, by what they are of."""
        job, sizes = self.job, self.part(f"offline {self.job.size}")["bytes"]
        net = self.part(f"training {job.net}")
        made = job.meta * sizes["shard, an original"] + job.train * sizes["shard, a training picture"]
        back = job.train * sizes["sent back, boxes"]
        back += job.meta * (sizes["sent back, boxes"] + sizes["sent back, copies"] + sizes["sent back, matte"])
        found = {
            "disk: pictures": job.pictures * sizes["file"],
            "disk: shard": made,
            "disk: cache of decoded pictures": job.pictures * sizes["cache"],
            "network: pictures to the workers of Ray": (job.pictures + job.train + job.meta) * sizes["file"],
            "network: boxes and copies to the driver": back,
            "network: averages, a step and rank": 2 * AVERAGES * 4 * net["parameters"],
        }
        if job.size == HEAD_SIZE:
            rows = job.pictures + job.meta * ROWS_EACH
            found["disk: features of a frozen body"] = rows * FEATURE_BYTES
        return found


def averaging(machine: Machine, net: Mapping[str, Any], row: str) -> float:
    """Return seconds that a step's averages over the GPUs take: all weights go there and back once an average."""
    if machine.gpus < 2:
        return 0.0
    times = 1 if row == PLAIN else AVERAGES
    return times * 2 * 4 * float(net.get("parameters", 0)) / GPU.link

"""A head on the features of a frozen body: pictures become vectors once, and only the last layer learns.

A folder keeps them for all runs of a machine. A file is used again only if body, pictures and everything that affects
rounding are equal to the last bit, so a run that reads features gives the same result as one that computes them.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from clp_aug.nets.devices import CPU, name_of
from clp_train.evaluating.outputs import BATCH, parts, parts_of_backgrounds
from clp_train.loading.cache import digest_of, is_there, load_or_fill, moved, path_of
from clp_train.loading.data import RunData
from clp_train.models.parts import Classifier, Output, device_of
from clp_train.pictures.types import BoxedPictures, Pictures
from clp_train.ranks.splitting import whole_passes

HEAD = "head."  # how the names of the last layer's parameters and buffers begin
Some = TypeVar("Some", bound=Pictures)
FLOAT32 = "float32"  # the default precision of a run


def silent(line: str) -> None:
    """Ignore a line."""


class Probe(Classifier):
    """The last layer of a classifier, shared with it: float (n, A) -> Output."""

    tail = (HEAD,)

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Output:
        return Output(features, self.head(features))


def probe_of(
    network: Classifier,
    data: RunData,
    background: bool = False,
    cache: Path | None = None,
    precision: str = FLOAT32,
    code: str = "",
    note: Callable[[str], None] = silent,
) -> tuple[Probe, RunData]:
    """Return the classifier's head as a network, and the run with features, float32 (N, A), in place of pictures.

    background: also compute those of the training pictures without their objects; cache: folder that keeps features for
    other runs with the same body, pictures and result of `made_in`; precision: name of the network's precision; code:
    of a user's own network; note: receives one line about what was read and computed. Features are computed in
    evaluation mode, and the classifier stays in it. They are on the device of their pictures. Raises what
    `load_or_fill` raises.
    """
    network.eval()
    body, conditions = ("", ()) if cache is None else (digest_of_body(network), made_in(network, precision, code))
    features = Features(network, cache, body, conditions)
    hidden = replace(data.train, images=features.of_backgrounds(data.train)) if background else None
    probed = replace(
        data,
        train=replace(data.train, images=features(data.train)),
        meta=replace(data.meta, images=features(data.meta)),
        evaluation={name: replace(part, images=features(part)) for name, part in data.evaluation.items()},
        background=hidden,
        views=None if data.views is None else replace(data.views, images=features(data.views)),
    )
    note(features.account())
    return Probe(network.head), probed


@dataclass(frozen=True)
class Features:
    """Computes the features of pictures, float32 (N, A), on the device of the pictures. cache: folder that keeps them,
    None for memory; body: digest of everything else that they depend on; made_in: result of the function of that name;
    read, computed: for each set, how many pictures' features were found in the folder, and how many were computed.
    """

    network: Classifier
    cache: Path | None
    body: str
    made_in: tuple[str, ...] = ()
    read: list[int] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)

    def __call__(self, pictures: Pictures) -> Tensor:
        """Return the features of pictures."""
        return self.load_or_compute(pictures, "", lambda some: parts(self.network, some))

    def of_backgrounds(self, pictures: BoxedPictures) -> Tensor:
        """Return the features of pictures without their objects."""
        boxes = "" if self.cache is None else digest_of(pictures.box)
        return self.load_or_compute(pictures, boxes, lambda some: parts_of_backgrounds(self.network, some))

    def load_or_compute(self, pictures: Some, boxes: str, compute: Callable[[Some], Iterator[Output]]) -> Tensor:
        """Return the features from the cache, or else compute them by `compute`. boxes: digest of the hidden boxes.

        After a kill, work continues with a whole batch of EVALUATE, because another batch size could round differently.
        """
        device = pictures.images.device
        if self.cache is None:
            self.computed.append(len(pictures))
            return torch.cat([out.features.to(device) for out in compute(pictures)])
        key = (self.body, digest_of(pictures.images), boxes, torch.get_num_threads(), *self.made_in)
        path, shape = path_of(self.cache, *key), (len(pictures), self.network.head.in_features)
        (self.read if is_there(path) else self.computed).append(len(pictures))
        with whole_passes(self.network):  # one rank computes them while the others wait for its file
            made = load_or_fill(
                path, shape, np.float32, lambda row: map(as_array, compute(rest_of(pictures, row))), BATCH
            )
        return moved(made, device)

    def account(self) -> str:
        """Return one line about what was read and what was computed."""
        read, computed = sum(self.read), sum(self.computed)
        if self.cache is None:
            return f"features of {computed:,} pictures computed for this run only; set cache to keep them"
        if not computed:
            return f"features of {read:,} pictures read from {self.cache}"
        return f"features of {computed:,} pictures computed and kept in {self.cache}" + (
            f", of {read:,} read from there" if read else ""
        )


def rest_of(pictures: Some, row: int) -> Some:
    """Return pictures from a row on, not copied."""
    return replace(pictures, **{name: values[row:] for name, values in vars(pictures).items()})


def made_in(network: Classifier, precision: str, code: str = "") -> tuple[str, ...]:
    """Return what else features depend on, to the last bit: device and its instructions, precision, code.

    code: of a user's own network, because its weights do not identify it.
    """
    device = device_of(network)
    chip = f"{sys.platform} {torch.backends.cpu.get_cpu_capability()}" if device.type == CPU else name_of(device)
    return (device.type, chip, precision, torch.__version__, version("causal-logit-perturbation"), repr(network), code)


def as_array(out: Output) -> np.ndarray:
    """Return the features of some pictures, float32 (n, A), from any device."""
    return out.features.float().cpu().numpy()


def digest_of_body(network: Classifier) -> str:
    """Return sha256 over all parameters and buffers that features depend on, without the last layer."""
    state = network.state_dict().items()
    parts = [(name, digest_of(value)) for name, value in state if not name.startswith(HEAD)]
    return hashlib.sha256(repr((type(network).__qualname__, parts)).encode()).hexdigest()

"""Pictures on their way to a step, and through a network, in pictures a second: a part of `accelerator.py`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerator_steps import PLAIN, PRECISIONS, Network, Stepper, in_turns, place_of, seconds_of, waiting_share
from load_speed import make_folder

from clp_aug.common.progress import unwatched
from clp_aug.contract.seeds import rng_for
from clp_train.evaluating.metrics import predict
from clp_train.loading.data import Reader
from clp_train.loading.decoding import default_workers
from clp_train.pictures.batching import step_batch
from clp_train.pictures.keys import generator_for
from clp_train.pictures.store import ahead
from clp_train.pictures.store import place as store_of
from clp_train.pictures.transforms import TRANSFORMS, load_transform
from clp_train.pictures.transforms.rand_augment import rand_augment
from clp_train.pictures.types import BoxedPictures, masks
from clp_train.running.place import Place


@dataclass(frozen=True)
class Scale:
    """How much is done. seconds: of the rounds of an entry; least: rounds; pictures: of streams; files: of LOAD."""

    networks: dict[str, Network]
    seconds: float
    least: int
    pictures: int
    files: int
    child: Network


def stream_of(network: Network, pictures: int) -> BoxedPictures:
    """Return random pictures as LOAD leaves them, with centred boxes."""
    side, generator = network.side, torch.Generator().manual_seed(0)
    images = torch.randint(256, (pictures, 3, side, side), dtype=torch.uint8, generator=generator)
    label = torch.randint(network.classes, (pictures,), generator=generator)
    box = torch.tensor([[side // 4, side // 4, 3 * side // 4, 3 * side // 4]]).repeat(pictures, 1)
    return BoxedPictures(images, label, label, torch.arange(pictures), box, torch.zeros(pictures, dtype=torch.uint8))


def fed(scale: Scale, network: Network, device: torch.device, store: str, left: float) -> dict[str, Any]:
    """Measure plain steps of an epoch: pictures from where they live, cropped and flipped, then the step."""
    place, stream = Place(device, "float32"), stream_of(network, scale.pictures)
    held = store_of(stream, store, device)
    rows = np.array_split(rng_for(0, 0, "benchmark").permutation(scale.pictures), scale.pictures // network.pictures)
    stepper, transform = Stepper(network, PLAIN, place), "pad-crop-flip" if network.side <= 32 else "wide-crop-flip"

    def epoch() -> None:
        for number, (chosen, part) in enumerate(zip(rows, ahead(held, rows), strict=True)):
            stepper.train = step_batch(part, chosen, number, 0, transform)
            stepper.step()

    with place.active():
        epoch()  # warms up
        times = [seconds_of(epoch, 1, device)]
        end = time.perf_counter() + min(scale.seconds, left / 3)
        while time.perf_counter() < end:
            times.append(seconds_of(epoch, 1, device))
        seconds = statistics.median(times)
        waits = waiting_share(epoch, seconds, device)
    return {"transform": transform, "pictures_per_second": scale.pictures / seconds, "device_waits": waits}


def transforms(scale: Scale, network: Network, device: torch.device, left: float) -> dict[str, Any]:
    """Measure each transform, and RandAugment, on batches of the network's size that lie on the device."""
    images = stream_of(network, network.pictures).images.to(device)
    box = stream_of(network, network.pictures).box.to(device)
    inside = masks(box, network.side, network.side)
    rows: dict[str, Callable[[], Any]] = {
        name: partial(load_transform(name), images, inside, generator_for(0, 0, "benchmark")) for name in TRANSFORMS
    }
    rows["rand-augment"] = partial(rand_augment, images, inside, rng_for(0, 0, "benchmark"))
    for work in rows.values():
        work()  # warms up
    found = in_turns(rows, device, min(scale.seconds / 2, left / 3), scale.least)
    return {name: {"pictures_per_second": network.pictures / statistics.median(t)} for name, t in found.items()}


def evaluation(scale: Scale, network: Network, device: torch.device, left: float) -> dict[str, Any]:
    """Measure predictions of a stream that lies on the device, and of one in memory, in each precision."""
    stream, found = stream_of(network, scale.pictures).images, {}
    for precision in PRECISIONS:
        place = place_of(device, precision)
        if place is None:
            continue
        learner = Stepper(network, PLAIN, place).network
        rows = {where: partial(predict, learner, images) for where, images in
                (("device", stream.to(device)), ("memory", stream))}  # fmt: skip
        with place.active():
            for work in rows.values():
                work()  # warms up
            times = in_turns(rows, device, min(scale.seconds / 6, left / 10), scale.least)
        found[precision] = {
            where: {"pictures_per_second": len(stream) / statistics.median(t)} for where, t in times.items()
        }
    return found


def load(scale: Scale, left: float) -> dict[str, Any]:
    """Measure LOAD of JPEGs of 500 x 375 at 224 pixels, on one core and on all that it takes."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as root:
        dataset, rows = make_folder(Path(root), scale.files), np.arange(scale.files)
        for workers in dict.fromkeys((1, default_workers(), 2 * default_workers())):
            part = rows if workers > 1 else rows[: max(2, scale.files // 4)]
            reader = Reader(dataset, 224, "crop", unwatched, None, workers)
            start = time.perf_counter()
            reader(part, "train")
            found[f"{workers} at work"] = {"pictures_per_second": len(part) / (time.perf_counter() - start)}
    return found

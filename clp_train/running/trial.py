"""Try a network on its first pictures: report what does not fit before the first step, without side effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from clp_aug.contract.errors import InputError, SettingError
from clp_aug.contract.schema import ORIGINAL
from clp_train.algorithm.method import Method
from clp_train.algorithm.stages import Stage
from clp_train.config import TrainConfig
from clp_train.loading.data import RunData
from clp_train.models import build_model, takes_any_size
from clp_train.models.parts import Classifier
from clp_train.models.untouched import untouched
from clp_train.models.wrapped import EndError, FoundClassifier
from clp_train.pictures.batching import steps_per_epoch
from clp_train.pictures.keys import generator_for
from clp_train.pictures.types import as_input, rows_of_kinds

SIDES = (32, 48, 64, 96, 128, 160, 192, 224, 256, 299, 384, 512)  # in pixels, that are tried instead
SHOWN = 200  # characters of torch's message
SPARE_BATCH_SIZE = 3  # no epoch of two or more pictures has a batch of one with it

Plan = Sequence[tuple[Stage, range]]
"""Stages with their epochs, as `stages.plan` gives them."""


def check_before_load(config: TrainConfig, classes: int, size: int) -> None:
    """Raise SettingError or InputError for a network that does not take pictures of a size, before any is read.

    The network is built for this check, with its start weights, unless it takes every size.
    """
    model = config.model
    if takes_any_size(model.model):
        return
    generator = generator_for(config.run.seed, 0, "network")
    network = build_model(model.model, classes, [0.5] * 3, [0.25] * 3, generator, model.model_head, size)
    images = torch.randint(256, (2, 3, size, size), generator=generator, dtype=torch.uint8)
    check_network(network, model.model, images, classes)


def check_fit(network: Classifier, config: TrainConfig, data: RunData, method: Method, stages: Plan) -> None:
    """Raise SettingError or InputError unless a network takes the pictures and the batches of a run."""
    few = data.train.images[:2]
    check_network(network, config.model.model, few, len(data.header.class_names))
    size = config.batches.batch_size
    larger = smallest_batch(config, method, data, stages, SPARE_BATCH_SIZE)
    take = {"batch_size": SPARE_BATCH_SIZE} if larger > 1 else {}
    check_batches(network, smallest_batch(config, method, data, stages, size), "batch_size", size, few, take)


def check_network(network: Classifier, model: str, images: Tensor, classes: int) -> None:
    """Raise SettingError for a network that does not take pictures, uint8 (n, 3, H, W).

    Raises InputError for a network whose logits are not finite. model: its name.
    """
    try:
        with untouched(network) as run:
            logits = run(as_input(images)).logits
        if logits.shape != (len(images), classes):
            raise ValueError(f"it returns logits of shape {tuple(logits.shape)}, expected {(len(images), classes)}")
        if isinstance(network, FoundClassifier):
            with untouched(network) as run:
                network.check_end(run, as_input(images))
    except EndError as error:
        raise SettingError("model", model, str(error)) from None
    except Exception as error:  # a network may raise anything
        raise misfit(network, model, images, error) from None
    if not logits.isfinite().all():
        value = "nan" if logits.isnan().any() else "infinite"
        raise InputError(
            f"model {model}: its logits are {value} before the first step; its start weights are damaged, give others"
        )


def misfit(network: Classifier, model: str, images: Tensor, error: Exception) -> SettingError:
    """Return the error for a network that does not take pictures of a size: it names a size that works, or a reason."""
    height, width = images.shape[2:]
    sides = sorted(SIDES, key=lambda side: (side < height, abs(side - height)))
    other = None if takes(network, height) else next((side for side in sides if takes(network, side)), None)
    refusal = f"it does not take pictures of {width} x {height}"
    if other is None:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:SHOWN]
        return SettingError("model", model, f"{refusal} ({said}); choose another model")
    remedy = f"make the shard with clp-augment --size {other}, or choose another model"
    return SettingError("model", model, f"{refusal}, expected {other} x {other}: {remedy}")


def takes(network: Classifier, side: int) -> bool:
    """Return whether a network takes square pictures of `side` pixels, by shapes only, without computing values."""
    modes = {module: module.training for module in network.modules()}
    values = [*network.named_parameters(), *network.named_buffers()]
    state = {name: torch.empty_like(value, device="meta") for name, value in values}
    network.eval()
    try:
        functional_call(network, state, (torch.empty(2, 3, side, side, device="meta"),))
    except Exception:  # a network may raise anything
        return False
    finally:
        for module, mode in modes.items():
            module.training = mode
    return True


def check_batches(
    network: Classifier, smallest: int, name: str, value: int, images: Tensor, take: Mapping[str, int]
) -> None:
    """Raise SettingError for batches of one picture that a network cannot learn from.

    smallest: pictures in the smallest batch; name, value: the setting that causes it; take: settings that would fix it;
    images: uint8 (n, 3, H, W).
    """
    if smallest > 1:
        return
    try:
        with untouched(network, training=True) as run:
            run(as_input(images[:1]))
    except ValueError:  # torch's batch norm raises it
        size = f"{images.shape[3]} x {images.shape[2]}"
        reason = f"it leaves batches of one picture, which the batch norm of this network cannot take at {size}"
        raise SettingError(name, value, reason, take) from None


def smallest_batch(config: TrainConfig, method: Method, data: RunData, stages: Plan, batch_size: int) -> int:
    """Return the pictures in the smallest batch that passes the whole network in training mode, for a batch size."""
    sizes = [batch_size]
    for stage, epochs in stages:
        if stage.trainable != "all":
            continue
        sizes += [smallest_part(method.pictures(epoch) or stream_length(stage, data), batch_size) for epoch in epochs]
        if method.learned and stage.stream != "meta" and config.meta_step.meta_batch_norm == "batch":
            meta = len(rows_of_kinds(data.meta.kind, method.meta_kinds))
            sizes.append(min(config.meta_batches.meta_batch_size or batch_size, meta))
        if method.sees_background:  # each of two networks learns one half
            sizes.append(smallest_part(len(data.train) // 2, batch_size))
    return min(sizes)


def smallest_part(pictures: int, batch_size: int) -> int:
    """Return the pictures in the smallest batch of an epoch, which is divided as evenly as possible."""
    return pictures // max(1, steps_per_epoch(pictures, batch_size))


def stream_length(stage: Stage, data: RunData) -> int:
    """Return how many pictures an epoch of a stage has."""
    originals = int((data.meta.kind == ORIGINAL).sum())
    return {"train": len(data.train), "meta": originals, "both": len(data.train) + originals}[stage.stream]

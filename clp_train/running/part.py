"""What a stage works on: the learner, the pictures or their features, and where they live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from clp_aug.contract.schema import ORIGINAL
from clp_train.algorithm.stages import Stage
from clp_train.loading.data import RunData
from clp_train.loading.features import probe_of, silent
from clp_train.models import plugin_of
from clp_train.models.parts import Classifier
from clp_train.pictures.store import Store, choose_store, place
from clp_train.pictures.types import BoxedPictures, meta_of_kinds
from clp_train.running.assembly import Assembly
from clp_train.running.meta_batches import MetaStream


@dataclass(frozen=True)
class Part:
    """One stage as it runs. learner: the network, or only its head; data: the pictures, or their features; stream:
    those that an epoch goes through, where they live; meta: the meta batches, None without a meta step.
    """

    stage: Stage
    learner: Classifier
    data: RunData
    stream: Store
    meta: MetaStream | None


def originals_of(data: RunData) -> BoxedPictures:
    """Return the meta originals."""
    return meta_of_kinds(data.meta, (ORIGINAL,))


def stream_of(stage: Stage, data: RunData) -> BoxedPictures:
    """Return what an epoch of a stage goes through."""
    if stage.stream == "train":
        return data.train
    originals = originals_of(data)
    return originals if stage.stream == "meta" else data.train.followed_by(originals)


def part_of(stage: Stage, assembly: Assembly, note: Callable[[str], None] = silent) -> Part:
    """Return what a stage works on; for the head only this computes all features, or finds them in the cache.

    note: told in one line which, of a body that never learns.
    """
    config, method, data = assembly.config, assembly.method, assembly.data
    frozen = config.run.trainable == "head"
    cache, note = (config.data.cache, note) if frozen else (None, silent)  # a body that learns is no other run's
    more = method.additions(data.meta)
    data = data if more is None else replace(data, train=data.train.followed_by(more))
    learner = assembly.network
    if stage.trainable == "head":
        plugin, precision = plugin_of(config.model.model), assembly.place.precision
        code = "" if plugin is None else plugin.origin
        learner, data = probe_of(assembly.network, data, method.sees_background, cache, precision, code, note)
    with_meta_step = bool(method.learned) and stage.stream != "meta"
    meta = meta_of_kinds(data.meta, method.meta_kinds) if with_meta_step else None
    streams = [stream_of(stage, data)] if meta is None else [stream_of(stage, data), meta]
    stream, *rest = stores_of(streams, assembly)
    of_meta = [MetaStream(store, config.meta_batches, config.batches, config.run.seed) for store in rest]
    return Part(stage, learner, data, stream, of_meta[0] if of_meta else None)


def stores_of(streams: Sequence[BoxedPictures], assembly: Assembly) -> list[Store]:
    """Return where each stream of a stage lives. Raises SettingError where it cannot live where it is asked to."""
    device, is_mapped = assembly.place.device, assembly.config.data.cache is not None
    store = choose_store(assembly.config.store.store, streams, device, is_mapped)
    return [place(stream, store, device, is_mapped) for stream in streams]

"""The part of a stage: the learner, the pictures or their features, and where they are stored."""

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
    """One stage as it runs. learner: the network, or only its head; data: the pictures, or their features; stream: the
    pictures of an epoch, where they are stored; meta: the meta batches, None without a meta step.
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
    """Return the pictures of an epoch of a stage."""
    if stage.stream == "train":
        return data.train
    originals = originals_of(data)
    return originals if stage.stream == "meta" else data.train.followed_by(originals)


def part_of(stage: Stage, assembly: Assembly, note: Callable[[str], None] = silent) -> Part:
    """Return the part of a stage; if only the head learns, this computes all features, or reads them from the cache.

    note: gets one line about the features of a frozen body.
    """
    config, method, data = assembly.config, assembly.method, assembly.data
    frozen = config.run.trainable == "head"
    cache, note = (config.data.cache, note) if frozen else (None, silent)  # only a frozen body is shared by runs
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
    """Return the store of each stream of a stage. Raises SettingError if the store setting is not possible."""
    device, is_mapped = assembly.place.device, assembly.config.data.cache is not None
    store = choose_store(assembly.config.store.store, streams, device, is_mapped)
    return [place(stream, store, device, is_mapped) for stream in streams]

"""Make the parts of a run from a config: method, network before its first step, stages, and rule of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.errors import SettingError, pick
from clp_aug.contract.schema import FACTUAL, ORIGINAL
from clp_aug.protocol.label_noise import wrong_share
from clp_aug.protocol.specs import parse_noise
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.stages import Stage, plan
from clp_train.algorithm.step import StepRule
from clp_train.algorithm.table import TrainTable
from clp_train.backgrounds.networks import Fitting, learn_backgrounds
from clp_train.config import TrainConfig
from clp_train.evaluating.selection import AUTO, LAST
from clp_train.loading.data import RunData, channel_statistics
from clp_train.loading.views import check_views_given
from clp_train.methods import build_method, entry_of
from clp_train.models import build_model
from clp_train.models.heads import make_head, replace_head
from clp_train.models.parts import Classifier, Output, Peers, frozen_batch_norm, last_block
from clp_train.pictures.keys import generator_for
from clp_train.pictures.samplers import SAMPLERS
from clp_train.pictures.store import choose_store
from clp_train.ranks import SYNCHRONISED
from clp_train.ranks.agreement import require_enough
from clp_train.ranks.team import ALONE, Ranks
from clp_train.running.place import CPU_PLACE, Place, find_place
from clp_train.running.trial import check_fit, smallest_batch

Start = Callable[[], Classifier]


@dataclass(frozen=True)
class Assembly:
    """All inputs of the loop. start: makes the network as it is before its first step; stages: each with its epochs;
    place: of the networks; ranks: the processes that train it together; backgrounds: computes features and logits of
    the training pictures without their objects, by networks that learn them.

    `dataclasses.replace` can replace the config's method, network, step rule or backgrounds by your own.
    """

    config: TrainConfig
    data: RunData
    method: Method
    network: Classifier
    start: Start
    stages: list[tuple[Stage, range]]
    rule: StepRule
    backgrounds: Callable[[Watch], Output]
    place: Place = CPU_PLACE
    ranks: Ranks = ALONE

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.data.header.class_names)


def assemble(config: TrainConfig, data: RunData, ranks: Ranks = ALONE) -> Assembly:
    """Return the parts of a run, made from its settings and data, before the first step.

    ranks: the processes of the run. Raises SettingError for a run that the method, the network or the data do not
    allow, InputError for damaged start weights.
    """
    check_meta_batch(config, len(data.meta))
    method = build_method(config.options, context_of(config, data))
    return assemble_with(method, config, data, ranks)


def check_meta_batch(config: TrainConfig, pictures: int) -> None:
    """Raise SettingError for a meta batch that is larger than a meta set of so many pictures."""
    size = config.meta_batches.meta_batch_size
    if size is not None and size > pictures:
        raise SettingError("meta_batch_size", size, f"the meta set holds {pictures} pictures; expected at most as many")


def assemble_with(method: Method, config: TrainConfig, data: RunData, ranks: Ranks = ALONE) -> Assembly:
    """Return the same with a given method."""
    place = find_place(config.run, ranks)
    choose_store(config.store.store, (), place.device, config.data.cache is not None)
    stages = plan(method.stages, config.run.epochs, config.run.trainable)
    check_stages(stages, method, config)
    check_length(stages, config, data)
    check_selection(config, data)
    check_ranks(ranks, config, method, data, stages)

    def start() -> Classifier:
        return place.take(start_network(config, data, method))

    fitting = Fitting(
        start, config.run.seed, method.background_epochs or config.run.epochs, config.sgd, config.batches, ranks
    )

    def backgrounds(watch: Watch = unwatched) -> Output:
        return learn_backgrounds(fitting, data.train, watch)

    network = start()
    check_fit(network, config, data, method, stages)
    return Assembly(config, data, method, network, start, stages, step_rule(config, ranks), backgrounds, place, ranks)


def context_of(config: TrainConfig, data: RunData) -> Context:
    """Return what a method may know about its run before it starts."""
    return Context(
        config.method, table_of(data), generator_for(config.run.seed, 0, "method"), config.run.seed, config.run.epochs,
        config.batches.batch_size, config.run.trainable, config.sgd, config.meta_step, config.saliency,
    )  # fmt: skip


def table_of(data: RunData) -> TrainTable:
    """Return what a method may know about a run's pictures before it starts."""
    names, noise = data.header.class_names, data.header.settings.get("noise")
    wrong = wrong_share(parse_noise(noise), len(names)) if noise else 0.0
    meta_label = data.meta.label[data.meta.kind == ORIGINAL]
    return TrainTable(data.train.label, data.train.group, len(names), len(data.group_names), names, meta_label, wrong)


def step_rule(config: TrainConfig, ranks: Ranks = ALONE) -> StepRule:
    """Return how the steps of a run are taken."""
    virtual = last_block if config.meta_step.meta_scope == "last-block" else None
    return StepRule(config.meta_step, config.saliency, virtual, seed=config.run.seed, ranks=ranks)


def start_network(config: TrainConfig, data: RunData, method: Method) -> Classifier:
    """Return the classifier before its first step, with the method's last layer; two classifiers for peers."""
    statistics, classes = channel_statistics(data.train.images), len(data.header.class_names)
    model, size = config.model, data.train.images.shape[-1]

    def start(number: int) -> Classifier:
        generator = generator_for(config.run.seed, number, "network")
        network = build_model(model.model, classes, *statistics, generator, model.model_head, size)
        if method.head != "linear":
            replace_head(network, make_head(method.head, network.head.in_features, classes, generator))
        return network

    network = start(0) if method.networks == 1 else Peers(*map(start, range(method.networks)))
    network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU than contiguous pictures
    return frozen_batch_norm(network) if config.model.freeze_batch_norm else network


def check_length(stages: list[tuple[Stage, range]], config: TrainConfig, data: RunData) -> None:
    """Raise SettingError for a warm-up longer than a stage, and for early stopping without a val score."""
    warmup, patience = config.sgd.warmup_epochs, config.run.patience
    shortest = min(len(epochs) for _, epochs in stages)
    if warmup >= shortest:
        of_stage = "the run" if len(stages) == 1 else "its shortest stage"
        raise SettingError("warmup_epochs", warmup, f"{of_stage} has {shortest} epochs; expected fewer")
    if patience is not None and "val" not in data.evaluation:
        raise SettingError("patience", patience, "the data have no val split to decide by; leave patience out")
    if patience is not None and len(stages) > 1:
        reason = f"{config.method} has {len(stages)} stages of fixed lengths; leave patience out"
        raise SettingError("patience", patience, reason)


def check_ranks(
    ranks: Ranks, config: TrainConfig, method: Method, data: RunData, stages: list[tuple[Stage, range]]
) -> None:
    """Raise SettingError or UsageError for a run that ranks cannot share, or for settings of ranks in a single one."""
    chosen = config.run.rank_batch_norm
    if ranks.size == 1:
        if chosen != SYNCHRONISED:
            reason = "has no effect in a run of one process; start several processes with torchrun"
            raise SettingError("rank_batch_norm", chosen, reason, {"rank_batch_norm": SYNCHRONISED})
        return
    if not entry_of(config.method).exact_under_ranks:
        raise SettingError(
            "method", config.method, f"it does not say that {ranks.size} ranks make the same run as one; expected its"
            " attribute exact_under_ranks = True; train in one process"
        )  # fmt: skip
    size = config.batches.batch_size
    require_enough(ranks, "batch_size", size, "a batch")
    require_enough(ranks, "batch_size", smallest_batch(config, method, data, stages, size), "the smallest batch")


def check_selection(config: TrainConfig, data: RunData) -> None:
    """Raise SettingError if epochs are to be compared by a measure that the data lack."""
    select = config.run.select
    if select not in (AUTO, LAST) and "val" not in data.evaluation:
        raise SettingError("select", select, "the data have no val split to compare epochs by", {"select": LAST})
    if data.views is None:
        check_views_given(select, None, data.header)


def check_stages(stages: list[tuple[Stage, range]], method: Method, config: TrainConfig) -> None:
    """Raise SettingError for factuals in a meta step that must have none, or settings that need a trainable body."""
    for stage, _ in stages:
        pick(SAMPLERS, stage.sampler, "sampler")
    online = config.meta_batches.online
    if online != "none" and method.learned and FACTUAL not in method.meta_kinds:
        reason = f"{config.method} learns only from meta originals"
        raise SettingError("online", online, reason, {"online": "none"})
    if not any(stage.trainable == "head" and stage.stream != "meta" for stage, _ in stages):
        return
    if method.saliency_weight > 0:
        reason = "eq. (6) acts on the body; train the whole network, or leave the term out"
        raise SettingError("trainable", "head", reason, {"saliency_lambda": 0})
    if online != "none":
        raise SettingError("online", online, "features of a frozen body are computed once", {"online": "none"})

"""TrainConfig: the settings of all rooms, made from flat names; a setting without effect is refused."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from clp_aug.common.plugins import records, short
from clp_aug.common.settings import about, fields_of, from_text, type_of, typed
from clp_aug.contract.errors import SettingError, UsageError, suggestion
from clp_aug.datasets import plugin_of as dataset_plugin
from clp_train import exports
from clp_train.algorithm.settings import MetaStepSettings, SaliencySettings, SgdSettings
from clp_train.loading.settings import DataSettings
from clp_train.methods import METHODS, entry_of, make_options, options_of
from clp_train.methods import plugin_of as method_plugin
from clp_train.methods.parts.omega import OmegaRate
from clp_train.models import plugin_of as model_plugin
from clp_train.models.settings import ModelSettings
from clp_train.pictures.settings import BatchSettings, StoreSettings
from clp_train.pictures.transforms import plugin_of as transform_plugin
from clp_train.run_settings import MetaBatchSettings, RunSettings, Start

LIST = "clp-train --list-settings lists all"
SHOWN = 6  # methods that a message names


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one run, each in the object of the room that uses it.

    options: the method's own, of `options_of(method)`; given: its own settings that somebody gave, by name; spare:
    settings of another method that a preset has and this one does not use: they are recorded, nothing else; suffix:
    what the default name of its folder says of its settings.
    """

    data: DataSettings
    method: str = "clp"
    run: RunSettings = RunSettings()
    model: ModelSettings = ModelSettings()
    batches: BatchSettings = BatchSettings()
    store: StoreSettings = StoreSettings()
    sgd: SgdSettings = SgdSettings()
    meta_step: MetaStepSettings = MetaStepSettings()
    meta_batches: MetaBatchSettings = MetaBatchSettings()
    saliency: SaliencySettings = SaliencySettings()
    options: Any = None
    preset: str | None = None
    given: Mapping[str, object] = field(default_factory=dict)
    spare: Mapping[str, object] = field(default_factory=dict)
    suffix: str = ""

    @property
    def folder(self) -> Path:
        """The run's folder."""
        name = f"{self.data.meta.stem}-{short(self.method)}-seed{self.run.seed}{self.suffix}"
        return self.run.out or Path("runs") / name

    def flat(self) -> dict[str, Any]:
        """Return every setting of the run, the method's own among them, by its flat name."""
        rooms = [vars(getattr(self, room)) for room in ROOMS]
        start = {"method": self.method, "preset": self.preset}
        return {name: value for part in (start, *rooms, vars(self.options)) for name, value in part.items()}

    def as_json(self) -> dict[str, Any]:
        """Return the settings by flat name as plain JSON, in the order of RECORD; paths become text.

        Settings of RECORD that the method does not have are those of a preset, else the defaults of `DEFAULTS_OF`.
        Those of LATER stand behind them where they are not the default, then the plug-ins of a run that has some.
        """
        others = {name: field.default for name, field in fields_of(options_of(DEFAULTS_OF)).items()}
        values = others | self.flat() | dict(self.spare)
        options = {name: value for name, value in self.given.items() if name not in RECORD}
        record = {name: plain(values[name]) for name in RECORD} | {"options": options}
        record["export"] = exports.as_recorded(self.run.export)
        usual = {name: fields_of(owner_of(name))[name].default for name in LATER}
        record |= {name: plain(values[name]) for name in LATER if values[name] != usual[name]}
        plugins = self.plugins()
        return record | ({"plugins": plugins} if plugins else {})

    def plugins(self) -> dict[str, dict[str, str]]:
        """Return of which code the plug-ins of the run are, by name, as records have it."""
        return records(
            [
                method_plugin(self.method),
                model_plugin(self.model.model),
                transform_plugin(self.batches.transform),
                None if self.data.dataset is None else dataset_plugin(self.data.dataset),
            ]
        )


def plain(value: Any) -> Any:
    """Return a value as JSON has it: a path as text, with forward slashes on every system."""
    return value.as_posix() if isinstance(value, PurePath) else value


ROOMS: dict[str, type] = {
    "data": DataSettings,
    "run": RunSettings,
    "model": ModelSettings,
    "batches": BatchSettings,
    "store": StoreSettings,
    "sgd": SgdSettings,
    "meta_step": MetaStepSettings,
    "meta_batches": MetaBatchSettings,
    "saliency": SaliencySettings,
}
"""Field of TrainConfig -> the settings of a room."""

RECORD = (
    "meta", "method", "root", "model", "epochs", "batch_size", "meta_batch_size", "lr", "head_lr", "schedule",
    "first_drop", "second_drop", "momentum", "weight_decay", "omega_lr", "omega_form", "omega_start", "meta_delta",
    "meta_step", "meta_scope", "meta_batch_norm", "meta_interval", "hypergradient", "virtual_momentum",
    "saliency_lambda", "saliency_target", "saliency_scale", "saliency_relative", "saliency_on", "saliency_interval",
    "saliency_subset", "freeze_batch_norm", "trainable", "online", "online_epsilon", "watch_test", "transform",
    "checkpoint_interval", "seed", "out", "cache", "limit", "export", "preset", "device", "precision", "store",
    "workers",
)  # fmt: skip
"""The flat names of result.json and of checkpoints, in their order: a public contract. What a method has besides them
stands under "options"."""
LATER = ("dataset", "model_head", "optimiser", "warmup_epochs", "patience", "select", "audit", "rank_batch_norm")
"""Settings that are recorded only where they are not the default, so that results of before stay as they are."""
DEFAULTS_OF = "clp"  # whose Omega settings a result of another method records


def make_config(
    given: Mapping[str, object],
    texts: Sequence[str] = (),
    preset: Mapping[str, object] | None = None,
    of_method: Mapping[str, object] | None = None,
) -> TrainConfig:
    """Return the settings of a run from flat names; later sources count before earlier ones, the defaults last.

    preset: settings for any method, of which this one takes what it uses; of_method: a preset's for this method; given:
    as from Python or the command line; texts: "key=value". Raises UsageError for an unknown name, SettingError for a
    value that is out of its range and for a setting of `given` or `texts` that has no effect, and UsageError without a
    shard.
    """
    pairs = with_forms(pairs_of(texts))
    given, preset, of_method = (with_forms(part or {}) for part in (given, preset, of_method))
    if "preset" in pairs:
        raise UsageError(f"preset={pairs['preset']}: its settings would not be read; give --preset")
    shared, overrides = dict(preset or {}), {**(of_method or {}), **given}
    method = str(named_method(shared, overrides, texts=texts))
    owners = settings_of(method)
    for name in (*overrides, *pairs):
        require_used(method, owners, name, pairs.get(name, overrides.get(name)))
    spare = {name: spare_value(name, value, owners) for name, value in shared.items() if name not in owners}
    values = {name: typed(owners[name], name, value) for name, value in (shared | overrides).items() if name in owners}
    values |= {name: from_text(owners[name], name, text) for name, text in pairs.items()}
    if "meta" not in values:
        raise UsageError("no shard: give --meta FILE, one that clp-augment wrote")
    config = compose_config(method, values, owners, spare)
    for name in (*given, *pairs):
        require_effect(name, config.flat(), owners)
    require_own_rate({**given, **pairs}, {**shared, **(of_method or {})})
    return config


def with_forms(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by name, with the flag that "export" once was as the forms that it stands for."""
    flags = {"true": True, "false": False}
    return {k: exports.from_recorded(flags.get(str(v), v)) if k == "export" else v for k, v in values.items()}


def compose_config(
    method: str, values: Mapping[str, Any], owners: Mapping[str, type], spare: Mapping[str, object]
) -> TrainConfig:
    """Return the settings of a run, each in the object of its room. owners: name -> the dataclass it belongs to."""

    def part(owner: type) -> dict[str, Any]:
        return {name: value for name, value in values.items() if owners[name] is owner}

    rooms = {room: owner(**part(owner)) for room, owner in ROOMS.items()}
    options = part(options_of(method))
    return TrainConfig(
        **rooms,
        method=method,
        options=make_options(method, options),
        preset=values.get("preset"),
        given=options,
        spare=spare,
    )


def settings_of(method: str) -> dict[str, type]:
    """Return the settings that a method takes: flat name -> the dataclass that declares it. Raises UsageError."""
    owners = (Start, *ROOMS.values(), options_of(method))
    check_own_names(method)
    return {
        name: owner
        for owner in owners
        for name, field in fields_of(owner).items()
        if about(field).part in ("", *entry_of(method).parts)
    }


def check_own_names(method: str) -> None:
    """Raise UsageError for a plug-in whose settings have names of settings of every run."""
    plugin = method_plugin(method)
    if plugin is None:
        return
    taken = set().union(*map(fields_of, (Start, *ROOMS.values())))
    for name in fields_of(options_of(method)):
        if name in taken:
            raise plugin.refuse(f"its setting {name} has the name of one of every run; give it another")


def methods_with(name: str) -> list[str]:
    """Return the methods that take a setting. This loads all of them."""
    return [method for method in METHODS if name in settings_of(method)]


def require_used(method: str, owners: Mapping[str, type], name: str, value: object) -> None:
    """Raise SettingError for a setting that other methods use and this one does not, UsageError for an unknown one."""
    if name in owners:
        return
    require_known(name, owners)
    others = methods_with(name)
    names = others if len(others) <= SHOWN else [*others[: SHOWN - 1], f"{len(others) - SHOWN + 1} more"]
    raise SettingError(name, value, f"method {method} does not use it; it is a setting of {join_names(names)}")


def join_names(names: Sequence[str]) -> str:
    """Return names as text, in their order: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def require_known(name: str, owners: Mapping[str, type]) -> None:
    """Raise UsageError for a setting that no method has, with its nearest match."""
    of_a_room = any(name in fields_of(owner) for owner in ROOMS.values())
    if name not in owners and not of_a_room and not methods_with(name):
        setting_names = dict.fromkeys([*owners, *itertools.chain(*map(settings_of, METHODS))])
        raise UsageError(f"unknown setting {name!r}: {suggestion(setting_names, name)}{LIST}")


def spare_value(name: str, value: object, owners: Mapping[str, type]) -> object:
    """Return the value of a preset's setting that the method does not use, as its type where results record it.

    Raises UsageError for a setting that no method has.
    """
    require_known(name, owners)
    rooms = (*ROOMS.values(), options_of(DEFAULTS_OF))
    return next((typed(owner, name, value) for owner in rooms if name in fields_of(owner)), value)


def require_effect(name: str, flat: Mapping[str, Any], owners: Mapping[str, type]) -> None:
    """Raise SettingError for a setting that has no effect given the others."""
    condition = about(fields_of(owners[name])[name]).works_with
    if condition is None:
        return
    other, values = condition
    if other in flat and flat[other] not in values:
        take = {other: values[0]}
        raise SettingError(name, plain(flat[name]), f"has no effect where {other} is {flat[other]}", take)


def require_own_rate(given: Mapping[str, object], preset: Mapping[str, object]) -> None:
    """Raise SettingError for AdamW without a learning rate from the same source: the one for SGD would diverge."""
    asking = given if "optimiser" in given else {**preset, **given}
    if asking.get("optimiser") == "adamw" and "lr" not in asking:
        reason = "expected a learning rate beside it, as that of SGD is far too high"
        raise SettingError("optimiser", "adamw", reason, {"optimiser": "adamw", "lr": 1e-3})


def named_method(*layers: Mapping[str, object], texts: Sequence[str] = ()) -> str:
    """Return the method that settings name, later layers first; texts: "key=value", before all of them."""
    methods = [layer["method"] for layer in (*layers, pairs_of(texts)) if "method" in layer]
    return str(methods[-1]) if methods else str(fields_of(Start)["method"].default)


def pairs_of(texts: Iterable[str]) -> dict[str, str]:
    """Return "key=value" texts as key -> value; if a key is given twice, its last value counts."""
    pairs = (text.partition("=") for text in texts)
    return {key: value for key, _, value in pairs}


def owner_of(name: str) -> type:
    """Return the dataclass that declares a setting of every run, or one that has an option."""
    return next(owner for owner in (Start, *ROOMS.values(), OmegaRate) if name in fields_of(owner))


@functools.cache
def option_names() -> dict[str, dataclasses.Field[Any]]:
    """Return the settings that have an option on the command line, in the order of RECORD."""
    owners = (Start, *ROOMS.values(), OmegaRate)
    fields = {name: field for owner in owners for name, field in fields_of(owner).items() if about(field).option}
    return {name: fields[name] for name in (*RECORD, *LATER) if name in fields}


def option(name: str) -> str:
    """Return a setting as the command line names it: --batch-size, or --set trainable."""
    return "--" + name.replace("_", "-") if name in option_names() else f"--set {name}"


def spell_option(name: str, value: object) -> str:
    """Return a setting and its value as they are given on the command line."""
    if value is True and name in option_names() and type_of(owner_of(name), name)[0] is bool:
        return option(name)
    return option(name) + (" " if name in option_names() else "=") + as_text(value)


def as_text(value: object) -> str:
    """Return a value as `--set` takes it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


@contextmanager
def spelt_as_options() -> Iterator[None]:
    """Within it, messages of the library about a setting name the option that gives the setting."""
    try:
        yield
    except SettingError as error:
        raise UsageError(error.spelt(spell_option)) from None

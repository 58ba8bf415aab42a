"""The settings of a command line: on top of the preset that it names, or of the one that is chosen for its shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clp_aug.contract.errors import SettingError
from clp_train.config import RECORD, TrainConfig, make_config, named_method, pairs_of, spell_option
from clp_train.presets import names, read_method, read_preset
from clp_train.presets.choosing import NONE, Choice, choose, facts_of
from clp_train.run_name import suffix_of


def config_of(values: Mapping[str, Any], texts: Sequence[str]) -> TrainConfig:
    """Return the settings of a command line, on top of the preset that it names. Raises what `make_config` raises.

    values: by setting; texts: "key=value". Without a preset, as with "none", they stand on the defaults.
    """
    values = {name: value for name, value in values.items() if (name, value) != ("preset", NONE)}
    name = values.get("preset")
    preset = {} if name is None else read_preset(name)
    of_method = {} if name is None else read_method(name, named_method(preset, values, texts=texts))
    config = make_config(values, texts, preset, of_method)
    start = {"meta": config.data.meta, "method": config.method}
    usual = make_config(start, (), preset, of_method) if name in names() else make_config(start)
    return replace(config, suffix=suffix_of(config, usual))


def left_out(config: TrainConfig) -> Iterator[str]:
    """Yield a remark for each setting of a preset that is of another method alone, so that nothing records it."""
    for name in config.spare:
        if name not in RECORD:
            yield f"preset {config.preset}: {name} is not a setting of {config.method}; it was left out"


def choice_for(values: Mapping[str, Any], texts: Sequence[str]) -> Choice | None:
    """Return the preset for a command line that names none; None where one is named, or no shard can be read.

    values, texts: as in `config_of`. Raises UsageError for a device, or for weights, that are not there.
    """
    given = {**values, **pairs_of(texts)}
    if "preset" in given or "meta" not in given:
        return None
    facts = facts_of(Path(str(given["meta"])))
    return None if facts is None else choose(facts, given, lambda: is_cpu(given))


def is_cpu(given: Mapping[str, object]) -> bool:
    """Tell whether a run's device is the CPU. Raises SettingError for one that is not there."""
    from clp_aug.nets.devices import AUTO, CPU, find_device

    return find_device(str(given.get("device", AUTO))).type == CPU


def with_choice(values: Mapping[str, Any], texts: Sequence[str]) -> tuple[TrainConfig, Choice | None]:
    """Return the settings of a command line, and the preset that was chosen for it, None where none was.

    values, texts: as in `config_of`. What is given and does not go with the chosen preset counts before it: the
    defaults are taken in its place. Raises what `config_of` and `choice_for` raise.
    """
    choice = choice_for(values, texts)
    if choice is None or choice.preset is None:
        return config_of(values, texts), choice
    try:
        return config_of({**values, "preset": choice.preset}, texts), choice
    except SettingError as error:
        return config_of(values, texts), stepped_back(choice, error, values, texts)


def stepped_back(choice: Choice | None, error: SettingError, values: Mapping[str, Any], texts: Sequence[str]) -> Choice:
    """Return the choice of the defaults in place of a preset one of whose settings is refused.

    values, texts: as in `config_of`. Raises the error where no chosen preset is to blame.
    """
    if choice is None or choice.preset is None:
        raise error
    given = {**values, **pairs_of(texts)}
    own = read_preset(choice.preset).keys() | read_method(choice.preset, named_method(values, texts=texts)).keys()
    if not {error.name, *error.take} & (own - given.keys()):
        raise error
    return Choice(None, f"{choice.preset} does not fit what was asked ({error.spelt(spell_option)})")

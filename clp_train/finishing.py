"""The end of a run: weights, what is made of them, and the result; what a finished run lacks; how it goes on."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clp_aug.common.plugins import difference
from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.shards import ShardReader
from clp_train import leaving, run_folder
from clp_train.algorithm.method import Method
from clp_train.config import TrainConfig
from clp_train.evaluating.attention import look_at
from clp_train.evaluating.predictions import judge_of, predict_labelled
from clp_train.exports import NONE, from_recorded
from clp_train.loading.data import RunData, load
from clp_train.models.parts import Classifier, Peers
from clp_train.predicting.card import CARD
from clp_train.predicting.description import DESCRIPTION
from clp_train.report.page import read_result
from clp_train.result import result_of
from clp_train.running import more_epochs
from clp_train.running.assembly import Assembly, assemble
from clp_train.running.checkpoint import read_weights
from clp_train.running.clock import Spent
from clp_train.running.loop import Trained


class Finished(NamedTuple):
    """A finished run. made: what was written, in words; lacks: what could not be made that the same command with
    --resume can make later, and why, each in words; lost: what only another run can make.
    """

    result: dict[str, Any]
    made: str
    lacks: Sequence[str] = ()
    lost: Sequence[str] = ()


def conclude(config: TrainConfig, data: RunData, outcome: Trained, device: str) -> Finished:
    """Write what a run leaves, the result last. device: what it ran on, in words.

    Raises InputError when the disk refuses; a page it may lack.
    """
    folder = config.folder
    attention, looks = look_at(outcome.network, data.meta)
    result = result_of(config.as_json(), data, outcome, attention, device)
    stored = json.loads(json.dumps(result))
    run_folder.save_networks(folder, outcome)
    leaving.write_texts(folder, stored, data, outcome.network)
    leaving.write_tables(folder, outcome.predictions, data)
    programs = leaving.programs(config.run.export)
    lacks = list(leaving.write_programs(folder, programs, outcome.network, outcome.method, stored))
    lacks += leaving.write_page_of(folder, stored, looks)
    run_folder.save_result(folder, result)
    page = next(name for name in (run_folder.PAGE, run_folder.RESULT) if (folder / name).exists())
    return Finished(result, f"wrote {folder / page} and the weights beside it", lacks)


def complete(config: TrainConfig, watch: Watch = unwatched) -> Finished:
    """Make what a finished run lacks: its page, its tables, and the programs that are asked for.

    Raises UsageError where the folder holds the result of another run, InputError for one that cannot be read or when
    the disk refuses.
    """
    folder, result = config.folder, read_result(config.folder)
    shard = ShardReader(config.data.meta)
    check_same_run(config, result, shard)
    run_folder.drop_state(folder)
    weights = [run_folder.LAST, *([run_folder.SELECTED] if result["selected"] else [])]
    lost = [f"{name} is gone; only another run makes it" for name in weights if not (folder / name).exists()]
    missing = missing_products(config, result)
    if not missing:
        return Finished(result, f"{folder} is complete: nothing was left to do", (), lost)
    if not (folder / weights[-1]).exists():
        lost += [f"{name} cannot be made without {weights[-1]}" for name in missing]
        return Finished(result, f"{folder} holds a result, but not all that belongs to it", (), lost)
    lacks = make_products(config, load(shard, config.data, config.run.seed, watch), result, folder / weights[-1])
    made = [str(folder / name) for name in missing if (folder / name).exists()]
    return Finished(result, f"wrote {' and '.join(made)}" if made else f"{folder} holds a result", lacks, lost)


def missing_products(config: TrainConfig, result: Mapping[str, Any]) -> list[str]:
    """Return what a finished run lacks of what can be made from its weights."""
    forms = f"{config.run.export},{from_recorded(result['config'].get('export', NONE))}"
    return [name for name in leaving.products(result, forms) if not (config.folder / name).exists()]


def make_products(config: TrainConfig, data: RunData, result: dict[str, Any], weights: Path) -> list[str]:
    """Make what a finished run lacks from its weights; return why it has no page or program, if so.

    Raises InputError for a file that does not hold the weights, or when the disk refuses.
    """
    folder, missing = config.folder, missing_products(config, result)
    network, method = trained_network(config, data, weights)
    if {DESCRIPTION, CARD} & set(missing):
        leaving.write_texts(folder, result, data, network)
    judge = judge_of(method, network)
    tables = [split for split in data.evaluation if run_folder.predictions_name(split) in missing]
    found = {split: predict_labelled(network, data.evaluation[split], judge, method.scale) for split in tables}
    leaving.write_tables(folder, found, data)
    looks = look_at(network, data.meta)[1] if run_folder.PAGE in missing else ()
    programs = [name for name in leaving.programs(",".join(leaving.FILES)) if name in missing]
    lacks = list(leaving.write_programs(folder, programs, network, method, result))
    return lacks + (list(leaving.write_page_of(folder, result, looks)) if run_folder.PAGE in missing else [])


def check_same_run(config: TrainConfig, result: dict[str, Any], shard: ShardReader, but: Collection[str] = ()) -> None:
    """Raise UsageError unless a result is of a run with these settings on this shard. but: those that may differ."""
    stored, current = result["config"], json.loads(json.dumps(config.as_json()))
    for name in current:
        if name in stored and name not in (*run_folder.UNTIED, *but) and stored[name] != current[name]:
            if name == "plugins":
                what = difference(stored[name], current[name])
                raise UsageError(f"{config.folder} holds the result of a run with {what}; use another --out")
            raise UsageError(
                f"{config.folder} holds the result of a run with {name} = {stored[name]!r}, now {current[name]!r}; use"
                " another --out"
            )
    made_of = (result["fingerprint"], result["shard_settings"])
    if made_of != (shard.header.fingerprint, json.loads(json.dumps(shard.header.settings))):
        raise UsageError(
            f"{config.folder} holds the result of a run on another shard than {shard.path}; use another --out"
        )


def trained_network(config: TrainConfig, data: RunData, path: Path) -> tuple[Classifier, Method]:
    """Return the network of a run with its weights from a file, of two peers the first, and the method.

    Raises InputError for a file that does not hold them.
    """
    assembly = assemble(config, data)
    network = assembly.network
    try:
        network.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise InputError(f"{path}: not the weights of this run ({error}); train again, with another --out") from None
    return network.first if isinstance(network, Peers) else network, assembly.method


def has_more_epochs(config: TrainConfig) -> bool:
    """Tell whether a finished run is asked for more epochs than it had. Raises InputError for what is no result."""
    return config.run.epochs > read_result(config.folder)["config"]["epochs"]


def reopen(assembly: Assembly, device: str) -> None:
    """Let a finished run be one under way, of more epochs: it then goes on as one that was killed.

    device: where it runs. Raises UsageError for the result of a run with other settings, SettingError for a run that
    cannot go on, InputError where the folder lacks what it takes.
    """
    config, data = assembly.config, assembly.data
    result = read_result(config.folder)
    done = result["config"]["epochs"]
    check_same_run(config, result, ShardReader(config.data.meta), ("epochs",))
    checkpoint = run_folder.checkpoint_of(config.folder, config.as_json(), data, device)
    more_epochs.reopen(assembly, done, checkpoint, Spent(result["seconds"], result["cpu_seconds"]))
    run_folder.reopen(config.folder)

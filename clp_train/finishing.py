"""The end of a run: weights, files made from them, and the result; completing and continuing a finished run."""

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
    """A finished run. made: what was written, in words; lacks: files that could not be made, and why, each in words:
    the same command with --resume can make them later; lost: files that only another run can make, in words.
    """

    result: dict[str, Any]
    made: str
    lacks: Sequence[str] = ()
    lost: Sequence[str] = ()


def conclude(config: TrainConfig, data: RunData, outcome: Trained, device: str) -> Finished:
    """Write the files of a run, the result last. device: of the run, in words.

    Raises InputError when the disk refuses; a missing page is not an error.
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
    """Make the missing files of a finished run: its page, its tables, and the requested programs.

    Raises UsageError if the folder holds the result of another run, InputError for a result that cannot be read or when
    the disk refuses.
    """
    folder, result = config.folder, read_result(config.folder)
    shard = ShardReader(config.data.meta)
    check_same_run(config, result, shard)
    run_folder.drop_state(folder)
    weights = [run_folder.LAST, *([run_folder.SELECTED] if result["selected"] else [])]
    lost = [f"{name} is missing; only another run can make it" for name in weights if not (folder / name).exists()]
    missing = missing_products(config, result)
    if not missing:
        return Finished(result, f"{folder} is complete: nothing to do", (), lost)
    if not (folder / weights[-1]).exists():
        lost += [f"{name} cannot be made without {weights[-1]}" for name in missing]
        return Finished(result, f"{folder} holds a result, but some of its files are missing", (), lost)
    lacks = make_products(config, load(shard, config.data, config.run.seed, watch), result, folder / weights[-1])
    made = [str(folder / name) for name in missing if (folder / name).exists()]
    return Finished(result, f"wrote {' and '.join(made)}" if made else f"{folder} holds a result", lacks, lost)


def missing_products(config: TrainConfig, result: Mapping[str, Any]) -> list[str]:
    """Return the missing files of a finished run that can be made from its weights, by name."""
    forms = f"{config.run.export},{from_recorded(result['config'].get('export', NONE))}"
    return [name for name in leaving.products(result, forms) if not (config.folder / name).exists()]


def make_products(config: TrainConfig, data: RunData, result: dict[str, Any], weights: Path) -> list[str]:
    """Make the missing files of a finished run from its weights; return reasons for a missing page or program.

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
    """Raise UsageError unless a result is of a run with these settings on this shard. but: settings that may differ."""
    stored, current = result["config"], json.loads(json.dumps(config.as_json()))
    for name in current:
        if name in stored and name not in (*run_folder.UNTIED, *but) and stored[name] != current[name]:
            if name == "plugins":
                what = difference(stored[name], current[name])
                raise UsageError(f"{config.folder} holds the result of a run with {what}; choose another --out")
            raise UsageError(
                f"{config.folder} holds the result of a run with {name} = {stored[name]!r}, now {current[name]!r};"
                " choose another --out"
            )
    made_of = (result["fingerprint"], result["shard_settings"])
    if made_of != (shard.header.fingerprint, json.loads(json.dumps(shard.header.settings))):
        raise UsageError(
            f"{config.folder} holds the result of a run on another shard than {shard.path}; choose another --out"
        )


def trained_network(config: TrainConfig, data: RunData, path: Path) -> tuple[Classifier, Method]:
    """Return a run's network, the first of two peers, with weights from a file, and the method.

    Raises InputError for a file that does not hold the weights.
    """
    assembly = assemble(config, data)
    network = assembly.network
    try:
        network.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise InputError(f"{path}: not the weights of this run ({error}); train again, with another --out") from None
    return network.first if isinstance(network, Peers) else network, assembly.method


def has_more_epochs(config: TrainConfig) -> bool:
    """Return whether more epochs are requested than a finished run had. Raises InputError for a damaged result."""
    return config.run.epochs > read_result(config.folder)["config"]["epochs"]


def reopen(assembly: Assembly, device: str) -> None:
    """Turn a finished run into an unfinished one with more epochs; it then continues like a run that was killed.

    device: of the run, in words. Raises UsageError for the result of a run with other settings, SettingError for a run
    that cannot continue, InputError if the folder lacks the state.
    """
    config, data = assembly.config, assembly.data
    result = read_result(config.folder)
    done = result["config"]["epochs"]
    check_same_run(config, result, ShardReader(config.data.meta), ("epochs",))
    checkpoint = run_folder.checkpoint_of(config.folder, config.as_json(), data, device)
    more_epochs.reopen(assembly, done, checkpoint, Spent(result["seconds"], result["cpu_seconds"]))
    run_folder.reopen(config.folder)

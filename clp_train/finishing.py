"""The end of a run: weights, classifier, page and result; and what a finished run lacks, made from what is there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file

from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.shards import ShardReader
from clp_train import run_folder
from clp_train.config import TrainConfig
from clp_train.evaluating.attention import Look, look_at
from clp_train.loading.data import RunData, load
from clp_train.models.parts import Classifier, Peers
from clp_train.report.page import read_result, write_result_page
from clp_train.result import result_of
from clp_train.running.assembly import assemble
from clp_train.running.export import export_classifier
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
    run_folder.save_networks(folder, outcome, data.header.settings["size"], config.run.export)
    lacks = list(page_failures(folder, json.loads(json.dumps(result)), looks))
    run_folder.save_result(folder, result)
    page = folder / (run_folder.RESULT if lacks else run_folder.PAGE)
    return Finished(result, f"wrote {page} and the weights beside it", lacks)


def page_failures(folder: Path, result: dict[str, Any], looks: Sequence[Look]) -> Iterator[str]:
    """Write the page of a result; yield why there is none, if so."""
    try:
        write_result_page(result, folder / run_folder.PAGE, looks)
    except Exception as error:  # of whatever kind: hours of training must not hang on a page
        yield f"no {run_folder.PAGE}: {error or type(error).__name__}"


def complete(config: TrainConfig, watch: Watch = unwatched) -> Finished:
    """Make what a finished run lacks: its page, and the classifier if it is asked for.

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
    asked = config.run.export or result["config"].get("export")
    products = [run_folder.PAGE, *([run_folder.CLASSIFIER] if asked else [])]
    return [name for name in products if not (config.folder / name).exists()]


def make_products(config: TrainConfig, data: RunData, result: dict[str, Any], weights: Path) -> list[str]:
    """Make what a finished run lacks from its weights; return why it has no page, if so.

    Raises InputError for a file that does not hold the weights, or when the disk refuses.
    """
    missing, network, lacks = missing_products(config, result), trained_network(config, data, weights), []
    if run_folder.PAGE in missing:
        lacks = list(page_failures(config.folder, result, look_at(network, data.meta)[1]))
    if run_folder.CLASSIFIER in missing:
        export_classifier(network, data.header.settings["size"], config.folder / run_folder.CLASSIFIER)
    return lacks


def check_same_run(config: TrainConfig, result: dict[str, Any], shard: ShardReader) -> None:
    """Raise UsageError unless a result is of a run with these settings on this shard."""
    stored, current = result["config"], json.loads(json.dumps(config.as_json()))
    for name in current:
        if name in stored and name not in run_folder.UNTIED and stored[name] != current[name]:
            raise UsageError(
                f"{config.folder} holds the result of a run with {name} = {stored[name]!r}, now {current[name]!r}; use"
                " another --out"
            )
    made_of = (result["fingerprint"], result["shard_settings"])
    if made_of != (shard.header.fingerprint, json.loads(json.dumps(shard.header.settings))):
        raise UsageError(
            f"{config.folder} holds the result of a run on another shard than {shard.path}; use another --out"
        )


def trained_network(config: TrainConfig, data: RunData, path: Path) -> Classifier:
    """Return the network of a run with its weights from a file; of two peers the first.

    Raises InputError for a file that does not hold them.
    """
    network = assemble(config, data).network
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{path}: not the weights of this run ({error}); remove the folder and train again") from None
    return network.first if isinstance(network, Peers) else network

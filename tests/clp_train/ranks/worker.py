"""One rank of a small run, or all of it: python -m tests.clp_train.ranks.worker SHARD CASES OUT, started by `team`.

Everything is in float64 where a case says so, so that the sums of ranks and those of one process differ by rounding.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from clp_train.algorithm.table import TrainTable
from clp_train.pictures import batching, types
from clp_train.ranks import SYNCHRONISED
from clp_train.ranks.launching import joined, ranks_of
from clp_train.running import loop
from clp_train.running.assembly import assemble
from tests.clp_train.builders import config_of, load

SMALL = {
    "model": "resnet8",
    "epochs": 2,
    "batch_size": 12,
    "lr": 0.05,
    "transform": "none",
}


def class_counts(table):
    """Return the pictures of each class in the type of the run, which is float32 elsewhere."""
    return torch.bincount(table.label, minlength=table.classes).to(torch.get_default_dtype())


def as_input(images):
    """Return pictures as the run's type: eq. (6) differentiates with respect to them."""
    pixels = types.as_input(images)
    return pixels.to(torch.get_default_dtype()) if images.dtype == torch.uint8 else pixels


TrainTable.class_counts = class_counts
batching.as_input = as_input


def few(data):
    """Return the data with few pictures to evaluate."""
    some = {name: type(part)(*(v[::12][:10] for v in vars(part).values())) for name, part in data.evaluation.items()}
    return replace(data, evaluation=some, strata={})


def run_case(case, shard, data, ranks):
    """Do the run of a case; return its weights, the method's state and its losses as tensors."""
    options, settings = case.get("options"), {**SMALL, **case.get("settings", {})}
    torch.set_default_dtype(torch.float64 if case.get("double", True) else torch.float32)
    config = config_of(case["method"], shard, options, **settings)
    own = replace(ranks, batch_norm=case.get("batch_norm", SYNCHRONISED))
    if ranks.size == 1:
        config = replace(config, run=replace(config.run, rank_batch_norm=SYNCHRONISED))
    assembly = assemble(config, data, own)
    trained = loop.train(assembly)
    state = {f"network.{name}": value for name, value in trained.last.state.items()}
    state |= {f"method.{name}": torch.as_tensor(value).cpu() for name, value in assembly.method.state_dict().items()}
    history = [[line[key] for key in sorted(line) if isinstance(line[key], float)] for line in trained.history]
    state["history"] = torch.tensor([value for line in history for value in line], dtype=torch.float64)
    return {name: value.double().contiguous().clone() for name, value in state.items()}


def main(shard, cases, out):
    """Do all cases; write what each left, or why it did not end."""
    torch.set_num_threads(1)
    ranks = ranks_of(os.environ)
    with joined(ranks):
        data = few(load(config_of(meta=shard)))
        for name, case in json.loads(Path(cases).read_text()).items():
            try:
                found = run_case(case, shard, data, ranks)
            except Exception:
                Path(out, f"{name}.rank{ranks.rank}.error").write_text(traceback.format_exc())
                continue
            save_file(found, Path(out, f"{name}.rank{ranks.rank}.safetensors"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])

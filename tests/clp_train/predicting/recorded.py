"""What tests of the room share: runs that were recorded without training, small pictures on disk."""

import json

import torch
from PIL import Image

from clp_train import finishing, run_folder
from clp_train.evaluating.predictions import judged
from clp_train.models.parts import Peers
from clp_train.running.assembly import assemble
from clp_train.running.checkpoint import Snapshot
from clp_train.running.clock import Spent
from clp_train.running.epochs import copy_state
from clp_train.running.loop import Trained
from tests.clp_train.builders import config_of, generator


def record(loaded, folder, method, more=(), **settings):
    """Write what a run of a method leaves that has not learned a step; its statistics of features are random numbers.

    Return the classifier as the run has it.
    """
    config = config_of(method, meta="x.h5", options=dict(more), out=folder, epochs=20, **settings)
    assembly = assemble(config, loaded)
    network = assembly.network
    for name, values in network.named_buffers():
        if name.endswith("head.mean"):
            values.normal_(generator=generator(1))
    first = network.first if isinstance(network, Peers) else network
    last = Snapshot(1, copy_state(network), {})
    outcome = Trained(first, last, None, [], Spent(), None, assembly.method)
    folder.mkdir(parents=True, exist_ok=True)
    run_folder.save_networks(folder, outcome)
    result = as_stored(config, loaded)
    finishing.leaving.write_texts(folder, result, loaded, first)
    run_folder.save_result(folder, result)
    return judged(first.eval(), assembly.method)


def as_stored(config, loaded):
    """Return what a result says that a classifier is described by."""
    metrics = {"average": 0.5, "worst": 0.25, "weighted_average": 0.5, "per_group": [0.5] * 4, "group_counts": [1] * 4}
    result = {
        "config": config.as_json(), "dataset": "demo", "fingerprint": loaded.header.fingerprint, "has_groups": True,
        "shard_settings": loaded.header.settings, "group_names": loaded.group_names, "selected": None,
        "class_names": loaded.header.class_names, "train_group_counts": [20] * 4, "meta_kinds": {"original": 8},
        "average_weights": loaded.weights, "last": {"epoch": 1, "metrics": {"test": metrics}},
    }  # fmt: skip
    return json.loads(json.dumps(result))


def pictures(n=3, side=16, seed=0):
    """Return random pictures, float32 (n, 3, side, side) in [0, 1]."""
    return torch.rand(n, 3, side, side, generator=generator(seed))


def save_picture(path, side=20, seed=0):
    """Write a random picture; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = (pictures(1, side, seed)[0].permute(1, 2, 0) * 255).byte().numpy()
    Image.fromarray(values).save(path)
    return path

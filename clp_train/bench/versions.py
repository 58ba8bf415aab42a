"""Which code a run depends on: a digest of the definitions it can reach and of what its preset says.

A change to one method makes the runs of that method new, a change to what all share makes all of them new, and a
change to documentation, to names or to the places of things none: see `identity.digest`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from clp_train import presets
from clp_train.bench.identity.definitions import Rules
from clp_train.bench.identity.digest import Code
from clp_train.methods import METHODS

ROOT = Path(__file__).parents[2]
RUN = (
    "clp_train.config:make_config",
    "clp_train.loading.data:load",
    "clp_train.running.assembly:assemble",
    "clp_train.running.loop:train",
    "clp_train.evaluating.attention:look_at",
    "clp_train.result:result_of",
)
"""What reads a run's settings and data, trains, measures and says how it went."""
SHARD = ("clp_aug.config:AugmentConfig", "clp_aug.pipeline:augment")
"""The settings of a shard, and what makes it."""
RULES = Rules(
    packages=("clp_aug", "clp_train"),
    doors=("load", "build", "OPTIONS", "Options"),
    registry="clp_train.methods:METHODS",
    documented="clp_aug.common.settings:setting",
    documentation=("help", "source", "shown", "metavar"),
    written=(
        "clp_aug.config:AugmentConfig",
        "clp_aug.contract.schema:Header",
        "clp_aug.mattes:About",
        "clp_train.evaluating.metrics:Metrics",
        "clp_train.evaluating.attention:Attention",
    ),
)


def digest_of(content: Any) -> str:
    """Return twelve hexadecimal digits of plain JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def run_version(method: str, arguments: Iterable[str]) -> str:
    """Return a digest of the code that `clp-train` runs for a method, and of its preset if the arguments name one."""
    words = list(arguments)
    preset_names = [value for option, value in itertools.pairwise(words) if option == "--preset"]
    settings = [[presets.read_preset(name), presets.read_method(name, method)] for name in preset_names]
    return digest_of([code_of_run(METHODS[method].module), settings])


@cache
def code_of_run(module: str) -> str:
    """Return a digest of what a run of a method reaches. module: the method's, as the registry names it."""
    return code().digest(RUN, module)


@cache
def shard_version() -> str:
    """Return a digest of the code that `clp-augment` runs."""
    return digest_of(code().digest(SHARD))


@cache
def code_version() -> str:
    """Return a digest of all the code that any run depends on."""
    modules = sorted({entry.module for entry in METHODS.values()})
    return digest_of([shard_version(), sorted(map(code_of_run, modules))])


@cache
def code() -> Code:
    """Return the code that runs."""
    return Code(ROOT, RULES)

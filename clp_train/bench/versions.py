"""The code that a run depends on: a digest of the definitions that it can reach and of its preset.

A change to one method makes the runs of that method new. A change to shared code makes all runs new. A change of
documentation, names or places of definitions makes no run new: see `identity.digest`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from clp_aug.common.plugins import find, is_own, label
from clp_train import presets
from clp_train.bench.identity.definitions import Rules
from clp_train.bench.identity.digest import Code
from clp_train.methods import METHODS
from clp_train.models.names import split

ROOT = Path(__file__).parents[2]
RUN = (
    "clp_train.config:make_config",
    "clp_train.loading.data:load",
    "clp_train.running.assembly:assemble",
    "clp_train.running.loop:train",
    "clp_train.evaluating.attention:look_at",
    "clp_train.result:result_of",
)
"""The functions that read a run's settings and data, train, measure and report."""
OWN = {
    "--dataset": "data set", "--cf": "fill", "--f": "fill", "--matte": "matte", "--method": "method",
    "--model": "model", "model": "model", "transform": "transform",
}  # fmt: skip
"""Options, and keys of "key=value", with values that may be plug-ins -> the kind of plug-in."""
PLAIN = "erm"  # its code represents the shared code for methods that are plug-ins
SHARD = ("clp_aug.config:AugmentConfig", "clp_aug.pipeline:augment")
"""The settings of a shard, and the function that makes it."""
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
    own = origins(("--method", method, *words))
    registered = PLAIN if is_own(method, "method") else method
    return digest_of([code_of_run(METHODS[registered].module), settings, *([own] if own else [])])


@cache
def code_of_run(module: str) -> str:
    """Return a digest of the code that a run of a method reaches. module: the method's, as in the registry."""
    return code().digest(RUN, module)


@cache
def shard_version() -> str:
    """Return a digest of the code that `clp-augment` runs."""
    return digest_of(code().digest(SHARD))


def origins(arguments: Iterable[str]) -> dict[str, str]:
    """Return the origin of each plug-in in arguments of clp-augment or clp-train; empty without plug-ins.

    Raises UsageError for a plug-in that cannot be loaded.
    """
    pairs = [(option, value) for option, value in itertools.pairwise(arguments) if option in OWN]
    pairs += [(name, value) for name, _, value in (word.partition("=") for word in arguments) if name in OWN]
    names = [(OWN[option], split(name)[0]) for option, value in pairs for name in value.split(",")]
    own = [find({}, name, what) for what, name in names if is_own(name, what)]
    return {f"{each.what} {label(each.name)}": each.origin for each in own if each is not None}


@cache
def code_version() -> str:
    """Return a digest of all the code that any run depends on."""
    modules = sorted({entry.module for entry in METHODS.values()})
    return digest_of([shard_version(), sorted(map(code_of_run, modules))])


@cache
def code() -> Code:
    """Return the code that runs."""
    return Code(ROOT, RULES)

"""The registry of methods. Each fills in the slots of `base.Method`; a new one is one file and one line here."""

from __future__ import annotations

import importlib

from clp_aug.contract.errors import pick

METHODS = {
    "erm": "clp_train.methods.erm",
    "logit-adjust": "clp_train.methods.logit_adjust",
    "mwn": "clp_train.methods.mwn",
    "meta-lp": "clp_train.methods.clp",
    "clp": "clp_train.methods.clp",
    "group-weight": "clp_train.methods.controls",
    "group-sample": "clp_train.methods.controls",
    "meta-only": "clp_train.methods.controls",
    "dfr": "clp_train.methods.controls",
}
"""Name -> module with `build(config, table, generator) -> Method`; modules load only when asked for."""


def build_method(config, table, generator):
    """Return the method that config.method names, ready for its first step.

    table: `base.TrainTable` of the training pictures; generator: torch.Generator for its start values. Raises
    UsageError for an unknown name.
    """
    return importlib.import_module(pick(METHODS, config.method, "method")).build(config, table, generator)

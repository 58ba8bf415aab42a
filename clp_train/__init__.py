"""The trainer. Public names are listed in `__all__` and loaded at first use: `from clp_train import ...`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clp_train.algorithm.bilevel import Bilevel
    from clp_train.algorithm.hypergradient import hypergradient
    from clp_train.algorithm.losses import meta_losses
    from clp_train.algorithm.meta_loader import MetaLoader
    from clp_train.algorithm.method import Method
    from clp_train.algorithm.objective import Terms
    from clp_train.algorithm.perturbation import Omega
    from clp_train.algorithm.saliency import saliency
    from clp_train.config import make_config
    from clp_train.evaluating.gradcam import gradcam
    from clp_train.loading.data import load
    from clp_train.predicting.opened_run import open_run
    from clp_train.predicting.trained import load_classifier
    from clp_train.running.assembly import assemble
    from clp_train.running.loop import Hooks, train

__all__ = [
    "Bilevel",
    "Hooks",
    "MetaLoader",
    "Method",
    "Omega",
    "Terms",
    "assemble",
    "gradcam",
    "hypergradient",
    "load",
    "load_classifier",
    "make_config",
    "meta_losses",
    "open_run",
    "saliency",
    "train",
    "virtual_pass",
]
PLACES = {
    "Bilevel": "algorithm.bilevel",
    "Hooks": "running.loop",
    "MetaLoader": "algorithm.meta_loader",
    "Method": "algorithm.method",
    "Omega": "algorithm.perturbation",
    "Terms": "algorithm.objective",
    "assemble": "running.assembly",
    "gradcam": "evaluating.gradcam",
    "hypergradient": "algorithm.hypergradient",
    "load": "loading.data",
    "load_classifier": "predicting.trained",
    "make_config": "config",
    "meta_losses": "algorithm.losses",
    "open_run": "predicting.opened_run",
    "saliency": "algorithm.saliency",
    "train": "running.loop",
    "virtual_pass": "algorithm.passes",
}
"""Public name -> the module that has it."""


def __getattr__(name: str) -> Any:
    """Load a public name. Raises AttributeError for any other name."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__} has no public name {name!r}: choose one of {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{PLACES[name]}"), name)

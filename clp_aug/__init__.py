"""clp_aug: the offline half of CLP. Pictures in, one HDF5 shard of counterfactuals and factuals out.

Read in this order: contract/schema.py (what a shard holds), pipeline.py (the flow on one page), fills/. Public names
are listed in `__all__` and loaded when they are first used: `from clp_aug import AugmentConfig, augment`. Their types
are in `__init__.pyi`, so that this module imports nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

PLACES = {
    "AugmentConfig": "config",
    "Box": "contract.boxes",
    "FILLS": "fills",
    "Materials": "fills.scene",
    "ProtocolSettings": "protocol.settings",
    "Scene": "fills.scene",
    "ShardReader": "contract.shards",
    "augment": "pipeline",
    "check_shard": "contract.validate",
    "fill": "library",
    "find_boxes": "library",
    "from_arrays": "datasets.arrays",
    "from_torch": "datasets.arrays",
    "infill": "fills",
    "load_dataset": "datasets",
    "make_split": "protocol.split",
    "open_shard": "library",
    "rng_for": "contract.seeds",
}
"""Public name -> the module that has it."""

__all__ = [
    "FILLS",
    "AugmentConfig",
    "Box",
    "Materials",
    "ProtocolSettings",
    "Scene",
    "ShardReader",
    "augment",
    "check_shard",
    "fill",
    "find_boxes",
    "from_arrays",
    "from_torch",
    "infill",
    "load_dataset",
    "make_split",
    "open_shard",
    "rng_for",
]


def __getattr__(name: str) -> Any:
    """Load a public name. Raises AttributeError for any other."""
    if name not in PLACES:
        raise AttributeError(f"module {__name__} has no public name {name!r}: choose one of {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{PLACES[name]}"), name)

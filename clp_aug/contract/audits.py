"""The contract of a shard for clp-audit: which views follow each picture, in which order, and how it was made.

Each audited picture is an original; its views follow it, the same for all pictures. A view that could not be made is
stored as the object on grey, with the fill "grey".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL

MIX_OWN, MIX_SAME, MIX_OTHER = "mix-own", "mix-same", "mix-other"
MIXES = (MIX_OWN, MIX_SAME, MIX_OTHER)
"""The object on another background: its own, mirrored; from another picture of its class; from another class."""
OBJECT_ALONE, BACKGROUND_ALONE = ("grey", "random"), ("grey", "tile")
"""Fills around the object, and fills in its place. The fill that removes objects is added to the latter."""
MATTE, BOX = "matte", "box"
PASTES = (MATTE, BOX)
REMOVERS = ("cagan", "telea", "tile", "grey")
MOST_DRAWS = 20


class View(NamedTuple):
    """One view of a picture: kind of the contract, the fill that makes it, and which of several such views it is."""

    kind: int
    fill: str
    draw: int


@dataclass(frozen=True)
class AuditHeader:
    """How an audit was made, as the setting "audit" of its shard has it. split: of the audited pictures; backgrounds:
    the split that gives backgrounds; draws: views of each kind on backgrounds of other pictures; pool: most pictures
    per class that give backgrounds; paste: what is pasted, matte or box; remove: the fill that removes objects.
    """

    split: str
    backgrounds: str
    draws: int
    pool: int
    paste: str
    remove: str

    def views(self) -> list[View]:
        """Return the views of each audited picture, in the order of the shard."""
        views = [View(FACTUAL, fill, 0) for fill in OBJECT_ALONE]
        views += [View(COUNTERFACTUAL, fill, 0) for fill in dict.fromkeys((*BACKGROUND_ALONE, self.remove))]
        views += [View(FACTUAL, MIX_OWN, 0)]
        return views + [View(FACTUAL, fill, draw) for fill in (MIX_SAME, MIX_OTHER) for draw in range(self.draws)]


def header_of(stored: object) -> AuditHeader:
    """Return how an audit was made, from the setting of its shard. Raises ValueError for a malformed setting."""
    if not isinstance(stored, Mapping):
        raise ValueError(f"audit is {type(stored).__name__}, expected an object")
    known: dict[str, Any] = {"split": str, "backgrounds": str, "draws": int, "pool": int, "paste": str, "remove": str}
    for name, kind in known.items():
        if type(stored.get(name)) is not kind:
            raise ValueError(f"audit has {name} = {stored.get(name)!r:.40}, expected a value of type {kind.__name__}")
    header = AuditHeader(**{name: stored[name] for name in known})
    if not 1 <= header.draws <= MOST_DRAWS or header.paste not in PASTES or header.remove not in REMOVERS:
        raise ValueError(
            f"audit has draws = {header.draws}, paste = {header.paste!r:.40}, remove = {header.remove!r:.40}"
        )
    return header

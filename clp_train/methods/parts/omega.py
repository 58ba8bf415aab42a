"""The settings of Omega that several methods share. No torch here: the command line lists them."""

from __future__ import annotations

from dataclasses import dataclass

from clp_aug.common.settings import Settings, setting


@dataclass(frozen=True)
class OmegaRate(Settings):
    """The learning rate of Omega."""

    omega_lr: float = setting(
        1e-3,
        "Learning rate of Omega, the network that the meta step trains by Adam.",
        above=0,
        source="eq. (9)",
        option=True,
    )

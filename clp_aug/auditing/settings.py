"""The settings of an audit: which pictures, where backgrounds come from, how objects are cut out and removed."""

from __future__ import annotations

from dataclasses import dataclass

from clp_aug.common.settings import Settings, fields_of, setting
from clp_aug.contract.audits import MATTE, MOST_DRAWS, PASTES, REMOVERS, AuditHeader
from clp_aug.contract.errors import SettingError

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class AuditSettings(Settings):
    """What `--audit` makes. Raises SettingError for a setting of audits if there is no audit.

    audit: a split by name, "auto" for the first test split that has pictures, else val, else train; None for no audit.
    """

    audit: str | None = setting(
        None, "Make a shard for clp-audit from a split, by default from the first test split.", metavar="SPLIT"
    )
    backgrounds: str | None = setting(None, "Split that gives backgrounds to an audit.", shown="train")
    draws: int = setting(3, "Other backgrounds of each kind for every picture of an audit.", low=1, high=MOST_DRAWS)
    pool: int = setting(50, "Most pictures per class that give backgrounds to an audit.", low=1, high=10_000)
    paste: str = setting(MATTE, "What an audit pastes: the object by its matte, or its whole box.", choices=PASTES)
    remove: str = setting("cagan", "Fill that removes the objects from backgrounds.", choices=REMOVERS)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, field in fields_of(AuditSettings).items():
            value = getattr(self, name)
            if self.audit is None and value != field.default:
                reason = "it is a setting of an audit; give --audit, too, or leave it out"
                raise SettingError(name, value, reason, {"audit": AUTO})

    def header(self, audited: str, backgrounds: str) -> AuditHeader:
        """Return the part of the settings that the shard keeps. audited, backgrounds: names of the splits."""
        return AuditHeader(audited, backgrounds, self.draws, self.pool, self.paste, self.remove)

"""What a fill owns beside its function: settings, files and networks, declared as the fields of its `Options`.

    @dataclass(frozen=True)
    class Options(FillOptions):
        strength: float = setting(0.5, "How strongly smear pulls.", low=0, high=1)
        brush: Path | None = network_file("Network of the brush, for --cf smear.", stored="brush")

Each field is an option of the command line under its own name. A number or a name is stored in the shard as it is, of
a file its SHA-256. The fill's function takes the object as its last argument.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clp_aug.common.plugins import label
from clp_aug.common.settings import About, Settings, fields_of
from clp_aug.contract.errors import UsageError


def network_file(help: str, stored: str, missing: str = "") -> Any:
    """Declare a file that a fill reads: a field of type `Path | None`, whose path is local to a machine.

    stored: the name that its SHA-256 has in the settings of the shard; missing: what is said, behind the fill's name,
    when the fill is asked for without the file; empty where it can do without.
    """
    metadata = {"about": About(help), "stored": stored, "missing": missing}
    return dataclasses.field(default=None, metadata=metadata)


@dataclass(frozen=True)
class FillOptions(Settings):
    """Base of a fill's `Options`. Raises SettingError for a value of the wrong type or out of its range."""

    def files(self) -> dict[str, Path | None]:
        """Return the files that the fill reads with these options, by the names of their digests."""
        return {
            field.metadata["stored"]: getattr(self, name)
            for name, field in fields_of(type(self)).items()
            if "stored" in field.metadata
        }

    def stored(self) -> dict[str, object]:
        """Return the options that a shard stores as they are: all but files."""
        return {
            name: getattr(self, name) for name, field in fields_of(type(self)).items() if "stored" not in field.metadata
        }

    def prepare(self) -> None:
        """Load what the fill needs, so that a file that is no such network fails before a picture is decoded."""

    def check(self, size: int, classes: int) -> None:
        """Try what was loaded on a picture of the run's size, so that what does not fit fails before one is decoded.

        size: in pixels; classes: of the data set.
        """

    def terms(self) -> str:
        """Return in one line under which terms the fill's weights may be used; empty for one without weights."""
        return ""

    def check_files(self, fill: str) -> None:
        """Raise UsageError when a file is missing that the fill of that name cannot do without."""
        for name, field in fields_of(type(self)).items():
            missing = field.metadata.get("missing")
            if missing and getattr(self, name) is None:
                raise UsageError(f"fill {fill!r} {missing}")


def key_of(fill: str, name: str) -> str:
    """Return what a shard calls a setting of a fill: the name alone, of a plug-in behind the plug-in's name."""
    return f"{label(fill)} {name}" if ":" in fill else name


def digest_names(kind: type[FillOptions]) -> tuple[str, ...]:
    """Return the names under which the digests of a fill's files are stored."""
    return tuple(field.metadata["stored"] for field in fields_of(kind).values() if "stored" in field.metadata)

"""The own settings, files and networks of a fill, declared as the fields of its `Options`.

    @dataclass(frozen=True)
    class Options(FillOptions):
        strength: float = setting(0.5, "How strongly smear pulls.", low=0, high=1)
        brush: Path | None = network_file("Network of the brush, for --cf smear.", stored="brush")

Each field is an option of the command line with the same name. A number or a name is stored in the shard as it is, a
file as its SHA-256. The fill's function takes the object as its last argument.
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
    """Declare a file that a fill reads: a field of type `Path | None`; the path is local to a machine.

    stored: the name of its SHA-256 in the settings of the shard; missing: the error, after the fill's name, if the fill
    is used without the file; empty if the file is optional.
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
        """Load the networks of the fill, so that a wrong file fails before a picture is decoded."""

    def check(self, size: int, classes: int) -> None:
        """Try the loaded networks on a picture of the run's size, so that a wrong network fails before a picture is
        decoded.

        size: in pixels; classes: of the data set.
        """

    def terms(self) -> str:
        """Return the terms of use of the fill's weights in one line; empty for a fill without weights."""
        return ""

    def check_files(self, fill: str) -> None:
        """Raise UsageError if a file that the fill needs is not given. fill: its name, for the message."""
        for name, field in fields_of(type(self)).items():
            missing = field.metadata.get("missing")
            if missing and getattr(self, name) is None:
                raise UsageError(f"fill {fill!r} {missing}")


def key_of(fill: str, name: str) -> str:
    """Return the name of a fill's setting in a shard: for a plug-in the plug-in's name comes first."""
    return f"{label(fill)} {name}" if ":" in fill else name


def digest_names(kind: type[FillOptions]) -> tuple[str, ...]:
    """Return the names of the stored digests of a fill's files."""
    return tuple(field.metadata["stored"] for field in fields_of(kind).values() if "stored" in field.metadata)

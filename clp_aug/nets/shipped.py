"""The weights of the package: their files and hashes. Their model cards are beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clp_aug.contract.errors import InputError

FOLDER = "clp_assets"


@dataclass(frozen=True)
class Shipped:
    """One file of weights, the SHA-256 of its bytes, and its terms in a few words."""

    file: str
    sha256: str
    licence: str


SHIPPED = {
    "hatt": Shipped(
        "hatt.safetensors",
        "c9da60bb9906958e4dd8d946418197cab88cc1fc4b888ba884a73054027b1f89",
        "terms in its model card, hatt.md",
    ),
    "cagan": Shipped(
        "cagan.safetensors",
        "cfd2e1c3841db864edc69326dbf11e8221606004df933aa5e8b9ba913819794c",
        "terms in its model card, cagan.md",
    ),
}


def shipped_path(name: str) -> Path:
    """Return the path of shipped weights, after a check of their hash.

    Raises InputError if the file is missing or differs from the released one.
    """
    import hashlib
    from importlib import resources

    release = SHIPPED[name]
    path = Path(str(resources.files(FOLDER) / release.file))
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"shipped weights {path}: cannot read ({error.strerror}); install the package again") from None
    if sha256 != release.sha256:
        raise InputError(
            f"shipped weights {path}: SHA-256 is {sha256}, expected {release.sha256}; install the package again, or"
            f" give your own as {name}:FILE"
        )
    return path

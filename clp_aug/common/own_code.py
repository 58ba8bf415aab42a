"""Somebody's own code: how its module is imported, by name or out of a file, and of which version it is.

Worker processes find modules that lie in files as well: `loaded_files` here, `expect_files` there.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from clp_aug.contract.errors import UsageError

if TYPE_CHECKING:
    from importlib import metadata

FILE_SUFFIX = ".py"
PREFIX = "clp_plugin_"  # of the names of modules that were loaded from files
LONGEST = 300  # letters of somebody else's message


def load_module(place: str, asked: str, near: str = "") -> ModuleType:
    """Return the module of "package.module" or of "folder/file.py".

    asked: what it is for, for messages; near: what else may have been meant. A module is looked for in the current
    folder, too, after all others. Raises UsageError for one that is not there, and for what its import raises.
    """
    try:
        return from_file(Path(place)) if place.endswith(FILE_SUFFIX) else from_name(place)
    except FileNotFoundError as error:
        if error.filename == place:
            raise UsageError(f"{asked}: no file {place}; give its path") from None
        raise UsageError(f"{asked}: {place} cannot be imported: {said(error, place)}") from error
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(error.name + ".")):
            remedy = f"{near}install it, or give the path of its file"
            raise UsageError(f"{asked}: no module {error.name}; {remedy}") from None
        raise UsageError(f"{asked}: {place} cannot be imported: {said(error, place)}") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{asked}: {place} cannot be imported: {said(error, place)}") from error


def said(error: BaseException, file: str = "") -> str:
    """Return an error of somebody else's code in one line, with the last line of a file that it went through."""
    import traceback

    text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")[:LONGEST]
    steps = [
        step for step in traceback.extract_tb(error.__traceback__) if file and Path(step.filename) == resolved(file)
    ]
    return f"{text} ({Path(file).name}, line {steps[-1].lineno})" if steps else text


def resolved(file: str) -> Path:
    """Return the path of a file as tracebacks have it."""
    return Path(file).resolve() if file.endswith(FILE_SUFFIX) else Path(file)


def own_names(module: ModuleType) -> list[str]:
    """Return the names that a module defines itself."""
    of_module = {n: v for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__}
    return [name for name in of_module if not name.startswith("_")]


def from_name(name: str) -> ModuleType:
    """Import a module, from the current folder as well, which stays the last place to look in for what it imports."""
    look_in(os.getcwd())
    return importlib.import_module(name)


def look_in(folder: str) -> None:
    """Let Python look for modules in a folder after all others; worker processes of ours do, too."""
    if folder not in sys.path:
        sys.path.append(folder)
        importlib.invalidate_caches()


def from_file(path: Path) -> ModuleType:
    """Import a file under a name that depends on its place, once; it may import what lies beside it."""
    if not path.is_file():
        raise FileNotFoundError(2, "No such file", str(path))
    path = path.resolve()
    name = module_name(path)
    if name in sys.modules or name in _expected:
        return importlib.import_module(name)
    look_in(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    origin_of(module)  # of the code that was imported: the file may change while a run is on
    return module


def module_name(path: Path) -> str:
    """Return the name of the module that is loaded from a file. path: absolute."""
    import hashlib

    return f"{PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def file_origin(path: Path) -> str:
    """Return of which code a file is: its name and its sha256. Raises UsageError for one that cannot be read."""
    import hashlib

    try:
        return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError as error:
        raise UsageError(f"plug-in {path}: cannot read it ({error.strerror})") from None


def loaded_files() -> tuple[tuple[str, str], ...]:
    """Return the plug-ins that were loaded from files, path and origin, for worker processes."""
    loaded = [module for name, module in sorted(sys.modules.items()) if name.startswith(PREFIX)]
    return tuple((str(module.__file__), origin_of(module)) for module in loaded)


def expect_files(files: Iterable[tuple[str, str]]) -> None:
    """Let this process find what `loaded_files` of another one told of, before it unpickles what came from there.

    A file is loaded when something of it is needed; one that has changed since raises UsageError then.
    """
    _expected.update({module_name(Path(path)): (path, origin) for path, origin in files})
    if FileFinder not in sys.meta_path:
        sys.meta_path.append(FileFinder)


_expected: dict[str, tuple[str, str]] = {}  # of a worker process: module's name -> its file, and of which code it is


class FileFinder:
    """Finds modules of plug-ins that lie in files by their names, as unpickling asks for them."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return how a module is loaded, None for one that is not expected. Raises UsageError for a changed file."""
        if name not in _expected:
            return None
        place, origin = _expected[name]
        if file_origin(Path(place)) != origin:
            raise UsageError(f"plug-in {place} has changed since it was loaded; start again")
        look_in(str(Path(place).parent))
        return importlib.util.spec_from_file_location(name, place)


@cache
def origin_of(module: ModuleType) -> str:
    """Return of which code a module is: "distribution version" of an installed one, else "file sha256", as it was when
    this was first asked. One that is installed as a link to a folder has both.
    """
    file = getattr(module, "__file__", None)
    if file is None:
        return module.__name__
    owner = None if module.__name__.startswith(PREFIX) else owner_of(module.__name__.partition(".")[0])
    if owner is None:
        return file_origin(Path(file))
    installed = f"{owner.name} {owner.version}"
    return f"{installed}, {file_origin(Path(file))}" if is_editable(owner) else installed


def owner_of(package: str) -> metadata.Distribution | None:
    """Return the distribution that a top-level package or module comes from, None for none."""
    from importlib import metadata

    names = metadata.packages_distributions().get(package, [])
    return metadata.distribution(names[0]) if names else None


def is_editable(distribution: metadata.Distribution) -> bool:
    """Whether a distribution is a link to a folder, whose code changes under the same version."""
    import json

    try:
        told = json.loads(distribution.read_text("direct_url.json") or "{}")
        return bool(told.get("dir_info", {}).get("editable", False))
    except (ValueError, AttributeError):
        return False

"""Errors that a user can act on: one line each, with the exit code of the command that meets them."""

from __future__ import annotations

EXIT_DONE, EXIT_USAGE, EXIT_INPUT, EXIT_FALLBACKS, EXIT_INTERRUPTED = 0, 2, 3, 4, 130


class ClpError(Exception):
    """A problem in what the user gave: the message says value, expectation and remedy in one line."""

    exit_code = EXIT_INPUT


class UsageError(ClpError):
    """A setting that is unknown, out of range or contradicts another one (exit code 2)."""

    exit_code = EXIT_USAGE


class InputError(ClpError):
    """A file, picture, table or shard that cannot be used (exit code 3)."""

    exit_code = EXIT_INPUT


class TooManyFallbacks(ClpError):
    """The chosen matte failed on so many pictures that the run would not be the asked one (exit code 4)."""

    exit_code = EXIT_FALLBACKS


def pick(registry: dict, name: str, what: str):
    """Look `name` up in a registry; an unknown name raises UsageError that lists the valid ones."""
    if name not in registry:
        raise UsageError(f"unknown {what} {name!r}: choose one of {', '.join(sorted(registry))}")
    return registry[name]

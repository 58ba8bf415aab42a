"""A peer's process seen from the driver: a command a line in, a line of JSON out."""

from __future__ import annotations

import json
import subprocess
import tempfile
from typing import Any


class LeftOut(Exception):
    """A peer that cannot do the task; its text is the reason, one line."""


class Process:
    """A process of `serve.main`, started and ready. ready: megabytes that it holds then; environment: None is ours.

    Raises LeftOut where it says that it cannot, or ends before it is ready. Within a `with` it ends at the end.
    """

    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in close)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=environment
        )
        try:
            self.ready: float = self.answer()["ready"]
        except BaseException:
            self.close()
            raise

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command; return the answer. Raises LeftOut with the last line of the errors if the process ended."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise LeftOut(self.last_words()) from None
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Return the next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise LeftOut(self.last_words())
        found: dict[str, Any] = json.loads(line)
        if "left out" in found:
            raise LeftOut(found["left out"])
        return found

    def last_words(self) -> str:
        """Return the last line that the process wrote to its error output, once it has ended."""
        self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), f"ended with {self.process.returncode}")

    def close(self) -> None:
        """End the process."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self.errors.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

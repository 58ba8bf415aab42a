"""Going on as a user would: with --resume, and then as the message says."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.campaigns.forks import Ended, Server
from tests.campaigns.scenarios import Scenario

TRIES = 5
Words = list[str]


def without_resume(words: Words, message: re.Match[str]) -> Words:
    """Start anew."""
    return [word for word in words if word != "--resume"]


def with_overwrite(words: Words, message: re.Match[str]) -> Words:
    """Replace what is there."""
    return [*without_resume(words, message), "--overwrite"]


def with_resume(words: Words, message: re.Match[str]) -> Words:
    """Go on with what is there."""
    return [*words, "--resume"]


def again(words: Words, message: re.Match[str]) -> Words:
    """Give the same command again."""
    return words


def removing(words: Words, message: re.Match[str]) -> Words:
    """Remove the file or folder that the message names, and give the command again."""
    path = Path(message[1])
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return without_resume(words, message)


REMEDIES: tuple[tuple[str, Callable[[Words, re.Match[str]], Words]], ...] = (
    (r"run without --resume", without_resume),
    (r"give --resume", with_resume),
    (r"give --overwrite|, or give --overwrite", with_overwrite),
    (r"error: (?:cannot \w+ )?(\S+?):? .*remove it", removing),
    (r"error: (\S+) holds weights already", removing),
    (r"give the same command again|see above; their logs", again),
)
"""What a message says -> what its reader does; the first that fits counts."""
COMPLETE = re.compile(r"exists; use it|holds a result already|holds weights already|exists already")
"""What is said where nothing is left to do."""


def go_on(server: Server, scenario: Scenario, words: Words) -> list[Ended]:
    """Run a command again until it has done its work, or says that nothing is left to do; return how each try ended."""
    words = [*words, "--resume"] if scenario.resumes else words
    endings: list[Ended] = []
    for _ in range(TRIES):
        ended = server.run(words, scenario.setting)
        endings.append(ended)
        if ended.code == 0 or COMPLETE.search(ended.err):
            break
        for pattern, remedy in REMEDIES:
            message = re.search(pattern, ended.err)
            if message:
                words = remedy(words, message)
                break
        else:
            break
    return endings

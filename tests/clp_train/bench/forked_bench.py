"""A process that has loaded everything runs clp-bench, and what it starts, as forks: a command takes its work's time.

    with ForkedBench(folder) as bench:
        ended = bench("table.toml", "--seeds", "1")

Started by `ForkedBench`; a line of JSON on stdin is a command, one on stdout says how it ended.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from clp_train.bench.versions import code_version
from tests.campaigns.forks import Ended, Server, end_children

ROOT = Path(__file__).resolve().parents[3]
PAUSE = 0.01  # seconds between two looks


class ForkedBench:
    """Runs commands one after the other. scratch: folder for what they print."""

    def __init__(self, scratch: Path) -> None:
        command = [sys.executable, "-m", __name__, str(scratch)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> ForkedBench:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def __call__(self, *words: str, kill_at: tuple[Path, str] | None = None) -> Ended:
        """Run clp-bench to its end. kill_at: (folder, pattern) of a file with whose appearance it is killed; what it
        has started goes on, as after a real kill.
        """
        place = kill_at and [str(kill_at[0]), kill_at[1]]
        self.process.stdin.write(json.dumps({"words": words, "kill_at": place}) + "\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))


def serve(scratch: Path) -> None:
    """Do the commands of stdin; the first one shows which modules the others need.

    What a queue knows of the code it runs takes seconds to find out, and is the same for all.
    """
    server, warm = Server(scratch), False
    code_version()
    for line in sys.stdin:
        order = json.loads(line)
        command = ["clp-bench", *order["words"]]
        if order["kill_at"]:
            ended = killed(server, command, *order["kill_at"])
        elif warm:
            ended = server.run(command, sweep=False)
        else:
            ended, warm = server.warm(command), True
        print(json.dumps(dataclasses.asdict(ended)), flush=True)
    end_children()


def killed(server: Server, command: list[str], folder: str, pattern: str) -> Ended:
    """Start a command and kill it as soon as a file appears, or let it come to its end."""
    running = server.start(command)
    while os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if any(Path(folder).glob(pattern)):
            os.kill(running.pid, signal.SIGKILL)  # not its group, which it may not have made yet
            break
        time.sleep(PAUSE)
    return running.wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))

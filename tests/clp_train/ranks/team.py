"""Starts the ranks of small runs as processes of their own, and reads what each left."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

PATIENCE = 900  # seconds, on a busy machine


def free_port():
    """Return a port that nobody listens on."""
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(rank, size, port):
    """Return the variables that a launcher gives a rank."""
    own = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return os.environ | {name: str(value) for name, value in own.items()} | {"OMP_NUM_THREADS": "1"}


def start(command, size, port=None, of_rank=lambda rank: ()):
    """Start a command once a rank; return the processes. of_rank: more words of each rank's command."""
    port = port or free_port()
    return [
        subprocess.Popen(
            [*command, *of_rank(rank)], env=environment(rank, size, port), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(size)
    ]  # fmt: skip


def ends(processes, patience=PATIENCE):
    """Wait for processes; return (exit code, stdout, stderr) of each."""
    try:
        said = [process.communicate(timeout=patience) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *each) for process, each in zip(processes, said, strict=True)]


def run_cases(shard, cases, folder, size):
    """Do small runs by so many ranks; return case -> what each rank left, tensors by name."""
    folder.mkdir()
    listed = folder / "cases.json"
    listed.write_text(json.dumps(cases))
    command = [sys.executable, "-m", "tests.clp_train.ranks.worker", str(shard), str(listed), str(folder)]
    for code, out, err in ends(start(command, size)):
        assert code == 0, out + err
    failures = "".join(Path(path).read_text() for path in sorted(folder.glob("*.error")))
    assert not failures, failures
    return {name: [load_file(folder / f"{name}.rank{rank}.safetensors") for rank in range(size)] for name in cases}


def largest_difference(one, other):
    """Return by how much two runs' tensors differ at most, relative where numbers are larger than 1, and where."""
    assert one.keys() == other.keys()
    gaps = {
        name: float(((one[name] - other[name]).abs() / one[name].abs().clamp(min=1)).amax())
        for name in one
        if one[name].numel()
    }
    where = max(gaps, key=gaps.get)
    return gaps[where], where

"""Bilevel in somebody's DistributedDataParallel loop: two processes with half of each batch are one with all of it."""

import sys

from safetensors.torch import load_file

from tests.clp_train.ranks.team import ends, largest_difference, start


def test_two_processes_are_one(tmp_path):
    command = [sys.executable, "-m", "tests.clp_train.ranks.own_loop", str(tmp_path)]
    for size in (1, 2):
        for code, out, err in ends(start(command, size)):
            assert code == 0, out + err
    alone, first, second = (load_file(tmp_path / name) for name in FILES)
    assert largest_difference(first, second)[0] == 0
    assert largest_difference(alone, first)[0] < 1e-14


FILES = ("rank0of1.safetensors", "rank0of2.safetensors", "rank1of2.safetensors")

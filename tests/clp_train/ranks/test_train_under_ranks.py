"""clp-train by two processes: one result, one line where it fails, kills of either rank, and what is refused."""

import datetime
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from clp_aug.contract.errors import InputError
from clp_train.ranks.launching import joined, ranks_of
from tests.clp_train.ranks.team import ends, free_port, start
from tests.integration.test_kill_the_trainer import shard

__all__ = ["shard"]  # a fixture

SETTINGS = ["--epochs", "3", "--batch-size", "10", "--set", "checkpoint_interval=1", "--quiet", "--preset", "none"]
KILLS = int(os.environ.get("CLP_TEST_KILLS", "4"))  # in one run; more of them by hand
GO_ON = "; --resume continues from the last checkpoint"


def command(shard, out, *more):
    return [sys.executable, "-m", "clp_train", "--meta", str(shard), "--out", str(out), *SETTINGS, *more]


def train(shard, out, *more, size=2, of_rank=lambda rank: ()):
    """Train by so many ranks; return (exit code, stdout, stderr) of each."""
    return ends(start(command(shard, out, *more), size, of_rank=of_rank))


def refusals(said):
    """Return the lines on stderr of ranks that all ended with the same code, and that code."""
    codes = {code for code, _, _ in said}
    assert len(codes) == 1, said
    return [line for _, _, err in said for line in err.splitlines()], codes.pop()


def weights(folder):
    return {name: (folder / name).read_bytes() for name in ("last.safetensors", "selected.safetensors")}


@pytest.fixture(scope="module")
def whole(shard, tmp_path_factory):
    """A run of two ranks that nobody kills, and what its ranks said."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, train(shard, out)


def test_rank_0_alone_prints_and_writes(whole):
    out, said = whole
    assert [code for code, _, _ in said] == [0, 0]
    assert "wrote " in said[0][1]
    assert said[1][1:] == ("", "")
    result = json.loads((out / "result.json").read_text())
    assert result["versions"]["device"].endswith(", 2 ranks")
    assert not [path.name for path in out.iterdir() if "tmp" in path.name or path.name == ".lock"]


def test_it_counts_as_one_process_does(whole, shard, tmp_path):
    done = subprocess.run(command(shard, tmp_path / "one"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    alone, ranks = (json.loads((folder / "result.json").read_text()) for folder in (tmp_path / "one", whole[0]))
    assert alone["config"] | {"out": ""} == ranks["config"] | {"out": ""}
    assert alone["history"][0]["train_loss"] == pytest.approx(ranks["history"][0]["train_loss"], abs=1e-4)
    for split in ("val", "test"):
        assert [len(run["last"]["metrics"][split]["per_group"]) for run in (alone, ranks)] == [4, 4]


def killed(shard, out, rank, checkpoints, *more):
    """Start a run, kill one rank once so many checkpoints are written; return how all ended, and after what time."""
    file, seen = out / "checkpoint.safetensors", 0
    last = file.stat().st_ino if file.exists() else None
    ranks = start(command(shard, out, *more), 2)
    deadline = time.monotonic() + 300
    while seen < checkpoints and ranks[0].poll() is None and time.monotonic() < deadline:
        now = file.stat().st_ino if file.exists() else None
        seen, last = seen + (now not in (None, last)), now
        time.sleep(0.001)
    was_running = ranks[rank].poll() is None
    os.kill(ranks[rank].pid, signal.SIGKILL)
    start_of_end = time.monotonic()
    said = ends(ranks, 120)
    return was_running, said, time.monotonic() - start_of_end


def test_killed_and_resumed_it_is_the_same_run(whole, shard, tmp_path):
    drawn, out, kills = random.Random(3), tmp_path / "killed", 0
    for number in range(KILLS):
        more = ["--resume"] if (out / "checkpoint.safetensors").exists() else []
        rank = number % 2
        was_running, said, seconds = killed(shard, out, rank, drawn.randint(1, 2), *more)
        if not was_running:
            break
        kills += 1
        other = said[1 - rank]
        assert seconds < 100  # on a busy machine
        if other[0] == 0:  # it was done but for its end
            break
        assert other[0] == 3
        assert (
            other[2].splitlines()[-1] == f"error: another rank of 2 is gone, so rank {1 - rank} cannot continue{GO_ON}"
        )
        assert len([line for line in other[2].splitlines() if line.startswith("error")]) == 1
    assert kills >= KILLS // 2
    if not (out / "result.json").exists():
        assert [code for code, _, _ in train(shard, out, "--resume")] == [0, 0]
    assert weights(out) == weights(whole[0])


def test_another_number_of_ranks_goes_on_and_says_so(whole, shard, tmp_path):
    out = tmp_path / "run"
    killed(shard, out, 1, 2)
    done = subprocess.run(command(shard, out, "--resume"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "begun on cpu with 1 thread, 2 ranks, continued on cpu with" in done.stderr
    assert "bit-identical only on the same machine" in done.stderr


def test_a_finished_run_is_said_once(whole, shard):
    lines, code = refusals(train(shard, whole[0]))
    assert code == 2
    assert lines == [line for line in lines if "holds a result already" in line]
    assert len(lines) == 1


def test_ranks_with_other_settings_are_refused_before_the_first_step(shard, tmp_path):
    out = tmp_path / "run"
    lines, code = refusals(train(shard, out, of_rank=lambda rank: ["--lr", str(0.1 + rank)]))
    assert code == 3
    assert len(lines) == 1
    assert lines[0].startswith("error: ranks differ in lr: 0.1 on rank 0 (")
    assert "1.1 on rank 1 (" in lines[0]
    assert lines[0].endswith("; give all ranks the same command, data and versions")
    assert not out.exists()


def test_ranks_with_other_data_are_refused_before_the_first_step(shard, tmp_path):
    other = tmp_path / "other.h5"
    text = "from clp_aug.cli import augment; augment()"
    options = "--dataset demo --size 16 --limit 60 --meta 3/group --cf tile --f random --workers 1 --quiet --out"
    subprocess.run([sys.executable, "-c", text, *options.split(), str(other)], check=True, capture_output=True)
    said = train(shard, tmp_path / "run", of_rank=lambda rank: ["--meta", str(other)] if rank else [])
    lines, code = refusals(said)
    assert code == 3
    assert len(lines) == 1
    assert lines[0].startswith("error: ranks differ in the shard: ")


def test_what_one_rank_lacks_is_told_by_its_number(shard, tmp_path):
    said = train(shard, tmp_path / "run", of_rank=lambda rank: ["--meta", "gone.h5"] if rank else [])
    lines, code = refusals(said)
    assert code == 3
    assert len(lines) == 1
    assert "gone.h5" in lines[0]


def test_a_batch_smaller_than_the_ranks(shard, tmp_path):
    said = train(shard, tmp_path / "run", "--set", "meta_batch_size=2", "--batch-size", "2", size=3)
    lines, code = refusals(said)
    assert code == 2
    assert lines == [
        "error: batch_size 2: a batch has fewer pictures than there are ranks, 3; expected at least one for each"
        " rank; start fewer ranks, or raise batch_size"
    ]


def test_a_method_that_does_not_say_it_is_exact(shard, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("from clp_train.algorithm.method import Method\n\n\nclass Plain(Method):\n    'Cross entropy.'\n")
    lines, code = refusals(train(shard, tmp_path / "run", "--method", f"{mine}:Plain"))
    assert code == 2
    assert len(lines) == 1
    assert "it does not say that 2 ranks make the same run as one; expected its attribute exact_under_ranks" in lines[0]
    mine.write_text(mine.read_text() + "    exact_under_ranks = True\n")
    assert [code for code, _, _ in train(shard, tmp_path / "run", "--method", f"{mine}:Plain")] == [0, 0]


def test_one_process_has_no_batch_norm_of_ranks(shard, tmp_path):
    more = ["--set", "rank_batch_norm=local"]
    done = subprocess.run(command(shard, tmp_path / "run", *more), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "error: --set rank_batch_norm=local: has no effect in a run of one process; start several processes with"
        " torchrun; take --set rank_batch_norm=synchronised\n",
    )


def test_ranks_that_do_not_come(shard, tmp_path, monkeypatch):
    monkeypatch.setattr("clp_train.ranks.launching.MEETING", datetime.timedelta(seconds=2))
    port = free_port()
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    message = rf"rank 0 of 2: the ranks cannot connect at 127.0.0.1:{port} \("
    with pytest.raises(InputError, match=message), joined(ranks_of(os.environ)):
        pass


def test_variables_that_do_not_fit():
    for environment, message in [
        (
            {"WORLD_SIZE": "2"},
            f"WORLD_SIZE is set, but not RANK, MASTER_ADDR, MASTER_PORT; {START}",
        ),
        (VARIABLES | {"RANK": "x"}, "RANK is 'x'; expected a whole number, as torchrun sets it"),
        (VARIABLES | {"RANK": "2"}, "RANK is 2 and WORLD_SIZE 2; expected ranks from 0 to 1"),
    ]:
        with pytest.raises(InputError) as error:
            ranks_of(environment)
        assert str(error.value) == message


START = "start the ranks with torchrun"
VARIABLES = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}

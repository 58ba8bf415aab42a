"""The end of a run: killed at any moment it is finished later; a page it lacks fails nothing; complete is no error."""

import dataclasses
import itertools
import json
import os
import re
import shutil
import sys

import pytest
import torch

from clp_aug.contract.errors import InputError
from clp_train import finishing, leaving, run_folder
from clp_train.run_folder import CARD, CHECKPOINT, CLASSIFIER, DESCRIPTION, END, LAST, PAGE, RESULT, SELECTED
from tests.clp_train.builders import make_demo_shard, train
from tests.clp_train.door.calling import call
from tests.clp_train.resuming import short
from tests.forked import code_in_a_fork

QUICK = ("--method", "erm", "--epochs", 1, "--batch-size", 40, "--quiet")
KILLED = 9
TABLES = ("predictions-val.csv", "predictions-test.csv")
WHOLE = (LAST, SELECTED, DESCRIPTION, CARD, *TABLES, PAGE, RESULT)
"""What a run leaves beside the state at its end, in the order in which it is written."""


@pytest.fixture(scope="module")
def original(demo_shard, tmp_path_factory):
    """The folder of a run, finished."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    assert call("--meta", demo_shard, *QUICK, "--out", folder).exit_code == 0
    return folder


@pytest.fixture
def finished(original, tmp_path):
    """A copy of it."""
    return shutil.copytree(original, tmp_path / "a")


@pytest.fixture
def again(demo_shard, finished):
    """Give the command again, with --resume and more."""
    return lambda *more: call("--meta", demo_shard, *QUICK, "--out", finished, "--resume", *more)


def contents(folder):
    """Return every file of a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_complete_run_is_told_as_one(finished, again):
    before = contents(finished)
    result = again()
    assert (result.exit_code, result.stderr) == (0, "")
    assert "erm on demo: resnet8, seed 0" in result.stdout
    assert f"{finished} is complete: nothing to do; next: clp-train --meta" in result.stdout.splitlines()[-1]
    assert contents(finished) == before
    assert json.loads(again("--json").stdout) == json.loads(before[RESULT])
    assert contents(finished) == before


def test_a_page_that_is_not_there_is_made(demo_shard, finished, again):
    before = contents(finished)
    (finished / PAGE).unlink()
    (finished / CHECKPOINT).write_text("of a run that was killed before it could be removed")
    refused = call("--meta", demo_shard, *QUICK, "--out", finished)
    assert refused.exit_code == 2
    assert refused.stderr == (f"error: {finished} holds a result already, but no page.html: give --resume to make it\n")
    result = again()
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1].startswith(f"wrote {finished}/page.html; next: ")
    assert contents(finished) == before


def test_a_classifier_is_exported_later(finished, again):
    before = contents(finished)
    result = again("--export")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1].startswith(
        f"wrote {finished}/classifier.pt2; next: clp-augment --dataset demo"
    )
    after = contents(finished)
    assert after.pop(CLASSIFIER)
    assert after == before
    x = torch.rand(2, 3, 16, 16)
    assert torch.export.load(finished / CLASSIFIER).module()(x).shape == (2, 2)


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ([LAST], ["last.safetensors is missing; only another run can make it"]),
        ([LAST, PAGE], ["last.safetensors is missing; only another run can make it"]),
        (
            [SELECTED, PAGE],
            [
                "selected.safetensors is missing; only another run can make it",
                "page.html cannot be made without selected.safetensors",
            ],
        ),
    ],
    ids=["last", "last and page", "selected and page"],
)
def test_what_cannot_be_made_is_named(finished, again, gone, words):
    for name in gone:
        (finished / name).unlink()
    result = again()
    assert result.exit_code == 0
    assert result.stderr == "".join(f"warning: {word}\n" for word in words)
    assert (finished / PAGE).exists() == (SELECTED not in gone)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--lr", 0.5], "holds the result of a run with lr = 0.1, now 0.5; choose another --out"),
        (["--seed", 1], "holds the result of a run with seed = 0, now 1; choose another --out"),
        (["--method", "cb-ce"], "holds the result of a run with method = 'erm', now 'cb-ce'; choose another --out"),
    ],
)
def test_the_result_of_another_run_is_not_taken_for_this_one(finished, again, more, message):
    result = again(*more)
    assert (result.exit_code, result.stderr) == (2, f"error: {finished} {message}\n")


def test_nor_is_one_on_another_shard(finished, tmp_path):
    shard = make_demo_shard(tmp_path / "other.h5", size=16, per_group=1, train=80, settings={"meta": "1/group"})
    result = call("--meta", shard, *QUICK, "--out", finished, "--resume")
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {finished} holds the result of a run on another shard than {shard}; choose another --out\n"
    )


@pytest.mark.parametrize(
    ("damaged", "message"),
    [(SELECTED, "not the weights of this run"), (RESULT, "not readable as JSON")],
)
def test_damaged_files_are_one_line(finished, again, damaged, message):
    (finished / PAGE).unlink()
    (finished / damaged).write_bytes((finished / damaged).read_bytes()[:100])
    result = again()
    assert result.exit_code == 3
    assert f"{damaged}: {message}" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [InputError("cannot write page.html (I/O error); look at the disk"), KeyError("x")])
def test_a_page_that_cannot_be_written_fails_no_run(demo_shard, tmp_path, monkeypatch, error):
    def refuse(*_):
        raise error

    arguments = ("--meta", demo_shard, *QUICK, "--out", tmp_path / "r")
    with monkeypatch.context() as patched:
        patched.setattr(leaving, "write_result_page", refuse)
        result = call(*arguments)
        assert result.exit_code == 0
        command = f"clp-train --meta {demo_shard} --method erm --epochs 1 --batch-size 40 --out {tmp_path}/r --resume"
        assert result.stderr == f"warning: no page.html: {error}; the run is complete: {command} makes the rest\n"
        assert f"wrote {tmp_path}/r/result.json and the weights beside it" in result.stdout
        assert call(*arguments, "--resume").stderr == result.stderr, "told again"
    assert call(*command.split()[1:]).exit_code == 0
    assert (tmp_path / "r" / PAGE).exists()


def config_in(folder, config):
    """Return a configuration with another folder."""
    return dataclasses.replace(config, run=dataclasses.replace(config.run, out=folder))


@pytest.fixture(scope="module")
def at_the_end(demo_shard, loaded, tmp_path_factory):
    """A run that has done its last step and not written what it leaves: its configuration, and what it is."""
    config = short(demo_shard, tmp_path_factory.mktemp("end"), method="erm", epochs=1, batch_size=40)
    run_folder.make_folder(config.folder)
    return config, train(config, loaded, checkpoint=run_folder.checkpoint_of(config.folder, config.as_json(), loaded))


def exit_at(moment, folder):
    """Let this process end, as if killed, before its n-th change to the disk below a folder."""
    left = [moment]

    def count(*_):
        left[0] -= 1
        if left[0] < 0:
            os._exit(KILLED)

    def watch(event, arguments):
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (writes or event in ("os.rename", "os.remove", "os.mkdir")) and str(folder) in str(arguments[0]):
            count()

    fsync = os.fsync
    os.fsync = lambda handle: (count(), fsync(handle))
    sys.addaudithook(watch)


def conclude_killed(config, loaded, outcome, moment):
    """Write what a run leaves in a process of its own that is killed at a moment; return whether it was."""

    def work():
        exit_at(moment, config.folder)
        with run_folder.folder_for(config.folder, resume=True):
            finishing.conclude(config, loaded, outcome, "cpu")

    code = code_in_a_fork(work)
    assert code in (0, KILLED), "what it printed stands above"
    return code == KILLED


def go_on(config, loaded):
    """Do what --resume does."""
    with run_folder.folder_for(config.folder, resume=True):
        if run_folder.is_finished(config.folder):
            return finishing.complete(config)
        checkpoint = run_folder.checkpoint_of(config.folder, config.as_json(), loaded)
        return finishing.conclude(config, loaded, train(config, loaded, checkpoint=checkpoint, resume=True), "cpu")


def without_seconds(text):
    """Return a page or a result without the time that the run took, and without its folder."""
    return re.sub(r'[\d.]+ s of training|"(cpu_)?seconds": [\d.]+|[^ "<>]*/folder\d+', "", text.decode())


def test_killed_at_any_moment_it_is_finished_later(loaded, at_the_end, tmp_path, monkeypatch):
    config, outcome = at_the_end
    monkeypatch.setattr(finishing, "load", lambda *_: loaded)
    states, first, killed, moment = [], None, True, 0
    while killed:
        ours = config_in(tmp_path / f"folder{moment}", config)
        shutil.copytree(config.folder, ours.folder)
        killed = conclude_killed(ours, loaded, outcome, moment)
        states.append({re.sub(r"\.tmp-.*", ".tmp", path.name) for path in ours.folder.iterdir()})
        moment += 1
        if states[-1:] == states[-2:-1]:
            continue  # it only brought something to the disk
        go_on(ours, loaded)
        left = contents(ours.folder)
        first = first or left
        assert set(left) == {*WHOLE, END}, "no litter, no state, no lock"
        assert [left[name] for name in (LAST, SELECTED)] == [first[name] for name in (LAST, SELECTED)]
        assert [without_seconds(left[name]) for name in (PAGE, RESULT)] == [
            without_seconds(first[name]) for name in (PAGE, RESULT)
        ]
    states = [{name for name in names if not name.endswith(".tmp")} for names in states]
    order = [".lock", *WHOLE]
    expected = [{CHECKPOINT, END, *order[:n]} for n in range(len(order) + 1)]
    assert expected == [s for s, _ in itertools.groupby(states)][: len(expected)], "the result is last"
    assert states[-1] == {*WHOLE, END}

"""A node of a cluster agrees with the queue on disk, locks, code and variables, or is named."""

import dataclasses
import os
import re

import pytest

from clp_aug.contract.errors import InputError
from clp_train.bench import node
from clp_train.bench.node import code_digest, do_job, origin_at, settle
from tests.clp_train.bench.small_jobs import job, litter


@pytest.fixture
def origin(tmp_path, monkeypatch):
    """A queue in a folder, seen from a node called n7."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CLP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("socket.gethostname", lambda: "n7")
    with origin_at(tmp_path) as origin:
        yield origin
    for name in [name for name in os.environ if name.startswith("CLP_")]:
        del os.environ[name]


def test_a_node_works_where_and_with_what_the_queue_does(origin, tmp_path, monkeypatch):
    monkeypatch.setenv("CLP_OLD", "1")
    monkeypatch.chdir("/")
    settle(dataclasses.replace(origin, variables={"CLP_NEW": "2"}))
    assert {name: value for name, value in os.environ.items() if name.startswith("CLP_")} == {"CLP_NEW": "2"}
    assert os.getcwd() == str(tmp_path)


def test_a_node_with_other_code_is_named(origin):
    with pytest.raises(InputError, match=r"^node n7 has another version of this package; install that of this"):
        settle(dataclasses.replace(origin, code="x"))


@pytest.mark.parametrize("what", ["folder", "token"])
def test_a_node_without_the_disk_is_named(origin, tmp_path, what):
    lacking = {"folder": tmp_path / "lacking", "token": tmp_path / "w" / "t.lock"}[what]
    work = origin.token.parent if what == "folder" else lacking.parent
    with pytest.raises(InputError, match=re.escape(f"node n7 does not see {work}, where this queue works; give")):
        settle(dataclasses.replace(origin, **{what: lacking}))


def test_a_node_without_the_locks_is_named(origin, tmp_path):
    free = tmp_path / ".free.lock"
    free.write_text("")
    with pytest.raises(InputError, match=re.escape(f"node n7 does not see the locks in {tmp_path}; give a --work")):
        settle(dataclasses.replace(origin, token=free))


def test_a_job_is_done_by_the_command_beside_this_python(origin, tmp_path):
    one = job(tmp_path, "one", "import os; assert os.environ['OMP_NUM_THREADS'] == '3'")
    moved = dataclasses.replace(one, command=("/elsewhere/bin/python", *one.command[1:]))
    ending = do_job(moved, 3, None, origin)
    assert (ending.made, ending.failure, ending.again) == (True, "", False)
    assert ending.seconds > 0
    assert do_job(moved, 3, None, origin).again, "it is done already"
    assert one.makes.read_text() == "x"
    assert litter(tmp_path) == [origin.token.name]


def test_a_job_that_fails_says_why(origin, tmp_path):
    one = job(tmp_path, "one", "print('error: no'); raise SystemExit(3)")
    assert do_job(one, 1, None, origin).failure == "exit code 3: error: no"


def test_tokens_of_killed_queues_are_removed(tmp_path):
    (tmp_path / ".ray-0123.lock").write_text("")
    with origin_at(tmp_path) as first, origin_at(tmp_path) as second:
        assert sorted(tmp_path.iterdir()) == sorted([first.token, second.token])
    assert not list(tmp_path.iterdir())


def test_the_digest_of_the_code_changes_with_sources_and_presets(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "ROOT", tmp_path)
    (tmp_path / "clp_train" / "presets").mkdir(parents=True)
    seen = set()
    for name, text in (("a.py", "1"), ("a.py", "2"), ("presets/p.toml", "1"), ("note.txt", "1"), ("a.pyc", "1")):
        (tmp_path / "clp_train" / name).write_text(text)
        code_digest.cache_clear()
        seen.add(code_digest())
    code_digest.cache_clear()
    assert len(seen) == 3

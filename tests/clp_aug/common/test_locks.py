import subprocess
import sys
import threading

import pytest

from clp_aug.common.locks import held_for, is_held, lock_of
from clp_aug.contract.errors import InputError, UsageError

HOLDER = (
    "import os, pathlib, sys\nfrom clp_aug.common.locks import held_for\n"
    "with held_for(pathlib.Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path/x until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "x")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_is_refused_in_one_line_and_the_next_is_not(tmp_path, holder):
    message = r"another run is writing to .*x; wait for it to end, or choose another --out"
    with pytest.raises(UsageError, match=message), held_for(tmp_path / "x"):
        pass
    with held_for(tmp_path / "y"):
        holder.communicate()
    with held_for(tmp_path / "x"):
        pass
    assert not list(tmp_path.iterdir()), "no lock is left behind"


def test_the_lock_of_a_killed_process_is_free(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert lock_of(tmp_path / "x").exists()
    with held_for(tmp_path / "x"):
        pass
    assert not list(tmp_path.iterdir())


def test_one_that_waits_comes_after_the_other(tmp_path, holder):
    order = []

    def wait():
        with held_for(tmp_path / "x", wait=True):
            order.append("mine")

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.3)
    order.append("theirs")
    holder.communicate()
    thread.join()
    assert order == ["theirs", "mine"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("n" * 256, "(File name too long); choose a shorter name"),
        ("a\0b", "(it has a null character); choose another name"),
        ("file/x", "(Not a directory); a part of the path is a file; choose another place"),
    ],
    ids=["long", "null", "under a file"],
)
def test_a_place_that_takes_no_lock_is_one_line(tmp_path, name, why):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^cannot write ") as caught, held_for(tmp_path / name):
        pass
    assert str(caught.value).endswith(why)


def test_what_fails_within_frees_the_lock(tmp_path):
    with pytest.raises(KeyError), held_for(tmp_path / "x"):
        raise KeyError
    with held_for(tmp_path / "x"):
        pass


def test_a_lock_may_lie_elsewhere(tmp_path):
    place = tmp_path / "x" / "lock"
    with held_for(tmp_path / "x", place=place):
        assert place.exists()
        assert not lock_of(tmp_path / "x").exists()
        with pytest.raises(UsageError, match=r"writing to .*/x; wait"), held_for(tmp_path / "x", place=place):
            pass
    assert not list((tmp_path / "x").iterdir())


def test_whether_somebody_holds_a_lock(tmp_path, holder):
    place = lock_of(tmp_path / "x")
    assert is_held(place)
    holder.kill()
    holder.wait()
    assert place.exists()
    assert not is_held(place)
    assert not list(tmp_path.iterdir()), "what a dead process left is removed"
    assert not is_held(tmp_path / "nowhere" / "lock")
    assert not list(tmp_path.iterdir()), "nothing is made to find out"

"""The exported classifier: whole or not at all, also where the disk refuses."""

import resource

import pytest

from clp_aug.contract.errors import InputError
from clp_train.running.export import export_classifier
from tests.clp_train.builders import network_of
from tests.forked import code_in_a_fork


def test_a_disk_that_takes_no_more_is_one_line(tmp_path):
    """In a process of its own: torch ends the one in which a file refuses."""

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        with pytest.raises(InputError) as caught:
            export_classifier(network_of().float(), 16, tmp_path / "c.pt2")
        assert str(caught.value).startswith(f"cannot write {tmp_path}/c.pt2 (File too large); ")

    assert code_in_a_fork(work) == 0, "what it printed stands above"
    assert not list(tmp_path.iterdir())

"""The exported classifier: whole or not at all, also where the disk refuses."""

import os
import resource

from clp_aug.contract.errors import InputError
from clp_train.running.export import export_classifier
from tests.clp_train.builders import network_of


def test_a_disk_that_takes_no_more_is_one_line(tmp_path):
    """In a process of its own: torch ends the one in which a file refuses."""
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            export_classifier(network_of().float(), 16, tmp_path / "c.pt2")
        except InputError as error:
            os._exit(0 if str(error).startswith(f"cannot write {tmp_path}/c.pt2 (File too large); ") else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not list(tmp_path.iterdir())

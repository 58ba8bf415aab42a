"""Whether the disk or the file is at fault, by what h5py raises."""

import errno

import h5py
import pytest

from clp_aug.contract.damage import UNREADABLE, errno_of

REFUSED = "Unable to synchronously open object (file read failed: time = x\n, filename = 'a.h5', errno = 5, buf = 0x1)"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.EMFILE, "Too many open files"), errno.EMFILE),
        (OSError("Can't synchronously read data (Fletcher32 checksum failed)"), None),
        (OSError(REFUSED), errno.EIO),
        (KeyError(REFUSED), errno.EIO),
        (RuntimeError(REFUSED.replace("5", "24")), errno.EMFILE),
        (KeyError("Unable to synchronously open object (incorrect metadata checksum after all read attempts)"), None),
        (RuntimeError("Can't synchronously determine if attribute exists by name (wrong version)"), None),
        (ValueError(REFUSED), None),
    ],
)
def test_the_number_of_the_disk_is_told_from_a_damaged_file(error, code):
    assert errno_of(error) == code


def test_h5py_itself_says_what_the_disk_said(tmp_path):
    with pytest.raises(UNREADABLE) as missing:
        h5py.File(tmp_path / "none.h5", "r")
    assert errno_of(missing.value) == errno.ENOENT
    (tmp_path / "none.h5").write_bytes(b"no such file")
    with pytest.raises(UNREADABLE) as damaged:
        h5py.File(tmp_path / "none.h5", "r")
    assert errno_of(damaged.value) is None

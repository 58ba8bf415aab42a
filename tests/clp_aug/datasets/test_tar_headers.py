import gzip
import io
import random
import tarfile

import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets.tar_headers import BLOCK, entries_of
from tests.clp_aug.datasets.tar_builders import add, picture, samples, write_tar

FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def listed(path):
    with open(path, "rb") as file:
        return list(entries_of(file, path.stat().st_size, str(path)))


def by_tarfile(path):
    """The oracle: what Python's own module finds."""
    with tarfile.open(path) as tar:
        return [(info.name, info.offset_data, info.size) for info in tar if info.isfile()]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_entries_are_those_of_tarfile(tmp_path, form):
    draw = random.Random(form)
    for k in range(40):
        names = {
            f"{'d' * draw.choice((0, 1, 99, 120))}/{draw.randrange(10**6)}.x".lstrip("/")
            for _ in range(draw.randrange(9))
        }
        if form != tarfile.USTAR_FORMAT:
            names |= {f"é{draw.randrange(99)}/" + "日本" * draw.choice((1, 40)), "n" * draw.choice((100, 101, 300))}
        path = write_tar(tmp_path / f"{k}.tar", {n: bytes(draw.randrange(1300)) for n in sorted(names)}, form)
        assert listed(path) == by_tarfile(path)


def test_records_of_pax_and_folders_are_understood(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "all"}) as tar:
        folder = tarfile.TarInfo("cat")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        info = tarfile.TarInfo("./cat/1.jpg")
        info.size, info.mtime, info.pax_headers = 3, 1.5, {"size": "3", "SCHILY.xattr.user": "a=b\nc"}
        tar.addfile(info, io.BytesIO(b"abc"))
    assert [(entry.name, entry.size) for entry in listed(tmp_path / "a.tar")] == [("cat/1.jpg", 3)]


def test_a_size_in_binary_is_read(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x" * 600})
    data = bytearray(path.read_bytes())
    data[124:136] = b"\x80" + (600).to_bytes(11, "big")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:BLOCK])
    path.write_bytes(data)
    assert listed(path) == [("a.jpg", 512, 600)] == by_tarfile(path)


LINKS = [
    (tarfile.SYMTYPE, "cat/1.jpg is a link; make the tar file again with tar --dereference --hard-dereference"),
    (tarfile.LNKTYPE, "cat/1.jpg is a hard link; make"),
    (tarfile.FIFOTYPE, "cat/1.jpg is a pipe; expected plain files, make the tar file again"),
    (tarfile.CHRTYPE, "cat/1.jpg is a device"),
    (tarfile.GNUTYPE_SPARSE, "cat/1.jpg is a sparse file"),
    (b"Q", "cat/1.jpg is of kind b'Q'"),
]


@pytest.mark.parametrize(("kind", "message"), LINKS, ids=["link", "hard-link", "pipe", "device", "sparse", "unknown"])
def test_what_is_no_file_is_refused(tmp_path, kind, message):
    info = tarfile.TarInfo("cat/1.jpg")
    info.type, info.linkname = kind, "cat/0.jpg"
    with pytest.raises(InputError, match=message):
        listed(add(tmp_path / "a.tar", info))


def test_sparse_files_of_pax_are_refused(tmp_path):
    info = tarfile.TarInfo("cat/1.jpg")
    info.pax_headers = {"GNU.sparse.major": "1"}
    with pytest.raises(InputError, match=r"is a sparse file; expected plain files"):
        listed(add(tmp_path / "a.tar", info))


@pytest.mark.parametrize("name", ["/etc/x.jpg", "../x.jpg", "a/../../x.jpg"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"member .*x\.jpg leads out of the tar file; rename it"):
        listed(add(tmp_path / "a.tar", tarfile.TarInfo(name)))


@pytest.mark.parametrize("name", ["a\nb.jpg", "\udcff.jpg"])
def test_names_that_are_none_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"a member has the name .*; expected a path in UTF-8, rename it"):
        listed(add(tmp_path / "a.tar", tarfile.TarInfo(name)))


def test_every_cut_is_told(tmp_path):
    whole = write_tar(tmp_path / "a.tar", samples(2)).read_bytes()
    end = len(whole.rstrip(b"\0")) // BLOCK * BLOCK + BLOCK
    path = tmp_path / "b.tar"
    for at in [*range(0, end, 97), *range(0, end + 1, BLOCK)]:
        path.write_bytes(whole[:at])
        with pytest.raises(InputError, match=r"the file was cut off; fetch it or make it again$"):
            listed(path)
    path.write_bytes(whole[: end + BLOCK])
    assert listed(path) == listed(tmp_path / "a.tar")


def test_other_files_are_told(tmp_path):
    path = tmp_path / "a.tar"
    tar = write_tar(tmp_path / "t.tar", samples(1)).read_bytes()
    for data, message in (
        (
            gzip.compress(tar),
            r"compressed with gzip, but pictures are read at any place in it; unpack it \(gunzip\)",
        ),
        (picture() * 4, "not a tar file; expected one from tar, or from webdataset's TarWriter"),
        (b"PK\x03\x04" + bytes(600), "compressed with zip"),
        (tar + tar, r"there is data after its end at .* bytes, as in joined tar files; name each of them"),
        (tar[:BLOCK] + bytes(BLOCK)[:-1] + b"x" + tar[2 * BLOCK :], None),
        (b"", r"the file is empty \(0 bytes\); the file was cut off"),
    ):
        path.write_bytes(data)
        if message is None:
            listed(path)
            continue
        with pytest.raises(InputError, match=message):
            listed(path)
    damaged = bytearray(tar)
    second = listed(tmp_path / "t.tar")[1].start - BLOCK
    damaged[second + 3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(
        InputError, match=rf"no header at {second:,} bytes; the file is damaged, fetch it or make it again"
    ):
        listed(path)


def test_a_size_larger_than_the_file_is_told_before_anything_is_read(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"a.jpg": b"x"})
    data = bytearray(path.read_bytes())
    data[124:136] = b"\x80" + (1 << 60).to_bytes(11, "big")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:BLOCK])
    path.write_bytes(data)
    with pytest.raises(
        InputError, match=r"a\.jpg has 1,152,921,504,606,846,976 bytes, but only 9,728 are left; the file was c"
    ):
        listed(path)

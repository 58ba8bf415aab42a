"""What strangers' folders hold: each problem gives one line on stderr, the right exit code, and no shard."""

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clp_aug.cli import augment
from clp_aug.contract.shards import ShardReader
from clp_aug.inspect_cli import inspect


def picture(seed, mode="RGB", size=(24, 24)):
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values).convert(mode)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def root(tmp_path):
    """Two classes of six good pictures; of each one is held out as test data."""
    for label in ("cat", "dog"):
        (tmp_path / "pictures" / "train" / label).mkdir(parents=True)
        for i in range(6):
            (tmp_path / "pictures" / "train" / label / f"{i}.png").write_bytes(encoded(picture(i)))
    return tmp_path / "pictures"


def run(root, *more, dataset="folder"):
    out = root.parent / "x.h5"
    arguments = ["--dataset", dataset, "--root", str(root), "--cf", "grey", "--f", "random", "--meta", "2/class"]
    if not {"--matte", "--masks", "--boxes"} & set(more):
        more = ("--matte", "grabcut", *more)  # the pictures are noise: hatt finds no object in them
    result = CliRunner().invoke(augment, [*arguments, "--workers", "1", "--out", str(out), "--quiet", *more])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result, out


def refused(root, *more, code=3, dataset="folder"):
    result, out = run(root, *more, dataset=dataset)
    assert result.exit_code == code, result.output
    assert not out.exists()
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def bomb():
    """A valid PNG header that promises 60,000 x 60,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6
JPEG = encoded(picture(0, size=(64, 64)), "JPEG")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("cut.jpg", JPEG[: len(JPEG) // 2], "broken file (image file is truncated"),
        ("empty.jpg", b"", "the file is empty (0 bytes); replace it or remove it"),
        ("bomb.png", bomb(), "more than 89,478,485 pixels; shrink it or remove it"),
        ("text.png", b"hello, this is no picture", "not a JPEG, PNG, WEBP, BMP, GIF, TIFF, "),
    ],
)
def test_pictures_that_cannot_be_read(root, name, data, message):
    (root / "train" / "cat" / name).write_bytes(data)
    line = refused(root, "--matte", "grabcut", "--meta", "2/class", "--size", "24")
    assert f"cat/{name}: " in line
    assert message in line


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("grey.png", encoded(picture(1, "L"))),
        ("rgba.png", encoded(picture(1, "RGBA"))),
        ("la.png", encoded(picture(1, "LA"))),
        ("palette.png", encoded(picture(1, "P"))),
        ("bilevel.png", encoded(picture(1, "1"))),
        ("cmyk.jpg", encoded(picture(1, "CMYK"), "JPEG")),
        ("sixteen.png", encoded(Image.fromarray((np.arange(576, dtype=np.uint16) * 113).reshape(24, 24)))),
        ("turned.jpg", encoded(picture(1, size=(30, 20)), "JPEG", exif=TURNED)),
        ("wide.bmp", encoded(picture(1, size=(90, 11)), "BMP")),
        ("dot.png", encoded(picture(1, size=(1, 1)))),
        ("web.webp", encoded(picture(1), "WEBP")),
        ("moving.gif", encoded(picture(1), "GIF", save_all=True, append_images=[picture(2)])),
        ("pages.tiff", encoded(picture(1), "TIFF", save_all=True, append_images=[picture(2)])),
        ("camera.JFIF", encoded(picture(1), "JPEG")),
        ("map.ppm", encoded(picture(1), "PPM")),
        ("gif.png", encoded(picture(1), "GIF")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_pictures_of_every_kind_are_read(root, name, data):
    for file in (root / "train" / "cat").iterdir():
        file.unlink()
    for i in range(4):
        (root / "train" / "cat" / f"{i}-{name}").write_bytes(data)
    result, out = run(root, "--size", "24")
    assert result.exit_code == 0, result.output
    assert ShardReader(out).shape == (12, 24, 24, 3)


def test_sixteen_bits_become_eight_and_transparency_lies_on_white(root):
    from clp_aug.contract.images import read_rgb

    sixteen = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    assert read_rgb(encoded(sixteen), "x")[0, :, 0].tolist() == [0, 100, 255]
    clear = Image.new("RGBA", (1, 1), (10, 20, 30, 0))
    assert read_rgb(encoded(clear), "x").tolist() == [[[255, 255, 255]]]


def test_settings_that_cannot_be(root):
    assert "nothing to make" in CliRunner().invoke(augment, ["--dataset", "demo"]).stderr
    assert "fill 'fgsm' attacks a classifier" in refused(root, "--f", "fgsm", code=2)
    assert "fill 'lama' needs LaMa's network as TorchScript" in refused(root, "--cf", "lama", code=2)
    assert "data set folder has no masks or boxes; give --masks DIR or --boxes FILE" in refused(
        root, "--matte", "given", code=2
    )
    assert "class 'cat' has" in refused(root, "--meta", "9/class", code=2)
    assert "noise 'uniform:1': expected one of uniform, " in refused(root, "--noise", "uniform:1", code=2)
    assert "not an exported program" in refused(
        root, "--f", "fgsm", "--classifier", str(root / "train" / "cat" / "0.png")
    )
    assert "No such file" in refused(root, "--f", "fgsm", "--classifier", str(root / "none.pt2"))


def test_a_noise_rate_of_nothing_is_a_shard_with_right_labels(root):
    result, out = run(root, "--noise", "uniform:0", "--size", "24")
    assert result.exit_code == 0, result.output
    tables = ShardReader(out).tables
    assert tables["train/label"].tolist() == [0] * 3 + [1] * 3


def test_missing_places(root, tmp_path):
    assert f"data set folder: no folder at {tmp_path}/nowhere; give it with --root DIR" in refused(tmp_path / "nowhere")
    (tmp_path / "hollow").mkdir()
    assert "hollow" in refused(tmp_path / "hollow")
    (tmp_path / "file").write_text("")
    result, _ = run(root, "--out", str(tmp_path / "file" / "x.h5"))
    assert result.exit_code == 3
    assert "cannot write" in result.stderr
    assert "(Not a directory); a part of the path is a file" in result.stderr


def test_one_class(tmp_path):
    (tmp_path / "pictures" / "cat").mkdir(parents=True)
    for i in range(5):
        (tmp_path / "pictures" / "cat" / f"{i}.png").write_bytes(encoded(picture(i)))
    line = refused(tmp_path / "pictures", "--f", "mix-rand")
    assert "data set folder: it has one class, cat; a classifier needs two" in line


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("img_id,img_filename,y,split\n0,a.jpg,0,0\n", "no column place in the header"),
        ("img_id,img_filename,y,split,place\n3,a.jpg,0,0,0\n3,b.jpg,1,0,1\n", "3"),
        ("img_id,img_filename,y,split,place\n0,a.jpg,2,0,0\n", "2"),
        ("img_id,img_filename,y,split,place\n", "the table is empty"),
    ],
    ids=["missing column", "duplicate id", "wrong label", "no rows"],
)
def test_tables_that_cannot_be_used(root, table, message):
    (root / "metadata.csv").write_text(table)
    for name in ("a.jpg", "b.jpg"):
        (root / name).write_bytes(JPEG)
    line = refused(root, dataset="waterbirds")
    assert "metadata.csv" in line
    assert message in line


def test_too_many_fallbacks(root, tmp_path):
    (root.parent / "masks").mkdir()
    Image.new("L", (24, 24), 0).save(root.parent / "masks" / "unused.png")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,x0,y0,x1,y1\ntrain/cat/0.png,2,2,9,9\n")
    line = refused(root, "--boxes", str(boxes), code=4)
    assert "matte given gave no usable box for 9 of 10 pictures" in line


def test_a_full_disk_is_one_line(root, monkeypatch):
    from clp_aug.contract.blank import Blank

    def full(self, name, start, values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Blank, "fill", full)
    assert "(No space left on device); free some space" in refused(root)


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_write_that_is_cut_short_leaves_no_shard(root, tmp_path):
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from clp_aug.cli import augment; augment()"
    )
    out = tmp_path / "x.h5"
    arguments = ["--dataset", "folder", "--root", str(root), "--cf", "grey", "--out", str(out), "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments, "--meta", "4/class", "--size", "64", "--quiet"],
        capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "(File too large); choose a place that takes larger files" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_inspect_refuses_what_is_no_shard(tmp_path):
    (tmp_path / "x.h5").write_text("hello")
    result = CliRunner().invoke(inspect, [str(tmp_path / "x.h5")])
    assert result.exit_code == 3
    assert "not an HDF5 file, or cut short" in result.stderr
    result = CliRunner().invoke(inspect, [str(tmp_path / "y.h5")])
    assert result.exit_code == 3
    assert "no such file; make it with clp-augment" in result.stderr

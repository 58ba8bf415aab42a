"""Both makers of data sets, where another run has the place, a file cannot be read, or the disk refuses."""

import errno
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clp_aug.common.locks import held_for
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.datasets import base, load_dataset
from clp_aug.making import glt, waterbirds
from clp_aug.making.glt import GltConfig
from tests.clp_aug.making.birds import settings

FAULTS = {
    "os.replace": errno.EACCES, "os.fsync": errno.EIO, "os.mkdir": errno.EROFS, "builtins.open": errno.EMFILE,
    "pathlib.Path.write_bytes": errno.ENOSPC, "pathlib.Path.write_text": errno.EDQUOT,
    "PIL.Image.Image.save": errno.EIO,
}  # fmt: skip
"""What refuses, from the middle of a run on, and why."""


@pytest.fixture
def colours(tmp_path):
    """Three classes of 40 pictures in five colours, with boxes."""
    root, boxes = tmp_path / "colours", ["file,x0,y0,x1,y1"]
    for i in range(120):
        path = root / f"n{i % 3}" / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = np.random.default_rng(i).normal((40 * (i % 5 + 1), 128, 80 * (i % 3)), 1, (8, 8, 3))
        Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8)).save(path)
        boxes.append(f"n{i % 3}/{path.name},1,1,7,7")
    (root / "boxes.csv").write_text("\n".join(boxes) + "\n")
    return root


def no_progress(stage, total):
    return nullcontext(lambda done: None)


def make_birds(root, progress=no_progress):
    waterbirds.make(settings(root), progress)


def make_beside(root, progress=no_progress):
    glt.make(GltConfig(str(root / "colours"), features="thumbnail", imbalance=2.0), progress)


def make_copy(root, progress=no_progress):
    glt.make(GltConfig(str(root / "colours"), features="thumbnail", imbalance=2.0, out=root / "set"), progress)


MAKERS = {"birds": make_birds, "beside": make_beside, "copy": make_copy}
OUTPUT = {"birds": "set", "beside": "colours/generated_glt.json", "copy": "set"}


def files_of(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("which", MAKERS)
def test_a_second_run_for_one_output_is_refused_at_once(sources, colours, which):
    out = sources / OUTPUT[which]
    with (
        held_for(out),
        pytest.raises(UsageError, match=rf"another run is writing to {out}; wait for it to end, or choose another"),
    ):
        MAKERS[which](sources, lambda stage, total: pytest.fail(f"{stage} began"))
    MAKERS[which](sources)
    with pytest.raises(UsageError, match=rf"{out}: it exists already; give "):
        MAKERS[which](sources, lambda stage, total: pytest.fail(f"{stage} began"))


@pytest.mark.parametrize(("where", "code"), FAULTS.items(), ids=FAULTS)
@pytest.mark.parametrize("which", MAKERS)
def test_a_disk_that_refuses_is_one_line_and_leaves_what_was_there(sources, colours, monkeypatch, which, where, code):
    before, told = files_of(sources), None

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    def progress(stage, total):
        if stage in ("COMPOSE", "CLUSTER", "COPY"):
            monkeypatch.setattr(where, refuse)
        return no_progress(stage, total)

    try:
        MAKERS[which](sources, progress)
    except InputError as error:
        told = str(error)
    monkeypatch.undo()
    if told is not None:
        assert files_of(sources) == before
        assert told.startswith("cannot write ")
        assert os.strerror(code) in told
        assert "\n" not in told
        MAKERS[which](sources)
    assert not [name for name in files_of(sources) if ".tmp-" in name or name.endswith(".lock")]
    assert (sources / OUTPUT[which]).exists()


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
@pytest.mark.parametrize(("which", "name"), [
    ("birds", "birds/landbird/00.png"), ("birds", "masks/waterbird/01.png"), ("birds", "land/0.png"),
    ("copy", "colours/n0/003.png"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(sources, colours, monkeypatch, which, name, code):
    def refusing(read):
        def refuse(path, *how, **named):
            if Path(path) == sources / name:
                raise OSError(code, os.strerror(code), str(path))
            return read(path, *how, **named)

        return refuse

    monkeypatch.setattr(Path, "read_bytes", refusing(Path.read_bytes))
    monkeypatch.setattr(base, "open", refusing(open), raising=False)
    with pytest.raises(InputError, match=rf"cannot read \S*{name} \({os.strerror(code)}\)"):
        MAKERS[which](sources)
    assert not list(sources.glob("set*"))


@pytest.mark.parametrize("folder", ["birds/landbird", "land", "water/lake"])
def test_names_that_are_no_text_are_refused(sources, folder):
    data = (sources / "land" / "0.png").read_bytes()
    Path(os.fsdecode(os.fsencode(sources / folder) + b"/caf\xe9.png")).write_bytes(data + b"another")
    with pytest.raises(InputError, match=r"the picture name .*caf.* is not UTF-8; rename it"):
        make_birds(sources)
    assert not list(sources.glob("set*"))


def test_a_folder_called_as_a_picture_is_none(sources):
    (sources / "land" / "old.jpg").mkdir()
    make_birds(sources)


@pytest.mark.parametrize("letters", ['a"b', "a,b", "a;b", " a ", "ä", "a\nb"])
def test_boxes_of_any_name_survive_the_copy(sources, colours, letters):
    (colours / "n0" / "000.png").rename(colours / "n0" / f"{letters}.png")
    table = (colours / "boxes.csv").read_text().replace("n0/000.png", '"n0/{}.png"'.format(letters.replace('"', '""')))
    (colours / "boxes.csv").write_text(table)
    make_copy(sources)
    for kind in ("glt", "cbl"):
        copied = load_dataset(f"generated-{kind}", sources / "set")
        assert len(copied.annotations.boxes) == len(copied.samples.name)


def test_one_training_set_is_never_replaced_without_the_other(sources, colours, monkeypatch):
    config = {"source": str(colours), "features": "thumbnail", "imbalance": 2.0}
    glt.make(GltConfig(**config), no_progress)
    before, content_of = files_of(colours), glt.content_of
    calls = []

    def fails_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return content_of(*arguments)

    monkeypatch.setattr(glt, "content_of", fails_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        glt.make(GltConfig(**config, seed=1, overwrite=True), no_progress)
    assert files_of(colours) == before

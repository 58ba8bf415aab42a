"""The command that a run ends with, as it is printed, in a fresh shell in the same folder."""

import re
import shlex

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clp_aug.cli import augment
from clp_train.cli import train

COMMANDS = {"clp-augment": augment, "clp-train": train}
QUICK = "--epochs 1 --batch-size 10 --quiet"


def do(line):
    """Give a command; return what it says to run next."""
    name, *words = shlex.split(line)
    result = CliRunner().invoke(COMMANDS[name], words)
    assert result.exit_code == 0, result.output
    return re.search(r"next: (.*)", result.stdout)[1]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with a folder of pictures at "sets/my set", which no command finds by itself."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 3), ("test", 3)):
        for label in ("cat", "dog"):
            folder = tmp_path / "my sets" / "folder" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                picture = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(picture).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SHARD = "clp-augment --dataset folder --cf tile --f random --size 16 --meta 2/class --matte centre --workers 1 --quiet"
PRESET = """
[settings]
root = "my sets/folder"
epochs = 1
batch_size = 10

[methods.clp]
saliency_lambda = 0.0
"""


def test_where_the_data_lie_is_said_whoever_said_it(place, monkeypatch):
    with monkeypatch.context() as shell:
        shell.setenv("CLP_DATA", "my sets")
        do(f"{SHARD} --out x.h5")
        line = do(f"clp-train --meta x.h5 --method erm {QUICK}")
    assert "--root 'my sets/folder'" in line
    (place / "mine.toml").write_text(PRESET)
    other = do(f"{line} --quiet")
    assert "--root 'my sets/folder'" in other
    third = do("clp-train --meta x.h5 --preset mine.toml --quiet")
    assert "--preset mine.toml" in third
    assert "--root" not in third
    fourth = do(f"{third} --quiet")
    assert len({line, other, third, fourth}) == 4


def test_an_attack_on_the_classifier(place, monkeypatch):
    with monkeypatch.context() as shell:
        shell.setenv("CLP_DATA", str(place / "my sets"))
        do(f"{SHARD} --out x.h5")
        line = do(f"clp-train --meta x.h5 --method erm {QUICK} --export")
    assert line.startswith("clp-augment --dataset folder --root ")
    assert "clp-inspect" in do(f"{line} --workers 1 --quiet")


def test_each_command_begins_a_run_that_is_not_there(place):
    do(f"{SHARD} --root 'my sets/folder' --out x.h5")
    lines = [f"clp-train --meta x.h5 --method erm {QUICK} --root 'my sets/folder'"]
    for _ in range(3):
        lines.append(do(lines[-1] + (" --quiet" if len(lines) > 1 else "")))
    methods = [re.search(r"--method (\S+)", line)[1] for line in lines]
    assert methods == ["erm", "cb-ce", "focal", "cb-focal"]


def test_a_shard_that_hangs_on_files_it_does_not_name_is_not_made_again(place):
    root = place / "my sets" / "folder"
    lines = [f"{path.relative_to(root)},5,5,15,15" for path in sorted(root.rglob("*.png"))]
    (place / "boxes.csv").write_text("\n".join(["file,x0,y0,x1,y1", *lines, ""]))
    given = SHARD.replace("--matte centre", "--matte given --boxes boxes.csv")
    do(f"{given} --root 'my sets/folder' --out x.h5")
    line = do(f"clp-train --meta x.h5 --method erm {QUICK} --root 'my sets/folder' --export")
    assert line.startswith("clp-train --meta x.h5 --method cb-ce ")

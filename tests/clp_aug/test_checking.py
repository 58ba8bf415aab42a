"""CHECK: broken pictures are told before any work, all of them, or left out where that is asked for."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from clp_aug import pipeline
from clp_aug.checking import LOOK_BLOCK, check_pictures, look
from clp_aug.cli import augment
from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import load_dataset
from clp_aug.datasets.base import FileDataset, Samples
from tests.clp_aug.datasets.tiny_sets import make_folder, save_picture

SPLITS = ("train", "val", "test")
FILES = [f"{split}/{label}/{i}.png" for split in SPLITS for label in ("cat", "dog") for i in range(5)]
BROKEN = ("train/cat/1.png", "val/dog/0.png", "test/cat/4.png")  # before matte centre, training alone opens these


@pytest.fixture
def root(tmp_path):
    return make_folder(tmp_path / "pictures", FILES)


def break_some(root, names=BROKEN):
    for name in names:
        (root / name).write_bytes((root / name).read_bytes()[:-40])


def run(root, *more):
    """clp-augment in this process; its exit code, its lines of the result and of errors, and the shard."""
    out = root.parent / "x.h5"
    settings = {"--dataset": "folder", "--root": root, "--cf": "grey", "--meta": "2/class", "--matte": "centre"}
    words = [str(word) for pair in {**settings, "--workers": 1, "--out": out}.items() for word in pair]
    result = CliRunner().invoke(augment, [*words, "--quiet", *more])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result, out


@pytest.mark.parametrize("matte", ["centre", "grabcut"])
@pytest.mark.parametrize("more", [(), ("--size", "8")], ids=["size of the data", "size given"])
def test_all_broken_pictures_are_listed_before_any_work(root, matte, more):
    break_some(root)
    result, out = run(root, "--matte", matte, *more)
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
    assert "data set folder: 3 of 30 pictures cannot be read: picture " in result.stderr
    for name in BROKEN:
        assert f"{root / name}: broken file (" in result.stderr
    assert result.stderr.endswith("; replace them or remove them, or leave them out with --skip-broken\n")
    assert not out.exists()
    assert not list(root.parent.glob("*.h5*")), "nothing is left of the run"


@pytest.mark.parametrize("name", FILES[::6])
@pytest.mark.parametrize("content", [b"", b"no picture", None], ids=["empty", "no picture", "cut"])
def test_one_is_told_by_its_reason_in_every_split(root, name, content):
    (root / name).write_bytes((root / name).read_bytes()[:-40] if content is None else content)
    result, _ = run(root)
    assert result.exit_code == 3
    assert result.stderr.startswith(f"error: picture {root / name}: ")
    assert result.stderr.endswith(" it or remove it, or leave it out with --skip-broken\n")


def test_where_the_protocol_opens_pictures_all_are_listed_too(root):
    break_some(root)
    for more in (("--meta", "2/cluster"), ("--noise", "flip-similar:0.2")):
        result, _ = run(root, *more)
        assert "3 of 30 pictures cannot be read: " in result.stderr
        assert result.stderr.endswith("leave them out with --skip-broken\n")


def test_an_error_of_another_kind_stays_what_it_is(root):
    result, _ = run(root, "--meta", "9/class")
    assert result.exit_code == UsageError.exit_code
    assert "cannot be read" not in result.stderr


def test_they_are_left_out_where_that_is_asked_for(root):
    break_some(root)
    result, out = run(root, "--skip-broken")
    assert result.exit_code == 0, result.output
    assert f"pictures left out because they cannot be read: 3 ({', '.join(BROKEN)})" in result.output
    shard = ShardReader(out)
    assert shard.header.settings["left_out"] == sorted(BROKEN)
    whole = load_dataset("folder", root)
    gone = [whole.samples.sample_id[whole.samples.name.index(name)] for name in BROKEN]
    ids = np.concatenate([shard.tables["train/sample_id"], shard.tables["meta/sample_id"]])
    assert not np.isin(gone, ids).any()
    assert shard.header.fingerprint != whole.fingerprint()
    words = ["--dataset", "folder", "--root", str(root), "--cf", "grey", "--meta", "2/class", "--skip-broken"]
    said = json.loads(CliRunner().invoke(augment, [*words, "--dry-run", "--json"]).stdout)
    assert (said["pictures"]["train"], said["pictures"]["val"], said["pictures"]["test"]) == (5, 9, 9)


def test_without_broken_pictures_the_shard_does_not_know_of_the_setting(root):
    _, out = run(root)
    before = out.read_bytes()
    result, _ = run(root, "--skip-broken", "--overwrite")
    assert result.exit_code == 0, result.output
    assert out.read_bytes() == before
    assert {"left_out", "skip_broken"}.isdisjoint(ShardReader(out).header.settings)


def test_a_run_that_goes_on_leaves_the_same_out(root, monkeypatch):
    break_some(root)
    whole = run(root, "--skip-broken")[1].read_bytes()

    def stopped(self, block):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("clp_aug.stages.Stages.make_copies", stopped)
        run(root, "--skip-broken", "--overwrite")
    save_picture(root / BROKEN[2], 8)
    result, out = run(root, "--skip-broken", "--resume")
    assert "is of a run on other pictures" in result.stderr, "what was broken is there again"
    break_some(root, BROKEN[2:])
    result, out = run(root, "--skip-broken", "--resume")
    assert result.exit_code == 0, result.output
    assert out.read_bytes() == whole


def config(root, **more):
    return AugmentConfig(
        dataset="folder", root=root, cf=("grey",), meta="2/class", matte="centre", out=root.parent / "y.h5", **more
    )


def test_two_workers_list_the_same(root):
    break_some(root)
    messages = []
    for workers in (1, 2):
        with pytest.raises(InputError) as raised:
            pipeline.augment(config(root, workers=workers, engine="serial" if workers == 1 else "processes"))
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def test_progress_counts_every_picture_looked_at(root):
    counts = {}

    def progress(stage, total):
        class Bar:
            def __enter__(self):
                counts[stage] = [0, total]
                return lambda done: counts[stage].__setitem__(0, counts[stage][0] + done)

            def __exit__(self, *_):
                pass

        return Bar()

    pipeline.augment(config(root), progress)
    assert counts["CHECK pictures"] == [30, 30]


def test_many_blocks_are_looked_at_in_order(tmp_path):
    names = [f"{i}.png" for i in range(2 * LOOK_BLOCK + 3)]
    dataset = FileDataset("mine", tmp_path, ["a"], Samples.of([0] * len(names), [0] * len(names), names))
    save_picture(tmp_path / names[70])
    with pytest.raises(
        InputError, match=r"^data set mine: 130 of 131 pictures cannot be read: .* \.\.\. and 120 more; "
    ):
        check_pictures(
            dataset,
            np.arange(len(names)),
            lambda blocks: (look(dataset, block) for block in blocks),
            pipeline.no_progress,
        )


def test_pictures_that_are_made_are_not_looked_at():
    check_pictures(load_dataset("demo"), np.arange(9), lambda blocks: pytest.fail("looked"), pipeline.no_progress)

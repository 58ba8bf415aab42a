"""A large shard at once: a sample drawn by id, that says of how many; only its pictures are read; --verify tells."""

import numpy as np
import pytest
from click.testing import CliRunner

from clp_aug.contract import schema
from clp_aug.contract.shards import ShardReader
from clp_aug.inspect_cli import inspect
from clp_aug.inspecting.sheet import choose, write_sheet
from clp_aug.inspecting.summary import summarise
from tests.clp_aug.builders import make_parts

ORIGINALS = 400


@pytest.fixture(scope="module")
def large_shard(tmp_path_factory):
    """A shard of many more originals than a page shows."""
    return make_parts(originals=ORIGINALS).write(tmp_path_factory.mktemp("shards") / "large.h5", block=200)


@pytest.fixture
def reads(monkeypatch):
    """What is read of a shard while the test runs: (data set, row)."""
    seen, read = [], ShardReader._read
    monkeypatch.setattr(ShardReader, "_read", lambda self, name, i: seen.append((name, i)) or read(self, name, i))
    monkeypatch.setattr(ShardReader, "_block", lambda *_: pytest.fail("a block was read"))
    return seen


def test_only_the_sample_is_read(large_shard, tmp_path, reads):
    reader = ShardReader(large_shard)
    summarise(reader)
    assert reads == []
    assert write_sheet(reader, tmp_path / "s.html", 10) == 10
    rows, mattes = ({i for name, i in reads if name == wanted} for wanted in ("meta/images", "look/matte"))
    chosen = choose(reader, 10)
    assert rows == {int(i) + k for i in chosen for k in range(3)}
    looks = reader.tables["look/sample_id"].tolist()
    assert mattes == {looks.index(sample) for sample in reader.tables["meta/sample_id"][chosen].tolist()}


def test_the_sample_is_drawn_by_id(large_shard):
    """Not the first of each class: of 400 ids, 40 that are drawn have the mean and the spread of all."""
    tables = ShardReader(large_shard).tables
    originals = np.flatnonzero(tables["meta/kind"] == schema.ORIGINAL)
    everyone, drawn = (
        tables["meta/sample_id"][originals],
        tables["meta/sample_id"][choose(ShardReader(large_shard), 40)],
    )
    assert abs(drawn.mean() - everyone.mean()) < 4 * everyone.std() / 40**0.5
    assert 0.6 < drawn.std() / everyone.std() < 1.4


def test_a_larger_sample_holds_the_smaller_one(large_shard):
    reader = ShardReader(large_shard)
    sizes = [set(choose(reader, rows).tolist()) for rows in (12, 60, 120, ORIGINALS, 10 * ORIGINALS)]
    strata = len(np.unique(np.stack([reader.tables["meta/label"], reader.tables["meta/group"]]), axis=1).T)
    whole_rounds = [set(choose(reader, strata * k).tolist()) for k in (1, 2, 5)]
    assert whole_rounds[0] < whole_rounds[1] < whole_rounds[2]
    assert [len(one) for one in sizes] == [12, 60, 120, ORIGINALS, ORIGINALS]


@pytest.mark.parametrize("rows", [10, ORIGINALS])
def test_the_page_and_the_command_say_of_how_many(large_shard, tmp_path, rows):
    page = tmp_path / "s.html"
    done = CliRunner().invoke(inspect, [str(large_shard), "--html", str(page), "--rows", str(rows)])
    assert done.exit_code == 0, done.output
    last = done.stdout.splitlines()[-1]
    if rows < ORIGINALS:
        assert last.startswith(f"{page} (10 of 400 originals); open it in a browser; next: clp-train --meta ")
        assert "a sample of 10 of 400 originals</p>" in page.read_text()
    else:
        assert last.startswith(f"{page}; open it in a browser; next: clp-train --meta ")
        assert "a sample of" not in page.read_text()


def test_verify_tells_how_far_it_is(large_shard, monkeypatch):
    monkeypatch.setattr("clp_aug.common.progress.PAUSE", 0)
    done = CliRunner().invoke(inspect, [str(large_shard), "--verify", "--json"])
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    assert [line.partition(" done in ")[0] for line in lines if " done in " in line] == [
        "VERIFY pictures: 1,600",
        "sha256 of the file, MiB: 1",
    ]


def test_a_short_verify_has_no_progress_in_a_log(large_shard):
    assert CliRunner().invoke(inspect, [str(large_shard), "--verify", "--json"]).stderr == ""


def test_without_verify_nothing_is_told(large_shard):
    assert CliRunner().invoke(inspect, [str(large_shard), "--json"]).stderr == ""


def test_two_pages_of_one_shard_are_the_same(large_shard, tmp_path):
    for name in ("a.html", "b.html"):
        write_sheet(ShardReader(large_shard), tmp_path / name, 30)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()

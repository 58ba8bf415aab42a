import os
from collections import Counter

import numpy as np
import pytest

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.sharding import HDF5, Staging, check_space, plan_copies

LABELS = np.array([0] * 12 + [1] * 12 + [2] * 24)
IDS = np.arange(100, 148)


def count(copies, key):
    return Counter(key(copy) for per_picture in copies for copy in per_picture)


def test_two_copies_each_one_of_a_kind_fills_in_equal_shares_within_every_class():
    copies = plan_copies(LABELS, IDS, ("grey", "tile", "random", "shuffle"), ("random", "shuffle", "mix-rand"), 2, 0)
    assert all([copy.kind for copy in one] == [COUNTERFACTUAL, FACTUAL] for one in copies)
    for label in range(3):
        mine = [one for one, y in zip(copies, LABELS, strict=True) if y == label]
        cf = count([one[:1] for one in mine], lambda copy: copy.fill)
        f = count([one[1:] for one in mine], lambda copy: copy.fill)
        assert len(cf) == 4
        assert len(f) == 3
        assert max(cf.values()) - min(cf.values()) <= 1
        assert max(f.values()) - min(f.values()) <= 1


@pytest.mark.parametrize(
    ("cf", "f", "ratio"), [(("grey",), (), 2), ((), ("random", "shuffle"), 2), (("grey",), ("random",), 3)]
)
def test_the_number_of_copies_is_the_ratio(cf, f, ratio):
    copies = plan_copies(LABELS, IDS, cf, f, ratio, 0)
    assert all(len(one) == ratio for one in copies)
    kinds = count(copies, lambda copy: copy.kind)
    if cf and f:
        assert abs(kinds[COUNTERFACTUAL] - kinds[FACTUAL]) <= 1
    else:
        assert set(kinds) == ({COUNTERFACTUAL} if cf else {FACTUAL})
    assert all(sorted(copy.number for copy in one) == list(range(ratio)) for one in copies)


def test_the_plan_depends_on_ids_not_on_positions():
    copies = plan_copies(LABELS, IDS, ("grey", "tile"), ("random", "shuffle"), 2, 7)
    order = np.random.default_rng(0).permutation(len(IDS))
    shuffled = plan_copies(LABELS[order], IDS[order], ("grey", "tile"), ("random", "shuffle"), 2, 7)
    assert [copies[i] for i in order] == shuffled
    assert plan_copies(LABELS, IDS, ("grey", "tile"), ("random", "shuffle"), 2, 8) != copies


def staging(tmp_path, **key):
    return Staging(tmp_path / "out" / "x.h5", {"seed": 0, **key})


def begin(one):
    """Lay a file out, as a run does, and let the folder be gone on with."""
    one.blank.path.write_bytes(b"laid out")
    one.begin()


def test_marks_survive_in_the_folder(tmp_path):
    one = staging(tmp_path)
    assert one.open(resume=False, overwrite=False), "a new run"
    begin(one)
    assert not one.has("boxes", 0)
    one.mark("boxes", 0)
    two = staging(tmp_path)
    assert not two.open(resume=True, overwrite=False), "a run to go on with"
    assert two.has("boxes", 0)
    assert not two.has("boxes", 1)
    two.remove_if_empty()
    assert two.folder.exists()
    assert two.open(resume=False, overwrite=True)
    assert not two.has("boxes", 0)
    two.remove_if_empty()
    assert not two.folder.exists()


def test_what_stands_in_the_way(tmp_path):
    one = staging(tmp_path)
    one.open(False, False)
    begin(one)
    with pytest.raises(
        UsageError, match=r"x\.h5\.parts holds an unfinished run; give --resume to go on or --overwrite"
    ):
        staging(tmp_path).open(False, False)
    with pytest.raises(UsageError, match=r"is of a run with seed = 0, now 1; give --overwrite to start anew"):
        staging(tmp_path, seed=1).open(True, False)
    one.manifest.write_text("{")
    with pytest.raises(InputError, match=r"run\.json is damaged; give --overwrite"):
        staging(tmp_path).open(True, False)
    one.shard.write_bytes(HDF5)
    with pytest.raises(UsageError, match=r"x\.h5 exists and is damaged, or give --overwrite, or another --out"):
        staging(tmp_path).open(False, False)


def test_a_run_that_died_before_it_had_begun_starts_anew(tmp_path):
    one = staging(tmp_path)
    one.open(False, False)
    one.blank.path.write_bytes(b"half")
    assert one.open(True, False)
    assert not one.blank.path.exists()


def test_publish_moves_the_shard_and_clears_the_folder(tmp_path):
    one = staging(tmp_path)
    one.open(False, False)
    one.begin()
    one.blank.path.write_bytes(b"whole")
    one.publish()
    assert one.shard.read_bytes() == b"whole"
    assert [path.name for path in one.shard.parent.iterdir()] == ["x.h5"]


def test_space_and_places(tmp_path):
    with pytest.raises(InputError, match=r"MB free, the run needs about 1,000,000,000,000 MB; free some space"):
        check_space(tmp_path / "not" / "yet", 10**18)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*file \(.*\); choose another --out"):
        Staging(tmp_path / "file" / "x.h5", {}).open(False, False)


def test_a_killed_run_that_was_to_replace_a_shard_goes_on(tmp_path):
    one = staging(tmp_path)
    one.shard.parent.mkdir()
    one.shard.write_bytes(HDF5 + b"old")
    assert one.open(resume=False, overwrite=True)
    begin(one)
    one.mark("boxes", 0)
    for overwrite in (False, True):
        assert not staging(tmp_path).open(resume=True, overwrite=overwrite)
        assert one.has("boxes", 0)
    one.publish()
    assert one.shard.read_bytes() == b"laid out"


@pytest.mark.parametrize("at", ["before", "after"])
def test_killed_while_it_is_published_nothing_is_lost(tmp_path, monkeypatch, at):
    """The file has the one name or the other, whenever the end comes."""
    one, replace = staging(tmp_path), os.replace
    one.open(False, False)
    begin(one)
    one.mark("infill", 0)

    def killed(*names):
        if at == "after":
            replace(*names)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            one.publish()
    assert one.shard.exists() == (at == "after")
    if at == "before":
        assert not staging(tmp_path).open(resume=True, overwrite=False)
        assert one.has("infill", 0)
        one.publish()
    assert one.shard.read_bytes() == b"laid out"


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_shard_is_not_replaced(tmp_path, overwrite):
    one = staging(tmp_path)
    one.shard.mkdir(parents=True)
    with pytest.raises(UsageError, match=r"^--out .*x\.h5 is a folder; give the name of a file in it$"):
        one.open(False, overwrite)
    one.shard.rmdir()
    one.shard.write_text("dear diary")
    with pytest.raises(UsageError, match=r"^--out .*x\.h5 is a file of another kind, which is not replaced; give"):
        one.open(False, overwrite)
    assert one.shard.read_text() == "dear diary"


def test_changed_pictures_are_named_as_such(tmp_path):
    one = staging(tmp_path, fingerprint="a" * 64)
    one.open(False, False)
    begin(one)
    with pytest.raises(UsageError, match="is of a run on other pictures: names, labels or splits have changed"):
        staging(tmp_path, fingerprint="b" * 64).open(True, False)

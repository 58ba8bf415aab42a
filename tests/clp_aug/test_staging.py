"""The folder of an unfinished run: what stands in its way, and what it goes on with."""

import pytest

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.shards import ShardReader
from clp_aug.staging import HDF5
from tests.clp_aug.staged import BLOCKS, PARTS, PICTURES, begin, begun, do, flipped_bit, has, lose, names, staging


def test_marks_survive_in_the_folder(tmp_path):
    one = begun(tmp_path)
    assert not any(has(one, block) for block in BLOCKS)
    do(one, "infill-000000")
    two = staging(tmp_path)
    assert not two.open(resume=True, overwrite=False), "a run to go on with"
    assert [has(two, block) for block in BLOCKS] == [True, False, False]
    two.remove_if_empty()
    assert two.folder.exists()
    assert two.open(resume=False, overwrite=True)
    assert not has(two, "infill-000000")
    two.remove_if_empty()
    assert not two.folder.exists()


def empty_mark(one):
    (one.folder / "infill-000000.done").write_bytes(b"")


def half_a_mark(one):
    mark = one.folder / "infill-000000.done"
    mark.write_bytes(mark.read_bytes()[:20])


def mark_of_zeros(one):
    mark = one.folder / "infill-000000.done"
    mark.write_bytes(bytes(mark.stat().st_size))


def mark_of_another_block(one):
    do(one, "infill-000001")
    (one.folder / "infill-000001.done").replace(one.folder / "infill-000000.done")


def everything(one):
    for name in ("meta/images", "meta/digest", "meta/fill"):
        lose(name, slice(None))(one)


@pytest.mark.parametrize(
    "damage",
    [
        lose("meta/images", 0), lose("meta/images", 5), lose("meta/digest", 3), lose("meta/fill", slice(1, 6)),
        everything, empty_mark, half_a_mark, mark_of_zeros, mark_of_another_block, flipped_bit,
    ],
    ids=[
        "first picture", "last picture", "digest", "fills", "everything", "empty mark", "half a mark", "zeros",
        "other block", "bit",
    ],
)  # fmt: skip
def test_a_block_whose_bytes_did_not_come_to_the_disk_is_made_again(tmp_path, damage):
    one = begun(tmp_path, "infill-000000")
    assert has(one, "infill-000000")
    damage(one)
    assert not has(one, "infill-000000")
    do(one, "infill-000000")
    assert has(one, "infill-000000")


def test_damage_elsewhere_makes_no_block_again(tmp_path):
    one = begun(tmp_path, *BLOCKS)
    lose("meta/images", 7)(one)
    assert [has(one, block) for block in BLOCKS] == [True, False, True]


@pytest.mark.parametrize("now", [{**PICTURES, "cat/2.jpg": "c3"}, {"cat/1.jpg": "a1"}])
def test_a_run_does_not_go_on_with_pictures_that_have_changed(tmp_path, now):
    one = begun(tmp_path, "infill-000000")
    with pytest.raises(UsageError, match=r"is of a run on other pictures: cat/2\.jpg has changed since; give --overwr"):
        has(one, "infill-000000", now)


def test_what_stands_in_the_way(tmp_path):
    one = begun(tmp_path)
    with pytest.raises(
        UsageError, match=r"x\.h5\.parts holds an unfinished run; give --resume to continue or --overwrite"
    ):
        staging(tmp_path).open(False, False)
    with pytest.raises(UsageError, match=r"is of a run with seed = 0, now 1; give --overwrite to start again"):
        staging(tmp_path, seed=1).open(True, False)
    one.shard.write_bytes(HDF5)
    with pytest.raises(UsageError, match=r"x\.h5 exists and is damaged, or give --overwrite, or another --out"):
        staging(tmp_path).open(False, False)


@pytest.mark.parametrize("content", [b"{", b"", b"[" * 100_000, b"\xff", b"[]", b"1"])
@pytest.mark.parametrize("file", ["manifest", "blank"])
def test_a_damaged_folder_is_one_line(tmp_path, content, file):
    one = begun(tmp_path)
    (one.manifest if file == "manifest" else one.blank.path).write_bytes(content)
    with pytest.raises(InputError, match=r"x\.h5\.parts is damaged; give --overwrite to start again"):
        staging(tmp_path).open(True, False)


@pytest.mark.parametrize("left", [[], ["shard.h5"], ["shard.h5", "run.json.tmp-0123456789abcdef"], ["infill-0.done"]])
def test_what_a_run_left_that_died_before_it_had_begun_stands_in_nobodys_way(tmp_path, left):
    one = staging(tmp_path)
    one.folder.mkdir(parents=True)
    for name in left:
        (one.folder / name).write_bytes(b"half")
    assert one.open(resume=False, overwrite=False)
    assert names(one.folder) == []


def test_a_folder_of_the_user_is_not_removed(tmp_path):
    one = staging(tmp_path)
    one.folder.mkdir(parents=True)
    (one.folder / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match=r"x\.h5\.parts holds thesis\.tex, which is not ours; move it, or give"):
        one.open(resume=False, overwrite=True)
    assert names(one.folder) == ["thesis.tex"]


@pytest.mark.parametrize(("resume", "overwrite"), [(True, False), (False, False)])
def test_who_is_told_that_the_shard_is_there_finds_no_folder_beside_it(tmp_path, resume, overwrite):
    """The run was killed after it had published, while it removed its folder."""
    one = begun(tmp_path, *BLOCKS)
    PARTS.write(one.shard)
    one.blank.path.unlink()
    with pytest.raises(UsageError, match="exists"):
        staging(tmp_path).open(resume, overwrite)
    assert names(one.shard.parent) == ["x.h5"]


def test_a_killed_run_that_was_to_replace_a_shard_goes_on(tmp_path):
    one = staging(tmp_path)
    one.shard.parent.mkdir()
    one.shard.write_bytes(HDF5 + b"old")
    assert one.open(resume=False, overwrite=True)
    begin(one)
    for block in BLOCKS:
        do(one, block)
    for overwrite in (False, True):
        assert not staging(tmp_path).open(resume=True, overwrite=overwrite)
        assert has(one, "infill-000000")
    one.publish()
    ShardReader(one.shard).verify()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_shard_is_not_replaced(tmp_path, overwrite):
    one = staging(tmp_path)
    one.shard.mkdir(parents=True)
    with pytest.raises(UsageError, match=r"^--out .*x\.h5 is a folder; give the name of a file in it$"):
        one.open(False, overwrite)
    one.shard.rmdir()
    one.shard.write_text("dear diary")
    with pytest.raises(UsageError, match=r"^--out .*x\.h5 is a file of another kind and is not replaced; give"):
        one.open(False, overwrite)
    assert one.shard.read_text() == "dear diary"


def test_changed_names_are_named_as_such(tmp_path):
    one = staging(tmp_path, fingerprint="a" * 64)
    one.open(False, False)
    begin(one)
    with pytest.raises(UsageError, match="is of a run on other pictures: names, labels or splits have changed"):
        staging(tmp_path, fingerprint="b" * 64).open(True, False)

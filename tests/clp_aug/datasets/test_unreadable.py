"""Pictures that cannot be read: all at once in one line, and a data set that does without them."""

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets import folder, load_dataset, unreadable
from clp_aug.datasets.unreadable import all_listed, find_unreadable, leave_out, refusal, without_unreadable
from tests.clp_aug.datasets.tiny_sets import make_folder, make_glt, make_lists, make_table, make_waterbirds, save_mask

FILES = [f"{split}/{label}/{i}.png" for split in ("train", "test") for label in ("cat", "dog") for i in range(3)]
BROKEN = {FILES[1]: b"", FILES[4]: b"hello", FILES[7]: b"cut"}


@pytest.fixture
def root(tmp_path):
    """Twelve pictures, one in four of them broken, with masks and boxes of most."""
    make_folder(tmp_path, FILES)
    for file, data in BROKEN.items():
        data = (tmp_path / file).read_bytes()[:60] if data == b"cut" else data
        (tmp_path / file).write_bytes(data)
    for i, file in enumerate(FILES[1:9]):
        save_mask(tmp_path / "masks" / file, i)
    lines = [f"{file},0,0,{i + 1},5" for i, file in enumerate(FILES[:8])]
    (tmp_path / "boxes.csv").write_text("\n".join(["file,x0,y0,x1,y1", *lines]) + "\n")
    return tmp_path


def names_of(dataset, rows):
    return [dataset.samples.name[row] for row in rows]


def test_all_that_cannot_be_read_are_found_with_the_reason(root):
    dataset = folder.load(root)
    found = find_unreadable(dataset, range(12))
    assert names_of(dataset, [row for row, _ in found]) == list(BROKEN)
    reasons = {dataset.samples.name[row]: why for row, why in found}
    assert reasons[FILES[1]] == f"picture {root / FILES[1]}: the file is empty (0 bytes); replace it or remove it"
    assert "not a JPEG, PNG, " in reasons[FILES[4]]
    assert ": broken file (" in reasons[FILES[7]]
    for row, why in found:
        with pytest.raises(InputError) as raised:
            dataset.image(row)
        assert str(raised.value) == why, "reading them says the same"


def test_one_line_counts_them_and_names_the_first(root):
    dataset = folder.load(root)
    found = find_unreadable(dataset, range(12))
    line = str(refusal(dataset, found, 12, "do something"))
    assert line.startswith("data set folder: 3 of 12 pictures cannot be read: picture ")
    assert f"picture {root / FILES[1]}: the file is empty (0 bytes), picture " in line
    assert line.endswith("; replace them or remove them, or do something")
    assert "\n" not in line
    many = found * 5
    assert " ... and 5 more; replace them" in str(refusal(dataset, many, 1_500, ""))
    assert "15 of 1,500 pictures" in str(refusal(dataset, many, 1_500, ""))
    assert str(refusal(dataset, found[:1], 12, "do something")) == found[0][1] + ", or do something"
    assert str(refusal(dataset, found[:1], 12, "")) == found[0][1]


def test_where_one_cannot_be_read_all_are_listed(root):
    dataset, rows = folder.load(root), np.arange(12)
    all_of_them = r"^data set folder: 3 of 12 pictures cannot be read: .*, or do something$"
    with pytest.raises(InputError, match=all_of_them), all_listed(dataset, rows, "do something"):
        dataset.image(4)
    with pytest.raises(InputError, match=r"^another reason$"), all_listed(dataset, rows[:1], "do something"):
        raise InputError("another reason")


def test_a_data_set_without_them_keeps_ids_masks_and_boxes(root):
    whole = folder.load(root)
    thin = without_unreadable(whole, find_unreadable(whole, range(12)))
    assert thin.samples.name == [name for name in whole.samples.name if name not in BROKEN]
    assert thin.left_out == tuple(sorted(BROKEN))
    assert thin.remarks[-1] == f"pictures left out because they cannot be read: 3 ({', '.join(BROKEN)})"
    assert (whole.left_out, len(whole.samples.name)) == ((), 12), "the whole one is as it was"
    old_rows = whole.rows_of(thin.samples.sample_id)
    assert names_of(whole, old_rows) == thin.samples.name
    for column in ("label", "group", "split"):
        np.testing.assert_array_equal(getattr(thin.samples, column), getattr(whole.samples, column)[old_rows])
    for new, old in enumerate(old_rows.tolist()):
        np.testing.assert_array_equal(thin.image(new), whole.image(old))
        assert thin.annotations.masks.get(new) == whole.annotations.masks.get(old)
        assert thin.annotations.boxes.get(new) == whole.annotations.boxes.get(old)
    assert len(thin.annotations.masks) == 5
    assert thin.fingerprint() != whole.fingerprint()
    assert not find_unreadable(thin, range(9))


def test_nothing_found_is_the_same_data_set(root):
    dataset = folder.load(root)
    assert without_unreadable(dataset, []) is dataset
    assert leave_out(dataset, []) is dataset


@pytest.mark.parametrize(("name", "make"), [
    ("waterbirds", make_waterbirds), ("generated-glt", make_glt), ("table", make_table), ("imagenet-lt", make_lists),
])  # fmt: skip
def test_every_data_set_of_files_can_do_without_some(tmp_path, name, make):
    make(tmp_path)
    whole = load_dataset(name, tmp_path)
    gone = [whole.samples.name[row] for row in (1, 7)]
    thin = leave_out(whole, gone)
    rows = whole.rows_of(thin.samples.sample_id)
    assert set(whole.samples.name) - set(thin.samples.name) == set(gone)
    assert (thin.name, thin.splits, thin.group_names) == (whole.name, whole.splits, whole.group_names)
    assert thin.strata.keys() == whole.strata.keys()
    for kind, (titles, index) in thin.strata.items():
        assert titles == whole.strata[kind][0]
        np.testing.assert_array_equal(index, whole.strata[kind][1][rows])
    assert len(thin.annotations.masks) == max(len(whole.annotations.masks) - 2, 0)
    (tmp_path / gone[0]).write_bytes(b"")
    assert thin.digest(np.arange(len(rows))) == whole.digest(rows)


def test_names_that_are_not_there_change_nothing_but_the_list(root):
    dataset = folder.load(root)
    assert leave_out(dataset, ["train/cat/none.png"]).fingerprint() == dataset.fingerprint()


def test_a_class_that_has_no_training_picture_left_is_told(root):
    for i in range(3):
        (root / f"train/dog/{i}.png").write_bytes(b"")
    dataset = folder.load(root)
    with pytest.raises(
        InputError,
        match=r"^data set folder: no training picture of class dog can be read, e\.g\. picture .*/dog/0\.png: ",
    ):
        without_unreadable(dataset, find_unreadable(dataset, range(12)))


def test_more_than_a_shard_can_name_are_refused(root, monkeypatch):
    dataset = folder.load(root)
    monkeypatch.setattr(unreadable, "MOST_BYTES", 40)
    with pytest.raises(InputError, match=r"3 of 12 pictures cannot be read: .*; replace them or remove them$"):
        without_unreadable(dataset, find_unreadable(dataset, range(12)))


def test_pictures_that_are_made_can_all_be_read_and_none_left_out():
    demo = load_dataset("demo")
    assert find_unreadable(demo, range(5)) == []
    with pytest.raises(InputError, match=r"^data set demo: it has no picture files, so none can be left out$"):
        leave_out(demo, ["ring-on-temple-0000"])

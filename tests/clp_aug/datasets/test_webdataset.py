import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clp_aug.contract.errors import InputError, SettingError
from clp_aug.datasets import load_dataset, tar_store, usual_meta
from clp_aug.datasets.annotation_settings import AnnotationSettings
from clp_aug.datasets.annotations import with_annotations, with_given
from clp_aug.datasets.unreadable import find_unreadable, leave_out, without_unreadable
from clp_aug.protocol.specs import parse_meta
from tests.clp_aug.datasets.tar_builders import make_wds, mask, picture, samples, write_tar
from tests.clp_aug.datasets.tiny_sets import save_mask, save_picture
from tests.forked import codes_in_forks


def as_folders(root, counts=(6, 3, 3)):
    """Write class folders with masks and boxes, and the same files as tars of class folders; return both roots."""
    folders, tars = root / "folders", root / "tars"
    boxes = ["file,x0,y0,x1,y1"]
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        members = {}
        for label, name in enumerate(("cat", "dog")):
            for k in range(count):
                file = f"{split}/{name}/{k}.jpg"
                save_picture(folders / file, 100 * count + 10 * label + k)
                members[f"{name}/{k}.jpg"] = (folders / file).read_bytes()
                if k % 2:
                    boxes.append(f"{file},1,2,{4 + k % 3},5")
                    members[f"{name}/{k}.json"] = json.dumps({"box": [1, 2, 4 + k % 3, 5]}).encode()
                else:
                    save_mask(folders / "masks" / f"{split}/{name}/{k}.png")
                    members[f"{name}/{k}.mask.png"] = (folders / f"masks/{split}/{name}/{k}.png").read_bytes()
        parts = sorted(members)
        middle = next(i for i, part in enumerate(parts) if part.startswith("dog"))
        write_tar(tars / f"{split}-0.tar", {part: members[part] for part in parts[:middle]})
        write_tar(tars / f"{split}-1.tar", {part: members[part] for part in parts[middle:]})
    (folders / "boxes.csv").write_text("\n".join(boxes) + "\n")
    return folders, tars


def test_the_same_pictures_in_class_folders_and_in_tars_are_the_same_data(tmp_path):
    folders, tars = as_folders(tmp_path)
    one, other = load_dataset("folder", folders), load_dataset("wds:{train,val,test}-*.tar", tars)

    assert one.class_names == other.class_names == ("cat", "dog")
    for column in ("sample_id", "label", "split", "group"):
        np.testing.assert_array_equal(getattr(one.samples, column), getattr(other.samples, column))
    assert [name.split("/", 1)[1] for name in other.samples.name] == [n.split("/", 1)[1] for n in one.samples.name]
    assert other.remarks == ("no labels in the tars: classes are the folders of the pictures",)
    for row in range(len(one.samples.name)):
        np.testing.assert_array_equal(one.image(row, 4), other.image(row, 4))
        assert one.box(row, 4) == other.box(row, 4)
        assert one.source_size(row) == other.source_size(row)
        alphas = one.alpha(row, 4), other.alpha(row, 4)
        assert (alphas[0] is None) == (alphas[1] is None)
        np.testing.assert_array_equal(*alphas)
    rows = np.arange(len(one.samples.name))
    assert one.digest(rows) == other.digest(rows)  # of the same bytes, boxes and masks
    assert (one.annotated, other.annotated) == (True, True)
    assert one.fingerprint() != other.fingerprint()  # names and the data set's name are others


def test_held_out_pictures_are_those_of_class_folders(tmp_path):
    members = {f"{name}/{k}.jpg": picture(k) for name in ("cat", "dog") for k in range(23)}
    write_tar(tmp_path / "tars/all.tar", members)
    for name, data in members.items():
        (tmp_path / "folders" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folders" / name).write_bytes(data)
    one, other = load_dataset("folder", tmp_path / "folders"), load_dataset("wds", tmp_path / "tars")
    by_name = dict(zip(one.samples.name, one.samples.split, strict=True))
    assert by_name == {n.split("/", 1)[1]: s for n, s in zip(other.samples.name, other.samples.split, strict=True)}
    assert "no tar of val or test: both were held out of each class by the names of the pictures" in other.remarks[1]


def test_labels_of_numbers_take_the_names_of_a_file(tmp_path):
    make_wds(tmp_path)
    (tmp_path / "classnames.txt").write_text("crow\nowl\nunused\n")
    assert load_dataset("wds", tmp_path).class_names == ("crow", "owl")
    (tmp_path / "classnames.txt").write_text("crow\n")
    with pytest.raises(InputError, match=r"classnames\.txt: no name for label 1 \(4 samples\); expected 0\.\.0$"):
        load_dataset("wds", tmp_path)


def test_labels_are_ordered_by_size_and_texts_by_letters(tmp_path):
    numbers = {f"{k}.jpg": picture(k) for k in range(3)} | {f"{k}.cls": b"%d\n" % n for k, n in enumerate((10, 9, 2))}
    write_tar(tmp_path / "a/train.tar", numbers)
    assert load_dataset("wds", tmp_path / "a").class_names == ("2", "9", "10")
    texts = {f"{k}.jpg": picture(k) for k in range(3)}
    texts |= {
        "0.json": b'{"label": "owl"}',
        "1.cls": b"crow",
        "2.txt": b"\xef\xbb\xbfowl\r\n",
        "1.txt": b"a crow\nsits",
    }
    write_tar(tmp_path / "b/train.tar", texts)
    dataset = load_dataset("wds", tmp_path / "b")
    assert (dataset.class_names, dataset.samples.label.tolist()) == (("crow", "owl"), [1, 0, 1])


def test_a_label_counts_by_its_file(tmp_path):
    members = {"0.jpg": picture(), "0.txt": b"a fine picture", "0.json": b'{"class_name": "cat"}', "0.cls": b"7"}
    write_tar(tmp_path / "train.tar", members)
    assert load_dataset("wds", tmp_path).class_names == ("7",)
    write_tar(tmp_path / "train.tar", members | {"0.json": b'{"label": 3}'})
    with pytest.raises(InputError, match=r"train\.tar: 0\.cls: label 7, but 3 in another file of the sample; fix one"):
        load_dataset("wds", tmp_path)


def test_members_need_not_lie_side_by_side(tmp_path):
    parts = samples(4, more={"place": "sea"})
    shuffled = {name: parts[name] for name in sorted(parts, key=lambda name: name[::-1])}
    write_tar(tmp_path / "a/train.tar", parts)
    write_tar(tmp_path / "b/train.tar", shuffled)
    one, other = (load_dataset("wds", tmp_path / each, ["place"]) for each in "ab")
    assert one.fingerprint() == other.fingerprint()
    assert one.digest(np.arange(4)) == other.digest(np.arange(4))


def test_groups_are_a_key_of_their_own_or_attributes_that_are_asked_for(tmp_path):
    members = {}
    for k in range(8):
        facts = {
            "label": k % 2,
            "Place": ("sea", "land")[k // 4],
            "wild": k % 4 < 2,
            "filename": f"{k}",
            "size": [1, 2],
        }
        members |= {f"{k}.jpg": picture(k), f"{k}.json": json.dumps(facts).encode()}
    write_tar(tmp_path / "train.tar", members)
    plain = load_dataset("wds", tmp_path)
    assert (plain.group_names, usual_meta(plain)) == ((), "10/class")
    assert "keys of the JSON files that could form groups with --attributes: place, wild" in plain.remarks
    crossed = load_dataset("wds", tmp_path, ["place"])
    assert crossed.group_names == ("0, place land", "0, place sea", "1, place land", "1, place sea")
    assert crossed.samples.group.tolist() == [1, 3, 1, 3, 0, 2, 0, 2]
    parse_meta(usual_meta(crossed))
    assert len(load_dataset("wds", tmp_path, ["place", "wild"]).group_names) == 8
    with pytest.raises(SettingError, match=r"no column plaze of attributes; did you mean place\?"):
        load_dataset("wds", tmp_path, ["plaze"])

    write_tar(tmp_path / "train.tar", samples(4, more={"group": 5}))
    assert load_dataset("wds", tmp_path).group_names == ("5",)
    assert load_dataset("wds", tmp_path, ["none"]).group_names == ()
    write_tar(tmp_path / "train.tar", samples(2, more={"group": 5}) | samples(3))
    with pytest.raises(InputError, match=r"train\.tar: 000002\.jpg: group is ''; expected a group for every picture"):
        load_dataset("wds", tmp_path)


def test_splits_may_stand_in_json_files(tmp_path):
    members = samples(6)
    splits = ("train", "train", "validation", "test", "test_hard", "TEST")
    members |= {f"{k:06d}.json": json.dumps({"split": split}).encode() for k, split in enumerate(splits)}
    write_tar(tmp_path / "all.tar", members)
    dataset = load_dataset("wds:all.tar", tmp_path)
    assert dataset.splits == ("train", "val", "test", "test_hard")
    assert dataset.samples.split.tolist() == [0, 0, 1, 2, 3, 2]
    with pytest.raises(
        InputError, match=r"all\.tar: 000002\.jpg is of val by its JSON file, its tar of train; correct one"
    ):
        load_dataset("wds:train=all.tar", tmp_path)
    write_tar(tmp_path / "all.tar", members | {"000000.json": b'{"split": "trian"}'})
    with pytest.raises(InputError, match=r"split is 'trian' in a JSON file; expected train, val, test or test_NAME"):
        load_dataset("wds:all.tar", tmp_path)
    write_tar(tmp_path / "all.tar", members)
    write_tar(tmp_path / "more.tar", samples(2))
    with pytest.raises(
        InputError, match=r"more\.tar has no split, but others have .*; name its split, e\.g\. wds:train=m"
    ):
        load_dataset("wds:*.tar", tmp_path)


def test_masks_that_look_like_class_numbers_are_left_in_doubt(tmp_path):
    members = samples(3) | {f"{k:06d}.seg.png": mask(3) for k in range(3)}
    write_tar(tmp_path / "train.tar", members)
    dataset = load_dataset("wds", tmp_path)
    assert not dataset.annotated
    with pytest.raises(
        InputError, match=r"train\.tar/000000\.seg\.png is nearly black.*; write masks like that, or give a"
    ):
        with_given(dataset, AnnotationSettings())


def test_masks_and_boxes_of_a_users_own_take_the_place_of_those_in_tars(tmp_path):
    make_wds(tmp_path)
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\ntrain-0.tar/000001.jpg,1,1,3,4\n")
    save_mask(tmp_path / "m/train-0.tar/000000.png")
    dataset = with_annotations(load_dataset("wds", tmp_path), tmp_path / "m", tmp_path / "boxes.csv")
    assert dataset.box(1) == (1, 1, 3, 4)
    assert dataset.alpha(0).min() == 1
    assert dataset.annotations_digest() != ""


def test_pictures_that_cannot_be_read_are_told_and_left_out(tmp_path):
    make_wds(tmp_path)
    write_tar(tmp_path / "train-1.tar", samples(3, 10) | {"000001.jpg": b"none"})
    dataset = load_dataset("wds", tmp_path)
    found = find_unreadable(dataset, range(10))
    assert [row for row, _ in found] == [4]
    assert "train-1.tar/000001.jpg: not a JPEG, PNG" in found[0][1]
    thinner = without_unreadable(dataset, found)
    assert thinner.left_out == ("train-1.tar/000001.jpg",)
    for row in range(9):
        np.testing.assert_array_equal(thinner.image(row), dataset.image(row + (row >= 4)))
    assert thinner.fingerprint() == leave_out(load_dataset("wds", tmp_path), thinner.left_out).fingerprint()


def test_a_tar_that_changes_is_told(tmp_path):
    make_wds(tmp_path)
    dataset = load_dataset("wds", tmp_path)
    dataset.image(0)
    write_tar(tmp_path / "train-0.tar", samples(9, 3))
    with pytest.raises(
        InputError, match=r"train-0\.tar: the tar file has changed since it was listed; start again, and"
    ):
        dataset.image(1)
    data = bytearray((tmp_path / "val-0.tar").read_bytes())
    data[:512] = bytes(512)
    (tmp_path / "val-0.tar").write_bytes(data)
    with pytest.raises(InputError, match=r"val-0\.tar: the tar file has changed since it was listed"):
        dataset.image(6)
    (tmp_path / "test-0.tar").unlink()
    with pytest.raises(
        InputError, match=r"cannot read .*test-0\.tar/000000\.jpg \(No such file or directory\), listed as"
    ):
        dataset.image(8)


def read_all(dataset):
    return [dataset.image(row).sum() for row in range(len(dataset.samples.name))]


def test_threads_and_forked_processes_read_the_same(tmp_path):
    make_wds(tmp_path)
    for k in range(12):
        write_tar(tmp_path / f"train-x{k}.tar", samples(5, 100 * k))
    dataset = load_dataset("wds", tmp_path)
    expected = read_all(dataset)  # handles are open now
    rows = np.random.default_rng(0).integers(0, len(expected), 2000).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert [image.sum() for image in pool.map(dataset.image, rows)] == [expected[row] for row in rows]
    assert codes_in_forks(lambda: read_all(dataset) != expected, 4) == [0] * 4
    small = pickle.dumps(dataset)
    assert len(small) < 12_000


def test_indexes_are_kept_where_a_place_is_named_and_made_again_when_they_do_not_fit(tmp_path, monkeypatch):
    make_wds(tmp_path / "data")
    write_tar(
        tmp_path / "data/train-2.tar", samples(2, 50, more={"box": [1, 1, 3, 3], "p": "x"}) | {"000000.seg.png": mask()}
    )
    plain = load_dataset("wds", tmp_path / "data")
    passes = []
    index_of = tar_store.index_of
    monkeypatch.setattr(tar_store, "index_of", lambda path: passes.append(path.name) or index_of(path))
    monkeypatch.setenv("CLP_CACHE", str(tmp_path / "kept"))

    def same():
        passes.clear()
        dataset = load_dataset("wds", tmp_path / "data")
        assert dataset.fingerprint() == plain.fingerprint()
        assert dataset.annotations_digest() == plain.annotations_digest()
        assert dataset.remarks == plain.remarks
        assert dataset.digest(np.arange(12)) == plain.digest(np.arange(12))
        return sorted(passes)

    assert len(same()) == 5
    assert same() == []
    files = sorted((tmp_path / "kept/wds").iterdir())
    assert len(files) == 5
    for damaged in (b"", b"x", files[0].read_bytes()[:-3], files[1].read_bytes()):
        files[0].write_bytes(damaged)
        assert [len(same()), len(same())] == [1, 0]
    write_tar(tmp_path / "data/val-0.tar", samples(2, 20))  # the same content, at another time
    assert same() == ["val-0.tar"]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLP_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot make .*file/wds \(Not a directory\)"):
        load_dataset("wds", tmp_path / "data")


def test_the_file_system_tells_nothing_of_order(tmp_path):
    for name in ("train-10", "train-2", "train-1"):
        write_tar(tmp_path / f"{name}.tar", samples(2, int(name[6:])))
    given = load_dataset("wds:train-{1,2,10}.tar", tmp_path)
    sorted_ = load_dataset("wds:train-*.tar", tmp_path)
    assert [name[:8] for name in given.samples.name[::2]] == ["train-1.", "train-2.", "train-10"]
    assert [name[:8] for name in sorted_.samples.name[::2]] == ["train-1.", "train-10", "train-2."]

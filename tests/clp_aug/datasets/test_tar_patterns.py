import shutil
import subprocess

import pytest

from clp_aug.contract.errors import InputError, SettingError, UsageError
from clp_aug.datasets import find_root, plugin_of, registered, short_of
from clp_aug.datasets.tar_patterns import MOST_TARS, expanded, find_tars, parse, split_by_name


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is the oracle")
def test_braces_are_those_of_bash():
    texts = ["a", "{a,b}", "x{1..3}y", "{01..12}.tar", "{0..10..5}", "{9..7}", "{a,b}{1,2}", "{a{1,2},b}-{8..10}",
             "{,x}y", "{000..2}", "x{a,}{,b}"]  # fmt: skip
    for text in texts:
        told = subprocess.run(["bash", "-c", f"printf '%s\\n' {text}"], capture_output=True, text=True, check=True)
        assert expanded("wds", text) == told.stdout.splitlines(), text


REFUSED = [
    (
        "wds:",
        r"a pattern is empty; expected tar files, for example wds:train-{0000\.\.0099}\.tar,val=more/val-\*\.tar",
    ),
    ("wds:a.tar,", "a pattern is empty"),
    ("wds:vaal=a.tar", r"vaal is no split: did you mean val\? expected train=, val=, test= or test_NAME= before"),
    ("wds:{0..1.tar", "a brace of '{0..1.tar' has no end"),
    ("wds:a}.tar", "a brace of 'a}.tar' has no beginning"),
    ("wds:{7}.tar", r"braces '\{7\}'; expected a range {0000..0099} or a list {a,b}"),
    ("wds:{0..999999999}.tar", "it means more than 100,000 files; expected fewer, larger ones"),
    ("wds:{0..999}{0..999}.tar", "it means more than 100,000 files"),
    ("wds:" + "{a,b}" * 31, r"a name of 159 letters with 31 braces and signs \* \? \[; expected at most 4,096 and 30"),
    ("wds:" + "[" * 999, r"a name of 1,003 letters with 999 braces and signs"),
    ("wds:" + "a" * 5000, "a name of 5,004 letters with 0 braces"),
    ("wds:train.tar.gz", r"'train.tar.gz' is compressed, but pictures are read at any place in a file; unpack it"),
    ("wds:https://a/b.tar", r"'https://a/b.tar' is no file; copy the tar files to a disk"),
    ("wds:pipe:cat a.tar", "is no file"),
]


@pytest.mark.parametrize(("name", "message"), REFUSED, ids=range(len(REFUSED)))
def test_names_that_mean_nothing_are_refused_at_the_door(name, message):
    with pytest.raises(UsageError, match=message) as caught:
        plugin_of(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["wds:/data/x/a-{0..9}.tar", "wds:../a.tar", "wds:x/../../a.tar"])
def test_patterns_that_lead_out_of_the_root_are_refused(name):
    with pytest.raises(
        SettingError, match="it leads out of its root, and shards store no paths of a machine"
    ) as caught:
        parse(name)
    assert caught.value.take == ({"root": "/data/x"} if name.startswith("wds:/") else {})


def test_splits_are_named_or_told_by_names_and_folders(tmp_path):
    touch(tmp_path, "imagenet1k-train-0.tar", "imagenet1k-validation-0.tar", "test/0.tar", "x.tar", "y.tar", "z.tar")
    tars = find_tars("wds:*.tar,test/*.tar", tmp_path)
    assert [(tar.name, tar.split) for tar in tars] == [
        ("x.tar", ""), ("y.tar", ""), ("z.tar", ""), ("imagenet1k-train-0.tar", "train"),
        ("imagenet1k-validation-0.tar", "val"), ("test/0.tar", "test"),
    ]  # fmt: skip
    tars = find_tars("wds:test_hard=z.tar,valid=y.tar, test=test/0.tar,training=x.tar", tmp_path)
    assert [(tar.name, tar.split) for tar in tars] == [
        ("x.tar", "train"), ("y.tar", "val"), ("test/0.tar", "test"), ("z.tar", "test_hard"),
    ]  # fmt: skip
    assert [tar.name for tar in find_tars("wds", tmp_path)][-1] == "test/0.tar"
    assert split_by_name("wds", "train/val-0.tar") == "val"
    assert split_by_name("wds", "strain/constrain.tar") == ""
    with pytest.raises(
        InputError, match=r"train-val\.tar names several splits, train and val; choose one, for example"
    ):
        split_by_name("wds", "train-val.tar")


def test_files_that_lack_or_are_named_twice(tmp_path):
    touch(tmp_path, "train-0.tar", "train-2.tar", "folder.tar/x")
    with pytest.raises(
        InputError, match=r"1 of 3 tar files of train-{0\.\.2}\.tar are missing, first .*train-1\.tar; r"
    ):
        find_tars("wds:train-{0..2}.tar", tmp_path)
    with pytest.raises(InputError, match=r"train-0\.tar is named twice; each tar file counts once"):
        find_tars("wds:train-0.tar,*.tar", tmp_path)
    with pytest.raises(InputError, match=r"no file fits trian-\*\.tar below .*; there are train-0\.tar, train-2\.tar$"):
        find_tars("wds:trian-*.tar", tmp_path)
    assert [tar.name for tar in find_tars("wds", tmp_path)] == ["train-0.tar", "train-2.tar"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no file fits a\.tar below .*, and there is no other tar file; check --root"):
        find_tars("wds:a.tar", tmp_path / "empty")
    with pytest.raises(
        InputError, match=r"no tar file in .*empty or a folder in it; give their folder with --root DIR"
    ):
        find_tars("wds", tmp_path / "empty")


def test_where_tars_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLP_DATA", "store")
    with pytest.raises(
        InputError, match=r"no tar file t-0\.tar in the current folder or store/wds or data/wds; give their folder with"
    ):
        find_root("wds:t-{0..1}.tar", None)
    for place in ("data/wds", "store/wds", "."):
        touch(tmp_path / place, "t-0.tar")
        assert find_root("wds:t-{0..1}.tar", None).as_posix() == place
    assert find_root("wds", None).as_posix() == "store/wds"
    assert find_root("wds:t-*.tar", "data/wds").as_posix() == "data/wds"
    with pytest.raises(InputError, match=r"data set wds:t-\*\.tar: no folder at nowhere; give it with --root DIR"):
        find_root("wds:t-*.tar", "nowhere")


def test_short_names_are_safe_in_names_of_files():
    names = {
        "wds": "wds", "wds:train-{0000..0099}.tar": "wds-train", "wds:train=birds/a-*.tar,val=b.tar": "wds-birds-a",
        "wds:{a,b}.tar": "wds", "wds:x y;rm.tar": "wds-x-y-rm", "wds:" + "q" * 90: "wds-" + "q" * 40,
        "my.py:load": "load", "waterbirds": "waterbirds",
    }  # fmt: skip
    assert {name: short_of(name) for name in names} == names
    assert (registered("wds:a.tar"), registered("my.py:load"), registered("demo")) == ("wds", "my.py:load", "demo")


def test_as_many_files_as_may_be():
    assert len(parse(f"wds:{{1..{MOST_TARS}}}.tar")[0].paths) == MOST_TARS

"""What logits are called: files of names of every form, and ImageNet's own names."""

import builtins
import json
import re
from pathlib import Path

import pytest

from clp_aug.contract.errors import InputError
from clp_train.auditing.class_names import names_in


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a\nb, c\n\n", (("a",), ("b, c",))),
        ("\ufeffa\r\nb\r\n", (("a",), ("b",))),
        ('["a", ["b", "c"]]', (("a",), ("b", "c"))),
        ('{"1": "b", "0": ["n1", "a"]}', (("n1", "a"), ("b",))),
    ],
)
def test_forms_of_files_of_names(tmp_path, text, names):
    (tmp_path / "n").write_text(text)
    assert names_in(tmp_path / "n") == names


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 names; expected one name a line"),
        (b"one\n", "1 names; expected one name a line"),
        (b"a\n\nb\n", "'' is not a name"),
        (b"[1, 2]", "'1' is not a name"),
        (b'["a", []]', "'[]' is not a name"),
        (b'{"a": 1}', "a JSON object whose keys are not 0, 1, 2, ..."),
        (b"[", "not JSON (Expecting value"),
        (b"\xff\xfe\x00", "cannot read (not UTF-8 text)"),
    ],
)
def test_files_without_names_are_refused(tmp_path, content, reason):
    (tmp_path / "n").write_bytes(content)
    with pytest.raises(InputError, match=re.escape(reason)) as caught:
        names_in(tmp_path / "n")
    assert str(caught.value).startswith(f"--classes {tmp_path / 'n'}: ")
    assert "\n" not in str(caught.value)


def test_a_file_of_names_that_is_not_there():
    with pytest.raises(InputError, match=r"--classes none\.txt: cannot read \(No such file or directory\); "):
        names_in(Path("none.txt"))


def test_imagenet_stands_for_its_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = names_in(Path("imagenet"))
    assert len(names) == 1000
    assert (names[0][0], names[207][0], names[999][0]) == ("tench", "golden retriever", "toilet tissue")
    assert all(names)
    (tmp_path / "imagenet").write_text(json.dumps(["a", "b"]))
    assert names_in(Path("imagenet")) == (("a",), ("b",))


def test_imagenet_has_ids_and_synonyms_with_timm(monkeypatch):
    pytest.importorskip("timm")
    whole = names_in(Path("imagenet"))
    assert whole[0] == ("tench", "tench, Tinca tinca", "n01440764")
    real = builtins.__import__

    def without(name, *more):
        if name.startswith("timm"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    plain = names_in(Path("imagenet"))
    assert plain[0] == ("tench",)
    assert [names[0] for names in plain] == [names[0] for names in whole]

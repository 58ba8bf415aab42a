"""TOML files by name or by path: what is found, and what is said where nothing is."""

import pytest

from clp_aug.common.toml import named_files, read_named
from clp_aug.contract.errors import InputError, UsageError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "waterbirds.toml").write_text('epochs = 3\n[method.clp]\nname = "é"\n', "utf-8")
    (tmp_path / "cifar10.toml").write_text("")
    (tmp_path / "notes.txt").write_text("no table")
    return tmp_path


def test_names_are_those_of_the_folder_in_order(folder, tmp_path_factory):
    assert named_files(folder) == ("cifar10", "waterbirds")
    assert named_files(tmp_path_factory.mktemp("nothing")) == ()


def test_a_name_is_read_from_the_folder(folder):
    path, table = read_named("waterbirds", folder, "preset")
    assert path == folder / "waterbirds.toml"
    assert table == {"epochs": 3, "method": {"clp": {"name": "é"}}}
    assert read_named("cifar10", folder, "preset")[1] == {}


def test_a_path_is_read_wherever_it_lies(folder, tmp_path):
    own = tmp_path / "elsewhere" / "own.toml"
    own.parent.mkdir()
    own.write_text("lr = 0.5\n")
    assert read_named(str(own), folder, "preset") == (own, {"lr": 0.5})


def test_a_path_is_not_sought_in_the_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(InputError, match=r"^cannot read preset waterbirds\.toml \(No such file or directory\)$"):
        read_named("waterbirds.toml", folder, "preset")


def test_an_unknown_name_suggests_and_lists(folder):
    with pytest.raises(UsageError) as error:
        read_named("waterbird", folder, "preset")
    assert str(error.value) == (
        "unknown preset 'waterbird': did you mean waterbirds? choose one of cifar10, waterbirds, or a file that ends in"
        " .toml"
    )
    with pytest.raises(UsageError) as error:
        read_named("zzz", folder, "table")
    assert str(error.value).startswith("unknown table 'zzz': choose one of cifar10, waterbirds, or a file")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"epochs = \n", "not TOML ("), (b"a = 1\na = 2\n", "not TOML ("), (b"name = '\xff'\n", "not TOML (")],
    ids=["no value", "twice", "no text"],
)
def test_what_is_no_toml_is_one_line(folder, content, message):
    path = folder / "broken.toml"
    path.write_bytes(content)
    for name in ("broken", str(path)):
        with pytest.raises(InputError) as error:
            read_named(name, folder, "preset")
        assert str(error.value).startswith(f"preset {path}: {message}")
        assert "\n" not in str(error.value)


HOSTILE = {
    "digits": ("seed = " + "9" * 4301, "not TOML (Exceeds the limit"),
    "digits of base 16": ("seed = 0x" + "f" * 5000, "not TOML (a whole number of 20,000 bits)"),
    "beyond floats": ("lr = [1, {a = -1" + "0" * 309 + "}]", "not TOML (a whole number of 1,027 bits)"),
    "brackets": ("a = " + "[" * 3000 + "]" * 3000, "nested too deep; expected tables of key = value lines"),
    "braces": ("a = " + "{b = " * 3000 + "1" + "}" * 3000, "nested too deep; expected"),
    "dots": (".".join("a" * 9000) + " = 1", "nested too deep; expected"),
    "dots in a table": (f"[{'.'.join('a' * 9000)}]\nb = 1", "nested too deep; expected"),
    "a few brackets too many": ("a = " + "[" * 100 + "]" * 100, "nested too deep; expected"),
    "half a character": ('a = "\\ud800"', "not TOML (Escaped character is not a Unicode scalar value"),
    "null character": ("a = '\0'", "not TOML ("),
}


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_what_python_cannot_hold_is_one_line(folder, content, message):
    path = folder / "hostile.toml"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_named(str(path), folder, "preset")
    assert str(error.value).startswith(f"preset {path}: {message}")
    assert "\n" not in str(error.value)


def test_numbers_and_nests_that_are_used_are_read(folder):
    (folder / "fine.toml").write_text(f"a = 0x{'f' * 64}\nb = -1{'0' * 308}\nc = {'[' * 98}{']' * 98}\nd = inf\n")
    table = read_named("fine", folder, "preset")[1]
    assert (table["a"], table["b"], table["d"]) == (2**256 - 1, -(10**308), float("inf"))


@pytest.mark.parametrize("name", ["a\0b.toml", "\ud800.toml", "x" * 300 + ".toml"], ids=["null", "half", "long"])
def test_names_that_no_file_has(folder, name):
    with pytest.raises(
        InputError, match=r"^cannot read preset .*\((embedded null byte|.*surrogates.*|File name too long)\)$"
    ):
        read_named(name, folder, "preset")


def test_a_folder_in_place_of_a_file(folder):
    (folder / "deep.toml").mkdir()
    with pytest.raises(InputError, match=r"^cannot read preset .*deep\.toml \(Is a directory\)$"):
        read_named("deep", folder, "preset")

"""Plug-ins: what names stand for, of which code it is, and what is said of those that cannot be used."""

import hashlib
import pickle
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from clp_aug.common import own_code, plugins
from clp_aug.common.plugins import Plugin, difference, find, is_code, is_own, label, records, short
from clp_aug.contract.errors import InputError, UsageError

REGISTRY = {"tile": 1, "grey": 2}
SOURCE = "def blend(scene):\n    return scene\n\nANSWER = 42\n"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file with a fill, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path / "mine.py"


def test_a_registered_name_is_no_plugin():
    assert find(REGISTRY, "tile", "fill") is None


def test_a_file_is_loaded_once_and_named_by_its_hash(mine):
    plugin = find(REGISTRY, "mine.py:ANSWER", "fill")
    assert (plugin.value, plugin.what, plugin.file) == (42, "fill", str(mine))
    assert plugin.origin == f"mine.py {hashlib.sha256(SOURCE.encode()).hexdigest()}"
    first, again = (find(REGISTRY, name, "fill").value for name in ("mine.py:blend", f"{mine}:blend"))
    assert first is again


def test_the_origin_is_of_the_code_that_was_imported(mine):
    before = find(REGISTRY, "mine.py:ANSWER", "fill")
    mine.write_text(SOURCE.replace("42", "43"))
    assert find(REGISTRY, "mine.py:ANSWER", "fill") == before


def test_files_of_one_name_in_two_folders_are_two(mine, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine.py").write_text("ANSWER = 7\n")
    assert [find({}, f"{name}:ANSWER", "fill").value for name in ("mine.py", "other/mine.py")] == [42, 7]


def test_a_module_of_the_current_folder_and_one_that_is_installed(mine, tmp_path):
    (tmp_path / "pack_of_mine").mkdir()
    (tmp_path / "pack_of_mine/part.py").write_text("VALUE = 1\n")
    own = find({}, "pack_of_mine.part:VALUE", "fill")
    assert own.origin == f"part.py {hashlib.sha256(b'VALUE = 1' + bytes([10])).hexdigest()}"
    assert find({}, "numpy:add", "fill").origin == f"numpy {metadata.version('numpy')}"


def test_a_file_may_import_what_lies_beside_it(mine, tmp_path):
    folder = tmp_path / "deep"
    folder.mkdir()
    (folder / "helper_of_mine.py").write_text("VALUE = 5\n")
    (folder / "own.py").write_text("from helper_of_mine import VALUE\n")
    assert find({}, "deep/own.py:VALUE", "fill").value == 5


REFUSED = [  # what the file holds, what is asked for, what is said
    ("", "tiel", "unknown fill 'tiel': did you mean tile? choose one of grey, tile, or give your own as"
     " module:name or file.py:name"),
    ("", "none.py:x", "fill 'none.py:x': no file none.py; give its path"),
    ("", "nowhere_at_all:x", "fill 'nowhere_at_all:x': no module nowhere_at_all; install it, or give the path of its"
     " file"),
    ("", "tiles:x", "fill 'tiles:x': no module tiles; did you mean tile? install it, or give the path of its file"),
    (SOURCE, "mine.py:blnd", "fill 'mine.py:blnd': mine.py has no blnd; did you mean blend?"),
    (SOURCE, "mine.py:xyz", "fill 'mine.py:xyz': mine.py has no xyz; it has blend"),
    ("import os\n", "mine.py:x", "fill 'mine.py:x': mine.py has no x; it has no names of its own"),
    ("a = 1\n\n1 / 0\n", "mine.py:a", "fill 'mine.py:a': mine.py cannot be imported: ZeroDivisionError: division by"
     " zero (mine.py, line 3)"),
    ("def f(:\n", "mine.py:f", "fill 'mine.py:f': mine.py cannot be imported: SyntaxError: invalid syntax"
     " (mine.py, line 1)"),
    ("import not_there_at_all\n", "mine.py:f", "fill 'mine.py:f': mine.py cannot be imported: ModuleNotFoundError: No"
     " module named 'not_there_at_all' (mine.py, line 1)"),
    ("open('gone.txt')\n", "mine.py:f", "fill 'mine.py:f': mine.py cannot be imported: FileNotFoundError: [Errno 2] No"
     " such file or directory: 'gone.txt' (mine.py, line 1)"),
    ("raise SystemExit(3)\n", "mine.py:f", "fill 'mine.py:f': mine.py cannot be imported: SystemExit: 3 (mine.py, line"
     " 1)"),
    ("raise ValueError\n", "mine.py:f", "fill 'mine.py:f': mine.py cannot be imported: ValueError (mine.py, line 1)"),
    ("raise ValueError('a\\nb')\n", "mine.py:f", "fill 'mine.py:f': mine.py cannot be imported: ValueError: a b"
     " (mine.py, line 1)"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "name", "message"), REFUSED)
def test_what_cannot_be_loaded_is_one_line(mine, source, name, message):
    mine.write_text(source)
    with pytest.raises(UsageError) as refused:
        find(REGISTRY, name, "fill")
    assert str(refused.value) == message


@pytest.mark.parametrize("name", [":x", "x:", ":", ""])
def test_half_a_name_is_an_unknown_one(name):
    with pytest.raises(
        UsageError, match=r"^unknown fill .*: choose one of grey, tile, or give your own as module:name"
    ):
        find(REGISTRY, name, "fill")


def test_a_file_that_failed_is_tried_again(mine):
    mine.write_text("1 / 0\n")
    with pytest.raises(UsageError):
        find({}, "mine.py:x", "fill")
    mine.write_text("x = 1\n")
    assert find({}, "mine.py:x", "fill").value == 1


@pytest.fixture
def installed(monkeypatch, mine):
    """Two entry points: one that loads, one that does not."""
    dist = SimpleNamespace(name="pack", version="1.2")
    found = {name: metadata.EntryPoint(name, value, "clp.fills") for name, value in NAMED.items()}
    for point in found.values():
        vars(point)["dist"] = dist
    monkeypatch.setattr(plugins, "entry_points", lambda group: found if group == "clp.fills" else {})


NAMED = {"add": "numpy:add", "broken": "numpy:no_such_name"}


def test_an_entry_point_adds_a_name(installed):
    plugin = find(REGISTRY, "add", "fill")
    assert (plugin.name, plugin.origin) == ("add", f"numpy {metadata.version('numpy')}")
    with pytest.raises(
        UsageError, match=r"^fill 'broken' of pack 1\.2 cannot be loaded: AttributeError: .*no_such_name"
    ):
        find(REGISTRY, "broken", "fill")
    with pytest.raises(UsageError, match=r"^unknown fill 'ad': .*choose one of add, broken, grey, tile, or give"):
        find(REGISTRY, "ad", "fill")


def test_what_is_written_as_a_plugin(installed):
    rows = [("tile", "fill", False, False), ("a.py:b", "fill", True, True), ("add", "fill", True, False),
            ("add", "matte", False, False), ("hatt:a.pt", "matte", False, False), ("onnx:x.on", "matte", False, False),
            ("timm:x", "model", False, False), ("a:b", "matte", True, True), (None, "fill", False, False)]  # fmt: skip
    for name, what, own, code in rows:
        assert is_own(name, what) == own, name
        assert name is None or is_code(name, what) == code, name


def test_every_group_is_asked_for():
    assert all(plugins.entry_points(group) == {} for group in plugins.GROUPS.values())


@pytest.mark.parametrize(
    ("name", "recorded", "in_a_file_name"),
    [
        ("tile", "tile", "tile"),
        ("/home/me/mine.py:blend", "mine.py:blend", "blend"),
        ("./mine.py:blend", "mine.py:blend", "blend"),
        ("pack.part:blend", "pack.part:blend", "blend"),
        ("a.py:Größe/x", "a.py:Größe/x", "Gr_e_x"),
        ("torchvision:resnet18", "torchvision:resnet18", "resnet18"),
    ],
)
def test_names_in_records_and_in_file_names(name, recorded, in_a_file_name):
    assert (label(name), short(name)) == (recorded, in_a_file_name)


def plugin_of(value, file=""):
    return Plugin("m:x", value, "m 1", "fill", file)


def test_a_call_passes_on_what_is_ours_and_says_the_rest_in_a_line():
    assert plugin_of(None).call(divmod, 7, 2) == (3, 1)
    with pytest.raises(UsageError, match=r"^fill 'm:x': ValueError: a b$"):
        plugin_of(None).call(raising, ValueError("a\nb"))
    with pytest.raises(UsageError, match=r"^fill 'm:x': KeyError: 1 \(test_plugins\.py, line \d+\)$"):
        plugin_of(None, __file__).call(raising, KeyError(1))
    with pytest.raises(InputError, match=r"^as it is$"):
        plugin_of(None).call(raising, InputError("as it is"))


def raising(error):
    raise error


def test_a_call_gives_what_is_asked_for_by_name():
    assert plugin_of(lambda: 1).call_with(root=3) == 1
    assert plugin_of(lambda root: root).call_with(root=3, other=4) == 3
    assert plugin_of(lambda other=2, *, root: (root, other)).call_with(root=3) == (3, 2)
    assert plugin_of(dict).call_with(root=3) == {}  # written in C: it says nothing of its parameters
    with pytest.raises(UsageError, match=r"^fill 'm:x': it asks for folder, but can only have root$"):
        plugin_of(lambda folder: folder).call_with(root=3)
    with pytest.raises(UsageError, match=r"^fill 'm:x': it is of type int, which cannot be called$"):
        plugin_of(3).call_with()


def test_records_name_plugins_without_folders():
    assert records([None, Plugin("/a/b.py:c", 1, "b.py 12", "fill")]) == {
        "b.py:c": {"what": "fill", "origin": "b.py 12"}
    }


def test_what_differs_is_said_in_words():
    one, other = {"a:b": {"origin": "1"}}, {"a:b": {"origin": "2"}}
    assert difference(one, other) == "another a:b: its code has changed since"
    assert difference(None, one) == "plug-ins none, now a:b"
    assert difference(one, {"c:d": {}}) == "plug-ins a:b, now c:d"


WORKER = """
import sys
from clp_aug.common import own_code
from clp_aug.contract.errors import UsageError
import pickle
files, parcel = pickle.loads(sys.stdin.buffer.read())
try:
    own_code.expect_files(files)
    print(pickle.loads(parcel)(3))
except UsageError as error:
    print(error)
"""


def test_another_process_loads_files_before_it_unpickles(mine):
    function = find({}, "mine.py:blend", "fill").value
    files = [file for file in own_code.loaded_files() if file[0] == str(mine)]
    parcel = pickle.dumps((files, pickle.dumps(function)))

    def worker():
        done = subprocess.run([sys.executable, "-c", WORKER], input=parcel, capture_output=True, cwd="/", check=True)
        return done.stdout.decode().strip()

    assert worker() == "3"
    mine.write_text(SOURCE + "# changed\n")
    assert worker() == f"plug-in {mine} has changed since it was loaded; start again"

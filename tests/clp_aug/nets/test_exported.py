"""Exported programs from hostile hands: nothing in them runs, nothing in them takes the machine's memory."""

import ast
import contextlib
import io
import json
import struct
import warnings
import zipfile
import zlib

import pytest
import torch

from clp_aug.contract.errors import InputError
from clp_aug.nets import plain_program
from clp_aug.nets.exported import load_classifier
from clp_aug.nets.plain_program import check_program
from tests.clp_aug.nets.exporting import export

SIDE, CLASSES = 8, 3


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A small classifier's file."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 2, 3, 2, 1), torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(32, CLASSES)
    )
    return export(tmp_path_factory.mktemp("exported") / "plain.pt2", module, SIDE), module


def rewritten(source, target, change=lambda name, data: data, more=(), compress=zipfile.ZIP_STORED):
    """Write an archive anew, some of its files changed, others added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compress) as new:
        for name in old.namelist():
            new.writestr(name, change(name.partition("/")[2], old.read(name)))
        for name, data in more:
            new.writestr(f"{old.namelist()[0].partition('/')[0]}/{name}", data)
    return target


def with_program(source, target, change):
    """Write an archive anew with a changed program: change(JSON) -> None."""

    def of_file(name, data):
        if not name.startswith("models/"):
            return data
        program = json.loads(data)
        change(program)
        return json.dumps(program).encode()

    return rewritten(source, target, of_file)


def replace(value, old, new):
    """Replace a text everywhere in JSON, keys included."""
    if isinstance(value, dict):
        for key in list(value):
            value[key.replace(old, new)] = replace(value.pop(key), old, new)
        return value
    if isinstance(value, list):
        return [replace(one, old, new) for one in value]
    return value.replace(old, new) if isinstance(value, str) else value


def calls(target, *arguments):
    """Return a change that calls a function of torch's modules with texts."""

    def change(program):
        nodes = program["graph_module"]["graph"]["nodes"]
        inputs = [{"name": "", "arg": {"as_string": text}, "kind": 1} for text in arguments]
        node = {"target": target, "inputs": inputs, "outputs": [{"as_none": True}], "metadata": {}, "name": "x"}
        nodes.insert(0, {**nodes[0], **node})

    return change


def guarded(code):
    return lambda program: program.update(guards_code=[code])


def sized(expression):
    """Return a change of every size that is computed from the batch."""

    def change(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == "expr_str":
                    value[key] = expression
                change(inner)
        elif isinstance(value, list):
            for inner in value:
                change(inner)

    return change


def named(new):
    """Return a change of the name of the pictures, which torch writes into the source of a function."""
    return lambda program: replace(program, "input", new) and None


def tree(kind, context):
    """Return a change of how arguments are packed."""

    def change(program):
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        leaf = {"type": None, "context": None, "children_spec": []}
        signature["out_spec"] = json.dumps([1, {"type": kind, "context": context, "children_spec": [leaf]}])

    return change


def touching(path):
    return f"__import__('pathlib').Path('{path}').touch()"


HOSTILE = {
    "a function of the system": lambda trap: calls("torch.os.system", f"touch {trap}"),
    "a function of a module's module": lambda trap: calls("torch.serialization.os.system", f"touch {trap}"),
    "a builtin": lambda trap: calls("torch.functional.__builtins__.exec", touching(trap)),
    "an operator that calls": lambda trap: calls("_operator.call", touching(trap)),
    "a file that is mapped": lambda trap: calls("torch.ops.aten.from_file.default", str(trap)),
    "a library that is loaded": lambda trap: calls("torch.ops.load_library", str(trap)),
    "a size": lambda trap: sized(touching(trap)),
    "a size that calls": lambda trap: sized(f"Integer({touching(trap)})"),
    "a size of characters": lambda trap: sized("exec(chr(49))"),
    "a size beyond numbers": lambda trap: sized("Pow(Integer(9), Pow(Integer(9), Integer(99)))"),
    "a name": lambda trap: named(f"x={touching(trap)}"),
    "a name of a weight": lambda trap: lambda p: replace(p, "3.weight", f'3.w")[{touching(trap)}]#') and None,
    "a module that is imported": lambda trap: tree(
        "collections.defaultdict", json.dumps([{"default_factory_module": "trap", "default_factory_name": "x"}, []])
    ),
    "an operator as a value": lambda trap: (
        lambda p: p["graph_module"]["graph"]["nodes"][0]["inputs"][0].update(arg={"as_operator": "torch.os.system"})
    ),
    "an object": lambda trap: (
        lambda p: p["graph_module"]["graph"]["nodes"][0]["inputs"][0].update(
            arg={"as_custom_obj": {"name": "x", "class_fqn": "x"}}
        )
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_program_that_names_more_than_tensor_operators_is_refused(plain, tmp_path, monkeypatch, case):
    trap = tmp_path / "sprung"
    (tmp_path / "trap.py").write_text(f"{touching(trap)}\nx = int")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = with_program(plain[0], tmp_path / "h.pt2", HOSTILE[case](trap))
    with pytest.raises(InputError) as error:
        load_classifier(path)(torch.rand(1, 3, SIDE, SIDE))
    assert str(error.value).startswith(f"classifier {path}: not an exported program (")
    assert str(error.value).endswith("; clp-train --export writes one")
    assert len(str(error.value).splitlines()[0]) < 600
    assert not trap.exists()


def test_a_program_as_it_is_written_is_read(plain, tmp_path):
    path, module = plain
    images = torch.rand(3, 3, SIDE, SIDE)
    for other in (
        path,
        rewritten(path, tmp_path / "again.pt2"),
        with_program(path, tmp_path / "b.pt2", lambda p: None),
    ):
        assert torch.equal(load_classifier(other)(images), module(images))


def test_what_it_was_exported_with_is_not_read(plain, tmp_path):
    """Sample inputs are pickled tensors: whatever lies in their place changes nothing and does nothing."""

    def change(name, data):
        return b"no pickle" if name.startswith("data/sample_inputs/") else data

    images = torch.rand(3, 3, SIDE, SIDE)
    found = load_classifier(rewritten(plain[0], tmp_path / "other.pt2", change))
    assert torch.equal(found(images), plain[1](images))


@pytest.mark.parametrize("guard", ["{} is None", "1 == 1, '') or ({}"])
def test_guards_are_left_out(plain, tmp_path, guard):
    """Torch executes them as Python."""
    trap, images = tmp_path / "sprung", torch.rand(3, 3, SIDE, SIDE)
    path = with_program(plain[0], tmp_path / "g.pt2", guarded(guard.format(touching(trap))))
    assert torch.equal(load_classifier(path)(images), plain[1](images))
    assert not trap.exists()


@pytest.mark.parametrize(
    "text",
    ["s34", "u0 + 1", "2*s0*(s1 - 3)", "Symbol('s34', positive=True, integer=True)", "Max(1, s0)",
     "Min(Integer(768), Mul(Integer(768), Symbol('s34', positive=True, integer=True)))", "Eq(s0, 1)",
     "FloorDiv(s0, 2)", "Pow(Symbol('s34', integer=True), Integer(2))", "s0 >= 2", "-s0"],
)  # fmt: skip
def test_sizes_that_are_arithmetic_are_allowed(text):
    check_program({"expr_str": text})


@pytest.mark.parametrize(
    "text",
    ["", "os", "exec", "x", "x()", "s0()", "s0.real", "s0[0]", "'a'", "Symbol(s0.name)", "Symbol('a b')", "lambda: 1",
     "[1]", "(1, 2)", "Symbol('s0', evaluate=open)", "9**9**9", "Pow(Integer(9), Integer(9))", "1" * 100, "f'{1}'",
     "Symbol('s0', **{})", "Symbol(*x)", "s0 if s0 else 1", "s0 := 1", "(" * 300 + "1" + ")" * 300, "-" * 5000 + "1",
     "S('exec')", "sympify", "Integer", "s0 + 'a'", "1j", "1e999", None, 3, ["s0"]],
    ids=lambda text: str(text)[:20],
)  # fmt: skip
def test_sizes_that_are_more_than_arithmetic_are_refused(text):
    with pytest.raises(ValueError, match="which is no size"):
        check_program({"expr_str": text})


@pytest.mark.parametrize(
    "target",
    ["torch.ops.aten.sub.Tensor", "torch.ops.aten.relu_.default", "_operator.getitem", "_operator.mul", "torch.sym_max",
     "math.ceil", "torch.ops.higher_order.wrap_with_set_grad_enabled", "torch.ops.aten._softmax.default"],
)  # fmt: skip
def test_operators_of_tensors_are_allowed(target):
    check_program({"nodes": [{"target": target}]})


def bomb(size, ratio_of=zipfile.ZIP_DEFLATED):
    """Return an archive of one file of so many zeros."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", ratio_of) as archive:
        archive.writestr("a/data/weights/weight_0", bytes(size))
    return content.getvalue()


def overlapping(count):
    """Return an archive whose table lists one deflated file many times, under other names."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(bytes(2**20)) + packed.flush()
    name = b"a/data/weights/weight_%d"
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, zlib.crc32(bytes(2**20)), len(data), 2**20,
                        len(name % 0), 0) + name % 0 + data  # fmt: skip
    table = b"".join(
        struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 0, zlib.crc32(bytes(2**20)), len(data), 2**20,
                    len(name % i), 0, 0, 0, 0, 0, 0) + name % i
        for i in range(count)
    )  # fmt: skip
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, len(table), len(local), 0)
    return local + table + end


@pytest.mark.parametrize("content", [bomb(2**27), overlapping(5000)], ids=["zeros", "one file under many names"])
def test_small_archives_that_unpack_to_large_ones_are_refused_before_they_are_unpacked(tmp_path, content):
    import tracemalloc

    path = tmp_path / "b.pt2"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"unpacks to \d+ bytes, expected at most \d+"):
            load_classifier(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**24 + 4 * len(content)


def test_weights_larger_than_their_file_are_refused(plain, tmp_path):
    def change(name, data):
        if name != "data/weights/model_weights_config.json" and not name.endswith("_weights_config.json"):
            return data
        config = json.loads(data)
        meta = next(iter(config["config"].values()))["tensor_meta"]
        meta["sizes"], meta["strides"] = [{"as_int": 10**6}] * 2, [{"as_int": 0}] * 2
        return json.dumps(config).encode()

    path = rewritten(plain[0], tmp_path / "l.pt2", change)
    with pytest.raises(InputError, match=r"0\.weight is \[1000000, 1000000\], more than its file holds"):
        load_classifier(path)


def test_empty_weights_that_say_to_be_large_are_refused(plain, tmp_path):
    def change(name, data):
        return b"" if name == "data/weights/weight_0" else data

    path = rewritten(plain[0], tmp_path / "e.pt2", change)
    with pytest.raises(InputError, match=r"more than its file holds"):
        load_classifier(path)


def test_large_files_are_not_read(tmp_path):
    with open(tmp_path / "l.pt2", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match=r"l\.pt2: 1099511627776 bytes, expected at most \d+; clp-train --export"):
        load_classifier(tmp_path / "l.pt2")


def test_two_tables_of_one_archive_cannot_disagree(plain, tmp_path):
    """Python reads the table before the end of the file, torch the one at the place that the end names."""
    good = plain[0].read_bytes()
    hostile = with_program(plain[0], tmp_path / "h.pt2", calls("torch.os.system", f"touch {tmp_path / 'sprung'}"))
    for content in (hostile.read_bytes() + good, good + hostile.read_bytes()):
        (tmp_path / "two.pt2").write_bytes(content)
        with contextlib.suppress(InputError):
            load_classifier(tmp_path / "two.pt2")(torch.rand(1, 3, SIDE, SIDE))
        assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, data: data[:-4] if name == "data/weights/weight_0" else data, "setStorage: .* out of bounds"),
        (lambda name, data: b"six" if name == ".data/version" else data, "Couldn't parse the version six as Long"),
        (lambda name, data: b"9" if name == "archive_version" else data, "Saved archive version 9 does not match"),
    ],
    ids=["short weight", "version", "archive version"],
)
def test_what_torch_logs_is_told_in_the_one_line(plain, tmp_path, capfd, change, message):
    path = rewritten(plain[0], tmp_path / "s.pt2", change)
    with pytest.raises(InputError, match=rf"s\.pt2: not an exported program \(.*{message}.*\); clp-train") as error:
        load_classifier(path)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("where", ["data/weights/weight_0", "models/", "data/weights/"])
def test_a_damaged_byte_is_noticed(plain, tmp_path, where):
    content = bytearray(plain[0].read_bytes())
    with zipfile.ZipFile(plain[0]) as archive:
        info = next(info for info in archive.infolist() if where in info.filename)
    content[info.header_offset + 30 + len(info.filename) + len(info.extra) + 200] ^= 255
    (tmp_path / "d.pt2").write_bytes(content)
    with pytest.raises(InputError, match=r"d\.pt2: not an exported program \("):
        load_classifier(tmp_path / "d.pt2")


def test_what_python_warns_of_is_no_line_of_its_own():
    text = "1e400integer"
    with pytest.warns(SyntaxWarning), contextlib.suppress(SyntaxError):
        ast.parse(text, mode="eval")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="which is no size"):
            plain_program.check_size(text)
    assert said == []

"""Files from strangers: each trick gets InputError of one line that names the shard and the problem."""

import json
import os
import re
import zlib

import h5py
import numpy as np
import pytest

from clp_aug.contract.errors import ClpError, InputError
from clp_aug.contract.shards import ShardReader


def refused(path, problem: str) -> None:
    """Assert that the shard is refused in one line with its name and the problem (a regular expression)."""
    with pytest.raises(InputError) as caught:
        ShardReader(path)
    message = str(caught.value)
    assert message.startswith(f"shard {path}: ")
    assert re.search(problem, message), message
    assert len(message.splitlines()) == 1


def replace(file: h5py.File, name: str, **settings) -> h5py.Dataset:
    """Put another data set in the place of one of the contract."""
    del file[name]
    return file.create_dataset(name, **settings)


def secret(file: h5py.File) -> str:
    """Another valid shard beside this one, for links and virtual data to point at."""
    path = file.filename.replace("good", "secret")
    with open(file.filename, "rb") as source, open(path, "wb") as copy:
        copy.write(source.read())
    return path


def attribute(file: h5py.File, name: str, text: str | bytes) -> None:
    """Write a text attribute as the writer does, with a fixed length."""
    data = text if isinstance(text, bytes) else text.encode()
    file.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))


def external_link(file):
    del file["meta/label"]
    file["meta/label"] = h5py.ExternalLink(secret(file), "/meta/label")


def external_group(file):
    del file["meta"]
    file["meta"] = h5py.ExternalLink(secret(file), "/meta")


def soft_link(file):
    file.move("meta/label", "meta/other")
    file["meta/label"] = h5py.SoftLink("/meta/other")


def soft_group(file):
    file.move("train", "other")
    file["train"] = h5py.SoftLink("/other")


def dangling_link(file):
    del file["train/label"]
    file["train/label"] = h5py.SoftLink("/nowhere")


def soft_cycle(file):
    del file["meta/images"]
    file["meta/images"] = h5py.SoftLink("/meta/images")


def hard_cycle(file):
    file["meta/meta"] = file["meta"]


def root_in_itself(file):
    file["meta/root"] = file["/"]


def one_group_twice(file):
    del file["train"]
    file["train"] = file["meta"]


def line_break_in_a_name(file):
    file["meta/a\nb"] = h5py.SoftLink("/meta/label")


def group_for_data(file):
    del file["meta/label"]
    file.create_group("meta/label")


def data_for_group(file):
    del file["look"]
    file["look"] = np.zeros(3)


def external_storage(file):
    size = file["meta/label"].nbytes
    replace(file, "meta/label", shape=(12,), dtype="i8", external=[("/etc/passwd", 0, size)])


def virtual(file):
    layout = h5py.VirtualLayout((12, 8, 10, 3), "u1")
    layout[:] = h5py.VirtualSource(secret(file), "meta/images", (12, 8, 10, 3))
    del file["meta/images"]
    file.create_virtual_dataset("meta/images", layout)


def absurd_pictures(file):
    shape = (1_000_000, 224, 224, 3)  # 150 GB, none of them stored
    replace(file, "meta/images", shape=shape, dtype="u1", chunks=(1, 224, 224, 3), fletcher32=True)


def absurd_table(file):
    for name in list(file["train"]):
        old = file["train"][name]
        replace(file, f"train/{name}", shape=(40_000_000, *old.shape[1:]), dtype=old.dtype)


def absurd_rows(file):
    replace(file, "meta/label", shape=(1 << 60,), dtype="i8", chunks=(1 << 20,))


def absurd_side(file):
    replace(file, "meta/images", shape=(12, 30_000, 30_000, 3), dtype="u1", chunks=(1, 512, 512, 3), fletcher32=True)


def huge_chunk(file):
    replace(file, "meta/images", shape=(12, 2000, 2000, 3), dtype="u1", chunks=(12, 2000, 2000, 3), compression=9)
    file["meta/images"][:] = 0


def several_a_chunk(file):
    replace(file, "meta/images", data=np.zeros((12, 8, 10, 3), "u1"), chunks=(2, 8, 10, 3), fletcher32=True)


def hole(file):
    data = replace(file, "meta/images", shape=(12, 8, 10, 3), dtype="u1", chunks=(1, 8, 10, 3), fletcher32=True)
    data[:11] = 1


def no_checksums(file):
    replace(file, "meta/images", data=np.zeros((12, 8, 10, 3), "u1"), chunks=(1, 8, 10, 3))


def unchunked(file):
    replace(file, "meta/images", data=np.zeros((12, 8, 10, 3), "u1"))


def deflate_bomb(file):
    """A chunk says 240 bytes and inflates to 100 MB."""
    data = replace(
        file, "meta/images", shape=(12, 8, 10, 3), dtype="u1", chunks=(1, 8, 10, 3), fletcher32=True, compression=9
    )
    data[:] = 1
    data.id.write_direct_chunk((5, 0, 0, 0), zlib.compress(bytes(100_000_000)) + bytes(4))


def table_bomb(file):
    replace(file, "meta/label", data=np.zeros(12, "i8"), chunks=(12,), compression="gzip")


def foreign_filter(file):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1, 8, 10, 3))
    plist.set_fletcher32()
    plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (1,))  # zstd, a plug-in
    del file["meta/images"]
    space = h5py.h5s.create_simple((12, 8, 10, 3))
    data = h5py.h5d.create(file["meta"].id, b"images", h5py.h5t.NATIVE_UINT8, space, plist)
    for i in range(12):
        data.write_direct_chunk((i, 0, 0, 0), bytes(244))


def wrong_type(file):
    replace(file, "meta/label", data=np.zeros(12, "f4"))


def wrong_order(file):
    replace(file, "meta/label", data=np.zeros(12, ">i8"))


def references(file):
    replace(file, "meta/label", shape=(12,), dtype=h5py.ref_dtype)


def text_table(file):
    replace(file, "meta/label", shape=(12,), dtype=h5py.string_dtype())


def compound_table(file):
    replace(file, "meta/label", shape=(12,), dtype=[("a", "i4"), ("b", "i4")])


def null_space(file):
    replace(file, "meta/label", data=h5py.Empty("i8"))


def scalar(file):
    replace(file, "meta/label", data=np.int64(1))


def wrong_rank(file):
    replace(file, "meta/box", data=np.zeros(12, "i4"))


def five_numbers_a_box(file):
    replace(file, "meta/box", data=np.zeros((12, 5), "i4"))


def uneven(file):
    replace(file, "meta/label", data=np.zeros(11, "i8"))


def missing_data(file):
    del file["meta/box"]


def missing_group(file):
    del file["train"]


def mattes_missing(file):
    del file["look/matte"]


def mattes_of_another_size(file):
    replace(file, "look/matte", data=np.zeros((4, 8, 8), "u1"), chunks=(1, 8, 8), fletcher32=True)


def no_rows(file):
    for name in list(file["meta"]):
        old = file["meta"][name]
        shape = (0, *old.shape[1:])
        if name == "images":
            settings = {"chunks": (1, *shape[1:]), "maxshape": (None, *shape[1:]), "fletcher32": True}
        else:
            settings = {}
        replace(file, f"meta/{name}", shape=shape, dtype=old.dtype, **settings)


def missing_attribute(file):
    del file.attrs["fills"]


def oversize_attribute(file):
    attribute(file, "settings", json.dumps({"a": "x" * (5 << 20)}))


def variable_length(file):
    file.attrs["settings"] = "{}"


def not_json(file):
    attribute(file, "settings", "{'size': 32}")


def pickled(file):
    file.attrs["settings"] = np.void(b"cos\nsystem\n(S'true'\ntR.")


def deep_json(file):
    attribute(file, "settings", "[" * 100_000)


def long_number(file):
    attribute(file, "settings", '{"a": ' + "1" * 10_000 + "}")


def settings_list(file):
    attribute(file, "settings", "[]")


def names_number(file):
    attribute(file, "class_names", "[1, 2]")


def lone_surrogate(file):
    attribute(file, "class_names", '["ring", "\\ud800"]')


def bad_utf8(file):
    attribute(file, "dataset", b"caf\xe9")


def reference_attribute(file):
    file.attrs["dataset"] = file["meta"].ref


def array_attribute(file):
    file.attrs["seed"] = np.arange(3)


def text_seed(file):
    file.attrs["seed"] = "0"


def other_version(file):
    attribute(file, "clp_schema", "2.0")


def put(name, row, value):
    """Return a trick that writes one value."""

    def change(file):
        file[name][row] = value

    return change


def duplicate_original(file):
    for name in ("meta/sample_id", "meta/parent_id"):
        file[name][3:6] = file[name][0]


def meta_in_train(file):
    file["train/sample_id"][0] = 0
    for name in ("meta/sample_id", "meta/parent_id", "look/sample_id"):
        file[name][:] = np.where(file[name][:] == file[name][0], 0, file[name][:])


TRICKS = {
    external_link: "'label' in /meta is a link to somewhere else",
    external_group: "'meta' in / is a link to somewhere else",
    soft_link: "'label' in /meta is a link",
    soft_group: "'train' in / is a link",
    dangling_link: "'label' in /train is a link",
    soft_cycle: "'images' in /meta is a link",
    hard_cycle: "group /meta has a second name",
    root_in_itself: "group / has a second name",
    one_group_twice: "group /meta has a second name",
    line_break_in_a_name: r"'a\\nb' in /meta is a link",
    group_for_data: "/meta/label is a group, expected i8",
    data_for_group: "/look is not a group",
    external_storage: "/meta/label takes its data from other files",
    virtual: "/meta/images takes its data from other files",
    absurd_pictures: r"/meta/images declares 150,528,000,000 bytes in a file of \d",
    absurd_table: "/train/sample_id declares 320,000,000 bytes, but the file stores 0",
    absurd_rows: r"/meta/label has shape \(1152921504606846976,\): N = 1152921504606846976, expected 12",
    absurd_side: "H = 30000, expected 2048",
    huge_chunk: r"/meta/images has chunks of \(12, 2000, 2000, 3\), expected one picture a chunk",
    several_a_chunk: r"has chunks of \(2, 8, 10, 3\), expected one picture a chunk",
    hole: "/meta/images declares 12 pictures but stores 11",
    no_checksums: "/meta/images has no checksums, expected the filter fletcher32",
    unchunked: "/meta/images has chunks of None, expected one picture a chunk",
    deflate_bomb: r"/meta/images stores [\d,]+ bytes for a picture of 240",
    table_bomb: "/meta/label is stored in chunks, expected one plain block",
    foreign_filter: "/meta/images uses filter 32015, expected only deflate, shuffle, fletcher32, lzf",
    wrong_type: "/meta/label is float32, expected i8",
    wrong_order: "/meta/label is >i8, expected i8",
    references: "/meta/label is object, expected i8",
    text_table: "/meta/label is object, expected i8",
    compound_table: r"/meta/label is \[.*\], expected i8",
    null_space: "/meta/label has shape None, expected",
    scalar: r"/meta/label has shape \(\), expected \(N\)",
    wrong_rank: r"/meta/box has shape \(12,\), expected \(N, 4\)",
    five_numbers_a_box: r"/meta/box has shape \(12, 5\): 4 = 5, expected 4",
    uneven: r"/meta/label has shape \(11,\): N = 11, expected 12",
    missing_data: "/meta/box is missing",
    missing_group: "/train/sample_id is missing",
    mattes_missing: "/look/matte is missing",
    mattes_of_another_size: r"/look/matte has shape \(4, 8, 8\): W = 8, expected 10",
    no_rows: "it holds no meta picture",
    missing_attribute: "attribute fills is missing",
    oversize_attribute: "attribute settings is not one value of at most 4 MiB",
    variable_length: "attribute settings is not text of fixed length",
    not_json: "attribute settings is not JSON",
    pickled: "attribute settings is not text",
    deep_json: "attribute settings is not JSON",
    long_number: "attribute settings is not JSON",
    settings_list: "attribute settings is not a JSON object",
    names_number: "attribute class_names is not a list of names",
    lone_surrogate: "attribute class_names is not UTF-8 text",
    bad_utf8: "attribute dataset is not UTF-8 text",
    reference_attribute: "attribute dataset is not text",
    array_attribute: "attribute seed is not one value of at most 4 MiB",
    text_seed: "attribute seed is not an integer",
    other_version: "clp_schema is '2.0', this version reads '1.0'",
    duplicate_original: "/meta/sample_id of originals holds an id twice",
    meta_in_train: "a meta picture is also a training picture",
}

VALUES = [
    ("meta/box", 2, (0, 0, 11, 4), r"/meta/box\[2\] = \(0, 0, 11, 4\) is not inside 10 x 8 pixels"),
    ("meta/box", 2, (3, 0, 3, 4), r"/meta/box\[2\] = \(3, 0, 3, 4\) is not inside"),
    ("train/box", 5, (-1, 0, 3, 4), r"/train/box\[5\] = \(-1, 0, 3, 4\) is not inside"),
    ("meta/label", 0, 2, r"/meta/label holds \d\.\.2, expected 0\.\.1"),
    ("train/label", 0, -1, r"/train/label holds -1\.\.\d, expected 0\.\.1"),
    ("meta/kind", 0, 3, r"/meta/kind holds \d\.\.3, expected 0\.\.2"),
    ("meta/fill", 0, 200, r"/meta/fill holds \d\.\.200, expected 0\.\.2"),
    ("meta/group", 0, -2, r"/meta/group holds -2\.\.\d, expected -1\.\.1"),
    ("meta/group", 0, 2, r"/meta/group holds -?\d\.\.2, expected -1\.\.1"),
    ("train/box_source", 0, 9, "/train/box_source holds 1..9, expected 0..1"),
    ("meta/outcome", 0, 9, "/meta/outcome holds 0..9, expected 0..4"),
    ("meta/parent_id", 1, 999_999, "/meta/parent_id names a picture that is not among the originals"),
    ("look/sample_id", 1, 999_999, "/look/sample_id names a picture that is not among the originals"),
    ("train/sample_id", slice(0, 2), 5, "/train/sample_id is not ascending, or holds an id twice"),
    ("train/sample_id", 0, 1 << 61, "/train/sample_id is not ascending"),
    ("meta/sample_id", 0, -7, r"/meta/sample_id holds -7\.\."),
]


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.__name__)
def test_tricks(shard, trick):
    with h5py.File(shard, "r+") as file:
        trick(file)
    refused(shard, TRICKS[trick])


@pytest.mark.parametrize(("name", "row", "value", "problem"), VALUES)
def test_values(shard, name, row, value, problem):
    with h5py.File(shard, "r+") as file:
        put(name, row, value)(file)
    refused(shard, problem)


def test_meta_pictures_may_stay_in_train_when_the_settings_say_so(shard):
    with h5py.File(shard, "r+") as file:
        meta_in_train(file)
        attribute(file, "settings", '{"keep_meta_in_train": true}')
    assert 0 in ShardReader(shard).tables["train/sample_id"]


def test_unknown_data_sets_are_ignored(shard, parts):
    with h5py.File(shard, "r+") as file:
        file["meta/extra"] = np.zeros(3)
        file["more/data"] = np.zeros(3)
    assert set(ShardReader(shard).tables) == set(parts.tables)


def test_no_link_is_followed_into_a_pipe(shard, tmp_path):
    """Opening a pipe waits for a writer: the test would never end."""
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(shard, "r+") as file:
        del file["meta"]
        file["meta"] = h5py.ExternalLink("pipe", "/")
    refused(shard, "'meta' in / is a link")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not an HDF5 file, or cut short"),
        (b"id,label\n1,2\n" * 100, "not an HDF5 file, or cut short"),
        (b"\x89HDF\r\n\x1a\n" + bytes(1000), "not an HDF5 file, or cut short"),
        (None, "no such file"),
    ],
    ids=["empty", "text", "only the signature", "missing"],
)
def test_other_files(tmp_path, data, problem):
    path = tmp_path / "s.h5"
    if data is not None:
        path.write_bytes(data)
    refused(path, problem)


def test_a_folder(tmp_path):
    refused(tmp_path, "no such file")


def test_an_empty_hdf5_file(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w"):
        pass
    refused(tmp_path / "s.h5", "/meta/images is missing")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated(shard, share):
    data = shard.read_bytes()
    shard.write_bytes(data[: int(len(data) * share)])
    refused(shard, "not an HDF5 file, or cut short")


def old_format(source, path):
    """Copy a shard into HDF5's oldest format, whose structures carry no checksums: the harder case."""
    with h5py.File(source) as old, h5py.File(path, "w", libver="earliest") as new:
        for name in old:
            old.copy(name, new)
        for name, value in old.attrs.items():
            new.attrs[name] = value
    return path


@pytest.mark.parametrize("libver", ["earliest", "v110"])
def test_random_damage(shard, tmp_path, libver):
    """Whatever bytes are hit, the reader works or raises ClpError of one line; never anything else."""
    source = old_format(shard, tmp_path / "old.h5") if libver == "earliest" else shard
    good, path = source.read_bytes(), tmp_path / "bad.h5"
    rng = np.random.default_rng(7)
    refusals = 0
    for _ in range(100):
        path.write_bytes(damaged(good, rng))
        message = outcome(path)
        assert message is None or str(path) in message
        assert message is None or len(message.splitlines()) == 1
        refusals += message is not None
    assert refusals > 20


def outcome(path) -> str | None:
    """Return the message of the ClpError that reading everything raised, if any."""
    try:
        ShardReader(path).verify()
    except ClpError as error:
        return str(error)


def damaged(good: bytes, rng: np.random.Generator) -> bytes:
    """Cut the file, or overwrite 1 to 8 bytes of it, half of the time among its first 2 KiB."""
    if rng.random() < 0.1:
        return good[: rng.integers(len(good))]
    data = bytearray(good)
    for _ in range(rng.integers(1, 9)):
        data[rng.integers(min(len(data), 2048) if rng.random() < 0.5 else len(data))] = rng.integers(256)
    return bytes(data)

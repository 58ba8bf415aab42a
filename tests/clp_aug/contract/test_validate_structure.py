"""Shards from strangers: links, storage, shapes and types that a reader must not follow or believe."""

import zlib

import h5py
import numpy as np
import pytest

from tests.clp_aug.contract.hostile import refused, replace, secret


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
    huge_chunk: r"/meta/images has chunks of \(12, 2000, 2000, 3\), expected one picture per chunk",
    several_a_chunk: r"has chunks of \(2, 8, 10, 3\), expected one picture per chunk",
    hole: "/meta/images declares 12 pictures but stores 11",
    no_checksums: "/meta/images has no checksums, expected the filter fletcher32",
    unchunked: "/meta/images has chunks of None, expected one picture per chunk",
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
}


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.__name__)
def test_tricks(shard, trick):
    with h5py.File(shard, "r+") as file:
        trick(file)
    refused(shard, TRICKS[trick])

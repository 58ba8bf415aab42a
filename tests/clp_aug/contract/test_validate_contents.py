"""Shards from strangers: attributes that lie, and values that contradict each other."""

import json

import h5py
import numpy as np
import pytest

from clp_aug.contract.shards import ShardReader
from tests.clp_aug.contract.hostile import attribute, put, refused, reseal


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


def duplicate_original(file):
    for name in ("meta/sample_id", "meta/parent_id"):
        file[name][3:6] = file[name][0]


def audit_without_backgrounds(file):
    attribute(file, "settings", '{"audit": {}}')


def backgrounds_without_audit(file):
    file["meta/background_id"] = np.full(len(file["meta/label"]), -1)


def background_of_nobody(file):
    attribute(file, "settings", '{"audit": {}}')
    ids = np.full(len(file["meta/label"]), -1)
    ids[2] = file["meta/sample_id"][0]
    file["meta/background_id"] = ids


def meta_in_train(file):
    file["train/sample_id"][0] = 0
    for name in ("meta/sample_id", "meta/parent_id", "look/sample_id"):
        file[name][:] = np.where(file[name][:] == file[name][0], 0, file[name][:])


CONTENTS = {
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
    other_version: "clp_schema is '2.0', this version reads '1.0' and '1.1'",
    duplicate_original: "/meta/sample_id of originals holds an id twice",
    audit_without_backgrounds: "the setting audit and /meta/background_id belong together, and one is missing",
    backgrounds_without_audit: "the setting audit and /meta/background_id belong together, and one is missing",
    background_of_nobody: "/meta/background_id names a picture that is not among the training rows",
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


@pytest.mark.parametrize("trick", CONTENTS, ids=lambda trick: trick.__name__)
def test_contents(shard, trick):
    with h5py.File(shard, "r+") as file:
        trick(file)
    refused(shard, CONTENTS[trick])


@pytest.mark.parametrize(("name", "row", "value", "problem"), VALUES)
def test_values(shard, name, row, value, problem):
    with h5py.File(shard, "r+") as file:
        put(name, row, value)(file)
    refused(shard, problem)


def test_meta_pictures_may_stay_in_train_when_the_settings_say_so(shard):
    with h5py.File(shard, "r+") as file:
        meta_in_train(file)
        attribute(file, "settings", '{"keep_meta_in_train": true}')
    reseal(shard)
    assert 0 in ShardReader(shard).tables["train/sample_id"]


def test_unknown_data_sets_are_ignored(shard, parts):
    with h5py.File(shard, "r+") as file:
        file["meta/extra"] = np.zeros(3)
        file["more/data"] = np.zeros(3)
    assert set(ShardReader(shard).tables) == set(parts.tables)

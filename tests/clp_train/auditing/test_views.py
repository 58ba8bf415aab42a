"""The views of an audit shard: found by what the shard says, and refused where it is not so."""

import dataclasses

import numpy as np
import pytest

from clp_aug.config import AugmentConfig
from clp_aug.contract.audits import AuditHeader, header_of
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import AUDIT
from clp_aug.contract.shards import ShardReader
from clp_aug.pipeline import augment
from clp_train.auditing.views import MIX_OTHER, MIX_OWN, MIX_SAME, ORIGINALS, read_audit_set

PICTURES, DRAWS = 8, 2


def config(folder, **change):
    settings = {"dataset": "demo", "audit": "auto", "limit": PICTURES, "draws": DRAWS, "pool": 4, "remove": "telea"}
    return AugmentConfig(**{**settings, "size": 32, "out": folder / "a.h5", **change})


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return ShardReader(augment(config(tmp_path_factory.mktemp("views"))).path)


def test_every_row_is_of_one_view_of_its_picture(reader):
    found, tables = read_audit_set(reader), reader.tables
    assert {view: rows.shape for view, rows in found.rows.items()} == {
        ORIGINALS: (PICTURES, 1),
        "object alone, grey": (PICTURES, 1),
        "object alone, random": (PICTURES, 1),
        "background alone, grey": (PICTURES, 1),
        "background alone, tile": (PICTURES, 1),
        "background alone, telea": (PICTURES, 1),
        MIX_OWN: (PICTURES, 1),
        MIX_SAME: (PICTURES, DRAWS),
        MIX_OTHER: (PICTURES, DRAWS),
    }
    rows = np.concatenate([some.ravel() for some in found.rows.values()])
    assert np.array_equal(np.sort(rows), np.arange(len(reader)))
    for view, some in found.rows.items():
        assert (tables["meta/sample_id"][some] == found.sample_id[:, None]).all()
        assert (tables["meta/label"][some] == found.label[:, None]).all()
        fills = {reader.header.fills[k] for k in tables["meta/fill"][some].ravel()}
        assert fills == {"none" if view == ORIGINALS else view.rpartition(", ")[2]}
    assert len(found) == PICTURES
    assert found.settings == {
        "split": "test", "backgrounds": "train", "draws": DRAWS, "pool": 4, "paste": "matte", "remove": "telea",
    }  # fmt: skip


def test_donors_are_those_of_the_shard(reader):
    found = read_audit_set(reader)
    for view, ids in found.donor.items():
        expected = reader.tables["meta/background_id"][found.rows[view]]
        assert np.array_equal(ids, expected)
        assert (ids >= 0).all() == (view in (MIX_SAME, MIX_OTHER))


def changed(reader, **tables):
    """A shard with other tables, as if they had passed the checks."""
    other = object.__new__(ShardReader)
    other.__dict__ |= {**reader.__dict__, "tables": {**reader.tables, **tables}}
    return other


def test_a_view_that_could_not_be_made_is_none(reader):
    fill = reader.tables["meta/fill"].copy()
    at = read_audit_set(reader).rows[MIX_OTHER][3, 1]
    fill[at] = reader.header.fills.index("grey")
    found = read_audit_set(changed(reader, **{"meta/fill": fill}))
    assert found.rows[MIX_OTHER][3].tolist() == [at - 1, -1]
    assert found.donor[MIX_OTHER][3, 1] == -1
    assert (found.rows["object alone, grey"] >= 0).all()


def test_a_meta_set_is_refused(tmp_path):
    shard = augment(AugmentConfig(dataset="demo", cf=("grey",), limit=60, meta="3/group", out=tmp_path / "m.h5"))
    with pytest.raises(InputError, match=r"it is a meta set without the views of an audit; make one with clp-augment"):
        read_audit_set(ShardReader(shard.path))


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("meta/kind", lambda kind: np.roll(kind, 1), "the kinds of its rows are not in order"),
        ("meta/parent_id", lambda ids: np.roll(ids, 1), "a view is not of the picture that it follows"),
        ("meta/kind", lambda kind: kind[:-1], "rows are not a multiple of"),
    ],
)
def test_rows_in_another_order_are_refused(reader, name, change, reason):
    with pytest.raises(InputError, match=f"it holds other views than those of an audit .*{reason}"):
        read_audit_set(changed(reader, **{name: change(reader.tables[name])}))


GOOD = {"split": "test", "backgrounds": "train", "draws": 3, "pool": 50, "paste": "matte", "remove": "cagan"}


def test_a_header_comes_back():
    assert dataclasses.asdict(header_of(GOOD)) == GOOD
    assert len(AuditHeader(**{**GOOD, "remove": "tile"}).views()) == len(header_of(GOOD).views()) - 1


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (None, "audit is NoneType, expected an object"),
        ({**GOOD, "draws": 0}, "audit has draws = 0"),
        ({**GOOD, "draws": 10**9}, "audit has draws = 1000000000"),
        ({**GOOD, "draws": True}, "audit has draws = True, expected a value of type int"),
        ({**GOOD, "paste": "glue"}, "paste = 'glue'"),
        ({k: v for k, v in GOOD.items() if k != "remove"}, "audit has remove = None"),
    ],
)
def test_a_header_that_is_none_is_refused(stored, reason):
    with pytest.raises(ValueError, match=reason):
        header_of(stored)


def test_a_shard_with_such_a_header_is_refused_in_one_line(reader):
    settings = {**reader.header.settings, AUDIT: {**GOOD, "draws": "many"}}
    other = changed(reader)
    other.header = dataclasses.replace(reader.header, settings=settings)
    with pytest.raises(InputError, match=r"other views than those of an audit \(audit has draws = 'many', expected"):
        read_audit_set(other)


def test_training_refuses_an_audit(reader):
    from clp_train.loading.data import load_shard_dataset

    with pytest.raises(InputError, match=r"it was made for clp-audit; expected a meta set: run clp-augment without"):
        load_shard_dataset(reader, None)

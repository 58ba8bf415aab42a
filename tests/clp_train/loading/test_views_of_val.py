"""Val's objects on backgrounds of other classes: the rows that the audit measures, and shards that are refused."""

import dataclasses

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import InputError
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.answers import Answers
from clp_train.auditing.figures import measure as measure_audit
from clp_train.auditing.views import MIX_OTHER, read_audit_set
from clp_train.evaluating.metrics import measure
from clp_train.loading.data import digest_of_pictures
from clp_train.loading.views import read_views
from tests.clp_train.builders import config_of, load
from tests.clp_train.running.audits_of_val import make_audit_of_val

PICTURES = 10


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    return make_audit_of_val(tmp_path_factory.mktemp("audit") / "val.h5", PICTURES)


@pytest.fixture(scope="module")
def shard(demo_shard):
    return ShardReader(demo_shard)


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_of_their_classes_is_the_audits_figure(audit, shard, seed):
    reader, rng = ShardReader(audit), np.random.default_rng(seed)
    audit_set, views = read_audit_set(reader), read_views(audit, shard)
    rows = np.sort(audit_set.rows[MIX_OTHER].ravel())
    assert len(views) == len(rows) == 2 * PICTURES
    assert np.array_equal(views.images.permute(0, 2, 3, 1).numpy(), np.stack([reader.image(int(k)) for k in rows]))
    assert np.array_equal(views.label.numpy(), reader.tables["meta/label"][rows])
    predicted = rng.integers(0, 2, len(reader))
    sure = np.full(len(reader), 0.5, np.float32)
    figures = measure_audit(audit_set, Answers(predicted, sure, sure), np.ones(2, bool), resamples=20)
    found = measure(torch.from_numpy(predicted[rows]), views.label, views.group, 2, [1, 1])
    assert found.balanced == pytest.approx(figures.by_view[MIX_OTHER].value, abs=1e-11)


def with_tables(shard, **tables):
    """A shard with other tables."""
    other = object.__new__(ShardReader)
    other.__dict__ |= {**shard.__dict__, "tables": {**shard.tables, **tables}}
    return other


def test_pictures_of_the_meta_set_are_left_out(audit, shard):
    of_val = ShardReader(audit).tables["meta/sample_id"]
    views = read_views(audit, shard)
    taken = with_tables(shard, **{"meta/sample_id": np.array([of_val[0]])})
    assert set(read_views(audit, taken).sample_id.tolist()) == set(views.sample_id.tolist()) - {int(of_val[0])}
    with pytest.raises(InputError, match=r"none of its pictures has the background of another class; expected some"):
        read_views(audit, with_tables(shard, **{"meta/sample_id": of_val}))


def test_in_a_cache_they_are_the_same(audit, shard, tmp_path):
    plain = read_views(audit, shard)
    for _ in range(2):
        found = read_views(audit, shard, tmp_path)
        assert torch.equal(found.images, plain.images)
        assert torch.equal(found.label, plain.label)
    assert len(list(tmp_path.glob("*.array"))) == 1


def test_a_run_is_tied_to_them(audit, demo_shard):
    plain = load(config_of(meta=demo_shard))
    loaded = load(config_of(meta=demo_shard, select="gap", audit=audit))
    assert plain.views is None
    assert digest_of_pictures(plain) == digest_of_pictures(dataclasses.replace(loaded, views=None))
    assert digest_of_pictures(plain) != digest_of_pictures(loaded)


def test_other_shards_are_refused_in_one_line(shard, demo_shard, tmp_path):
    remedy = "make one with clp-augment --audit val --dataset demo --size 16"
    of_test = make_audit_of_val(tmp_path / "test.h5", 4, split="test")
    large = make_audit_of_val(tmp_path / "large.h5", 4, size=32)
    for path, reason in (
        (demo_shard, "it is a meta set"),
        (of_test, "it is of split test, expected val"),
        (large, "size 32, expected 16"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=rf"not an audit of val for this run \({reason}\); {remedy}$"):
            read_views(path, shard)

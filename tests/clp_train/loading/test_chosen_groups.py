"""A shard whose groups are of chosen columns of a table: training reads the same columns."""

import pytest

from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.shards import ShardReader
from clp_aug.pipeline import augment
from clp_train.loading.data import load, names_in
from clp_train.loading.settings import DataSettings
from tests.clp_aug.datasets.tiny_sets import make_table


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A table with a second attribute, dark or bright by turns."""
    root = make_table(tmp_path_factory.mktemp("table"))
    header, *rows = (root / "table.csv").read_text().split()
    lines = [f"{header},light", *(f"{row},{('dark', 'bright')[k % 2]}" for k, row in enumerate(rows))]
    (root / "table.csv").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize(("attributes", "meta", "groups"), [
    (("light",), "10/group", 6), (("none",), "10/class", 0), (("place", "light"), "10/group", 18),
])  # fmt: skip
def test_training_has_the_groups_of_the_shard(root, attributes, meta, groups):
    made = {"dataset": "table", "root": root, "attributes": attributes, "cf": ("grey",), "matte": "centre", "size": 8}
    out = root / f"{len(attributes)}{groups}.h5"
    augment(AugmentConfig(**made, meta="1/class", out=out))
    shard = ShardReader(out)
    assert shard.header.settings["attributes"] == list(attributes)
    assert len(shard.header.group_names) == groups
    data = load(shard, DataSettings(meta=out, root=root))
    assert len(data.group_names) == (groups or 3)
    assert int(data.train.group.max()) + 1 == (groups or 3)
    with pytest.raises(UsageError, match=f"meta set {meta}: "):  # what none asked for is by what the set knows
        augment(AugmentConfig(**made, out=root / "usual.h5"))


def test_attributes_of_a_shard_that_are_none_are_refused(root):
    class Shard:
        path = "x.h5"
        header = type("Header", (), {"settings": {"attributes": ["a", 1]}})

    with pytest.raises(
        InputError, match=r"^shard x.h5: setting attributes is not a list of names; make the shard again with clp-"
    ):
        names_in(Shard(), "attributes")

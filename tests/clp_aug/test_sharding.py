from collections import Counter

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.sharding import check_space, plan_copies

LABELS = np.array([0] * 12 + [1] * 12 + [2] * 24)
IDS = np.arange(100, 148)


def count(copies, key):
    return Counter(key(copy) for per_picture in copies for copy in per_picture)


def test_two_copies_each_one_of_a_kind_fills_in_equal_shares_within_every_class():
    copies = plan_copies(LABELS, IDS, ("grey", "tile", "random", "shuffle"), ("random", "shuffle", "mix-rand"), 2, 0)
    assert all([copy.kind for copy in one] == [COUNTERFACTUAL, FACTUAL] for one in copies)
    for label in range(3):
        mine = [one for one, y in zip(copies, LABELS, strict=True) if y == label]
        cf = count([one[:1] for one in mine], lambda copy: copy.fill)
        f = count([one[1:] for one in mine], lambda copy: copy.fill)
        assert len(cf) == 4
        assert len(f) == 3
        assert max(cf.values()) - min(cf.values()) <= 1
        assert max(f.values()) - min(f.values()) <= 1


@pytest.mark.parametrize(
    ("cf", "f", "ratio"), [(("grey",), (), 2), ((), ("random", "shuffle"), 2), (("grey",), ("random",), 3)]
)
def test_the_number_of_copies_is_the_ratio(cf, f, ratio):
    copies = plan_copies(LABELS, IDS, cf, f, ratio, 0)
    assert all(len(one) == ratio for one in copies)
    kinds = count(copies, lambda copy: copy.kind)
    if cf and f:
        assert abs(kinds[COUNTERFACTUAL] - kinds[FACTUAL]) <= 1
    else:
        assert set(kinds) == ({COUNTERFACTUAL} if cf else {FACTUAL})
    assert all(sorted(copy.number for copy in one) == list(range(ratio)) for one in copies)


def test_the_plan_depends_on_ids_not_on_positions():
    copies = plan_copies(LABELS, IDS, ("grey", "tile"), ("random", "shuffle"), 2, 7)
    order = np.random.default_rng(0).permutation(len(IDS))
    shuffled = plan_copies(LABELS[order], IDS[order], ("grey", "tile"), ("random", "shuffle"), 2, 7)
    assert [copies[i] for i in order] == shuffled
    assert plan_copies(LABELS, IDS, ("grey", "tile"), ("random", "shuffle"), 2, 8) != copies


def test_a_full_disk_is_known_before_the_work(tmp_path):
    with pytest.raises(InputError, match=r"MB free, the run needs about 1,000,000,000,000 MB; free some space"):
        check_space(tmp_path / "not" / "yet", 10**18)

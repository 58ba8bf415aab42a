"""Every registered method through all its stages by two ranks: the same run as by one, in float64, but for rounding."""

import pytest

from clp_train.methods import METHODS
from tests.clp_train.ranks.team import largest_difference, run_cases
from tests.shadow.test_registry_on_shadow import LONGER, OWN

EXACT = [name for name, entry in METHODS.items() if entry.exact_under_ranks]
ROUNDING = 1e-9
UNEVEN = 11  # of which two ranks have 6 and 5
BATCH = {"dac": 12}  # its masks compare numbers, and rounding alone turns some pixels of a larger difference


def cases(**settings):
    """Return a case for each method that says it is exact."""
    return {
        name: {
            "method": name,
            "options": OWN.get(name),
            "settings": {"epochs": LONGER.get(name, 2), "batch_size": BATCH.get(name, UNEVEN), **settings},
        }
        for name in EXACT
    }


@pytest.fixture(scope="module", params=["synchronised", "frozen"])
def both(request, tiny, tmp_path_factory):
    """Return all of them by one rank, and by two."""
    folder = tmp_path_factory.mktemp(request.param)
    frozen = request.param == "frozen"
    wanted = cases(freeze_batch_norm=frozen, **({"lr": 0.001} if frozen else {}))  # nothing is normalised
    return run_cases(tiny, wanted, folder / "one", 1), run_cases(tiny, wanted, folder / "two", 2)


@pytest.mark.parametrize("name", EXACT)
def test_two_ranks_make_the_run_of_one(name, both):
    (alone,), ranks = both[0][name], both[1][name]
    for other in ranks:
        gap, where = largest_difference(alone, other)
        assert gap < ROUNDING, where


def test_all_methods_say_that_they_are_exact():
    assert list(METHODS) == EXACT

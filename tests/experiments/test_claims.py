"""README's and the docs' figures are those of the recorded results."""

import statistics

import pytest
from scipy.stats import ttest_rel

from clp_train.bench.scores import holm
from experiments.claims import claims
from experiments.claims.figures import shown


def test_the_files_hold_what_the_results_say():
    assert not claims.stale(), "run: python -m experiments.claims.claims"


def test_a_stale_block_is_seen_and_made_anew(tmp_path):
    blocks = ["\n".join(make()) for make in claims.BLOCKS.values()]
    originals = {}
    for name in claims.FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        originals[tmp_path / name] = text = (claims.HERE / name).read_text("utf-8")
        for block in blocks:
            text = text.replace(block, block.replace("0", "9"))
        (tmp_path / name).write_text(text, "utf-8")
    assert claims.stale(tmp_path) == originals


def test_a_claim_is_a_paired_test_over_shared_seeds_corrected_over_all():
    first, second = {0: 80.0, 1: 82.0, 2: 81.0, 3: 99.0}, {0: 70.0, 1: 75.0, 2: 69.0}
    some = [
        claims.Claim("a and b", lambda: first, lambda: second),
        claims.Claim("b and a", lambda: second, lambda: first),
    ]
    lines = claims.claims(some)[2:]
    raw = ttest_rel([80, 82, 81], [70, 75, 69]).pvalue
    expected = holm([raw, raw])
    assert lines[0] == f"| a and b | 81.0 | 71.3 | 3 | {expected[0]:.2g} |"
    assert lines[1].startswith("| b and a | 71.3 | 81.0 | 3 | ")


def test_equal_differences_have_no_p():
    assert claims.p_value([1.0, 2.0], [0.0, 1.0]) is None
    line = claims.claims([claims.Claim("a", lambda: {0: 1.0, 1: 2.0}, lambda: {0: 0.0, 1: 1.0})])[2]
    assert line == "| a | 1.5 | 0.5 | 2 |  |"


@pytest.mark.parametrize(
    ("values", "text"), [({}, ""), ({0: 3.04}, "3.0"), ({0: 1.0, 1: 2.0}, f"1.5 ± {statistics.stdev([1, 2]):.1f}")]
)
def test_a_figure_as_text(values, text):
    assert shown(values) == text

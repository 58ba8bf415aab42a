"""Parts of a stream are put together where they were made room for, the same as all of them joined at the end."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clp_train.evaluating.outputs import gathered


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(0, 3), st.booleans())
def test_they_are_the_same_as_joined(sizes, width, has_second):
    generator = torch.Generator().manual_seed(sum(sizes))
    parts = [
        (torch.rand(n, width, generator=generator), *([torch.randint(9, (n,), generator=generator)] * has_second))
        for n in sizes
    ]
    found = gathered(iter(parts), sum(sizes))
    assert len(found) == 1 + has_second
    for k, values in enumerate(found):
        expected = torch.cat([part[k] for part in parts])
        assert torch.equal(values, expected)
        assert values.dtype == expected.dtype


def test_no_part_is_kept():
    part = torch.zeros(3, 2)

    def parts():
        for n in range(4):
            yield (part.fill_(n),)  # the same memory again and again

    assert gathered(parts(), 12)[0][:, 0].tolist() == [n for n in range(4) for _ in range(3)]


def test_more_rows_than_were_told_are_a_fault():
    with pytest.raises(RuntimeError):
        gathered([(torch.zeros(3, 2),), (torch.zeros(3, 2),)], 4)

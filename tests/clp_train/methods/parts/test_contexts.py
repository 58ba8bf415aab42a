"""The bank of contexts: the form that looks at its rows against the form that does not, for a device, draw by draw."""

import numpy as np
import pytest
import torch

from clp_train.methods.parts import divided
from clp_train.methods.parts.contexts import Bank, added


def contexts(rng, n, first):
    """Return n pictures, each of one number, from `first` on, with masks, and which of them are taken."""
    images = torch.arange(first, first + n, dtype=torch.float32)[:, None, None, None].expand(n, 3, 2, 2).clone()
    return images, torch.from_numpy(rng.random((n, 1, 2, 2), np.float32)), torch.from_numpy(rng.random(n) < 0.6)


def test_it_keeps_the_latest_in_their_order():
    rng, bank, seen = np.random.default_rng(0), None, []
    for first in range(0, 70, 7):
        images, masks, taken = contexts(rng, 7, first)
        bank = added(bank, images, masks, taken, 10)
        seen += images[taken][:, 0, 0, 0].tolist()
        assert bank.images[:, 0, 0, 0].tolist() == seen[-10:]
    assert added(bank, images, masks, torch.zeros(7, dtype=torch.bool), 10) is bank
    assert added(None, images, masks, torch.zeros(7, dtype=torch.bool), 10) is None


@pytest.mark.parametrize("seed", range(12))
def test_a_device_that_is_not_looked_at_has_the_same_bank(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    size, n = int(rng.integers(1, 12)), int(rng.integers(1, 8))
    size = max(size, n)
    looked = unseen = None
    for step in range(8):
        images, masks, taken = contexts(rng, n, 100 * step)
        looked = added(looked, images, masks, taken, size)
        with monkeypatch.context() as patch:
            patch.setattr(divided, "is_known", lambda part: False)
            unseen = added(unseen, images, masks, taken, size)
        whole = unseen.whole()
        assert len(unseen) <= size
        if looked is None:
            assert len(whole) == 0
            assert not unseen.holds(n)
            continue
        assert torch.equal(whole.images, looked.images)
        assert torch.equal(whole.masks, looked.masks)
        assert bool(unseen.holds(n)) == (len(looked) >= n)
        if len(looked) >= n:
            drawn = [bank.take(n, np.random.default_rng(step)) for bank in (looked, unseen)]
            assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
        elif len(unseen) >= n:
            assert [len(part) for part in unseen.take(n, np.random.default_rng(step))] == [n, n]
        if step == 4:  # a state on disk holds no row without a context
            unseen = Bank(whole.images, whole.masks)

"""Work on items at once: the same results in the same order, one thread each, and torch's setting given back."""

import threading

import pytest
import torch

from clp_aug.nets.threads import each_on_one_thread


@pytest.fixture
def threads():
    """Set torch's threads; they are as before after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("items", [0, 1, 2, 9])
def test_results_come_in_order_from_one_thread_each(threads, count, items):
    threads(count)

    def work(item):
        return item, torch.get_num_threads(), torch.is_inference_mode_enabled()

    assert each_on_one_thread(work, range(items)) == [(i, 1, True) for i in range(items)]
    assert torch.get_num_threads() == count
    assert not torch.is_inference_mode_enabled()


def test_two_items_are_worked_on_at_once(threads):
    threads(2)
    meeting = threading.Barrier(2, timeout=30)
    assert sorted(each_on_one_thread(lambda item: meeting.wait(), [0, 1])) == [0, 1]


def test_what_work_raises_comes_through_and_threads_are_given_back(threads):
    threads(2)

    def work(item):
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        each_on_one_thread(work, [0, 1, 2])
    assert torch.get_num_threads() == 2

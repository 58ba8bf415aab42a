"""Stores: the same batches wherever pictures live; a thread that is ahead, tells its errors and ends."""

import contextlib
import threading

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import SettingError
from clp_aug.contract.seeds import rng_for
from clp_train.pictures import moving, sending, store
from clp_train.pictures.batching import epoch_rows
from clp_train.pictures.settings import StoreSettings
from clp_train.pictures.types import BoxedPictures

CPU, THERE = torch.device("cpu"), torch.device("cuda", 0)  # where nothing is sent in these tests


def stream(n=23):
    ids = torch.arange(n)
    images = torch.randint(256, (n, 3, 4, 5), generator=torch.Generator().manual_seed(n), dtype=torch.uint8)
    return BoxedPictures(images, ids % 3, ids % 2, ids + 70, ids[:, None] + torch.arange(4), (ids % 3).to(torch.uint8))


def batches_of(n=23, count=9):
    return [rng_for(k, n, "test rows").integers(n, size=1 + k % 4) for k in range(count)]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


@pytest.fixture
def far(monkeypatch):
    """A store whose pictures pass for such that must be sent, and the thread that gathers."""
    monkeypatch.setattr(store.Store, "is_at_hand", False)
    return store.place(stream(), "memory", CPU)


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


def test_on_a_cpu_nothing_is_copied_and_no_thread_runs():
    pictures = stream()
    placed = store.place(pictures, "memory", CPU)
    assert placed.pictures is pictures
    assert placed.label is pictures.label
    found = store.ahead(placed, iter(batches_of()))
    first = next(found)
    assert not workers()
    for made, rows in zip([first, *found], batches_of(), strict=True):
        assert same(made, pictures.take(torch.from_numpy(rows)))


def test_rows_are_asked_for_one_by_one_where_pictures_are_at_hand():
    asked = []
    found = store.ahead(store.place(stream(), "memory", CPU), (asked.append(k) or np.array([k]) for k in range(5)))
    assert [int(next(found).sample_id) - 70 for _ in range(2)] == [0, 1]
    assert asked == [0, 1]


def test_batches_come_in_order_and_are_those_that_are_taken(far):
    for count in range(6):
        found = list(store.ahead(far, iter(batches_of(count=count))))
        assert len(found) == count
        for made, rows in zip(found, batches_of(count=count), strict=True):
            assert same(made, stream().take(torch.from_numpy(rows)))
            assert same(made, far.take(rows))
    assert not workers()


def test_two_are_under_way_while_one_is_worked_on(far):
    asked = []
    found = store.ahead(far, (asked.append(k) or np.array([k]) for k in range(9)))
    for k in range(9):
        next(found)
        assert asked == list(range(min(9, k + 3)))
    assert next(found, None) is None


def test_they_are_gathered_by_one_other_thread(far, monkeypatch):
    names, send = [], store.send
    monkeypatch.setattr(store, "send", lambda *given: names.append(threading.current_thread().name) or send(*given))
    list(store.ahead(far, batches_of()))
    assert len(names) == 9
    assert set(names) == {"pictures_0"}


def test_what_a_batch_raises_is_raised_where_it_would_have_come(far):
    batches = [np.array([0]), np.array([1]), np.array([99]), np.array([2])]
    found = store.ahead(far, batches)
    assert [int(next(found).sample_id) for _ in range(2)] == [70, 71]
    with pytest.raises(IndexError, match="99"):
        next(found)
    assert not workers()
    assert next(found, None) is None


def test_what_asking_for_rows_raises_is_raised(far):
    def rows():
        yield np.array([3])
        raise ZeroDivisionError("rows")

    with pytest.raises(ZeroDivisionError, match="rows"):
        list(store.ahead(far, rows()))
    assert not workers()


@pytest.mark.parametrize("how", ["closed", "thrown into", "forgotten"])
def test_the_thread_ends_with_the_iterator(far, how):
    found = store.ahead(far, batches_of())
    next(found)
    assert len(workers()) == 1
    if how == "closed":
        found.close()
    elif how == "thrown into":
        with pytest.raises(KeyboardInterrupt):
            found.throw(KeyboardInterrupt)
    else:
        del found
    assert not workers()


def test_a_loop_that_fails_leaves_no_thread(far):
    def loop():
        with contextlib.closing(store.ahead(far, batches_of())) as found:
            for _ in found:
                raise RuntimeError("step")

    with pytest.raises(RuntimeError, match="step"):
        loop()
    assert not workers()


def test_an_epoch_is_ordered_by_the_store_as_by_the_pictures():
    placed = store.place(stream(), "memory", CPU)
    for sampler in ("natural", "class", "group"):
        expected = epoch_rows(stream(), 3, 1, 4, sampler)
        found = epoch_rows(placed, 3, 1, 4, sampler)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(placed) == 23


def test_mapped_pictures_are_read_into_memory_where_memory_is_asked_for():
    pictures = stream()
    assert store.place(pictures, "mapped", CPU, is_mapped=True).pictures is pictures
    found = store.place(pictures, "memory", CPU, is_mapped=True).pictures
    assert same(found, pictures)
    assert found.images.data_ptr() != pictures.images.data_ptr()


NEED = stream().images.nbytes


@pytest.mark.parametrize(
    ("asked", "device", "free", "is_mapped", "chosen"),
    [
        ("auto", CPU, None, False, "memory"),
        ("auto", CPU, None, True, "mapped"),
        ("auto", THERE, 2 * 2 * NEED, False, "device"),
        ("auto", THERE, 2 * 2 * NEED - 1, False, "memory"),
        ("auto", THERE, 2 * 2 * NEED - 1, True, "mapped"),
        ("auto", THERE, 2 * 2 * NEED, True, "device"),
        ("auto", THERE, None, False, "memory"),
        ("device", THERE, 2 * NEED, False, "device"),
        ("device", THERE, None, True, "device"),
        ("memory", THERE, 100 * NEED, True, "memory"),
        ("mapped", THERE, 100 * NEED, True, "mapped"),
    ],
)
def test_where_pictures_live(monkeypatch, asked, device, free, is_mapped, chosen):
    monkeypatch.setattr(store, "free_memory_of", lambda device: free)
    assert store.choose_store(asked, [stream(), stream()], device, is_mapped) == chosen


@pytest.mark.parametrize(
    ("asked", "device", "is_mapped", "line"),
    [
        ("device", THERE, False, "the pictures need 3.0 GiB, and 2.5 GiB of cuda:0 are free; take store = memory"),
        ("device", THERE, True, "the pictures need 3.0 GiB, and 2.5 GiB of cuda:0 are free; take store = mapped"),
        ("mapped", THERE, False, "pictures can only be mapped from the file of a cache; take cache = FOLDER"),
        ("device", CPU, False, "networks run on the CPU, expected auto; take store = auto"),
        ("memory", CPU, True, "networks run on the CPU, expected auto; take store = auto"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(monkeypatch, asked, device, is_mapped, line):
    monkeypatch.setattr(store, "free_memory_of", lambda device: 5 << 29)
    large = stream()
    object.__setattr__(large, "images", torch.empty(3, 1 << 30, dtype=torch.uint8, device="meta"))
    with pytest.raises(SettingError) as error:
        store.choose_store(asked, [large], device, is_mapped)
    assert str(error.value) == f"store = {asked}: {line}"


def test_the_setting():
    assert StoreSettings().store == "auto"
    with pytest.raises(SettingError, match=r"^store = disk: expected one of auto, device, memory, mapped$"):
        StoreSettings("disk")


def test_memory_is_pinned_for_accelerators_alone():
    assert not moving.can_pin("cpu")
    values = torch.arange(3)
    assert moving.onto(values, CPU) is values


class Queue:
    """A queue of a device that notes what is put into it."""

    device = THERE

    def __init__(self, log, name):
        self.log, self.name = log, name

    def record_event(self):
        self.log.append(f"{self.name}: mark")
        return f"mark of {self.name}"

    def wait_event(self, event):
        self.log.append(f"{self.name}: wait for {event}")


class Module:
    """What torch has for a kind of device."""

    def __init__(self, log):
        self.log, self.step = log, Queue(log, "step")

    def current_stream(self, device):
        assert device == THERE
        return self.step

    @contextlib.contextmanager
    def stream(self, queue):
        self.log.append(f"{queue.name}: begin")
        yield
        self.log.append(f"{queue.name}: end")


def test_copies_go_through_a_lane_and_the_step_waits_for_them(monkeypatch):
    """The lane begins, copies are put into it, its end is marked; the queue of the step waits for that, and keeps the
    memory of what it was handed.
    """
    log = []
    monkeypatch.setattr(sending, "can_pin", lambda kind: True)
    monkeypatch.setattr(sending, "pinned", lambda shape, dtype: torch.empty(shape, dtype=dtype))
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda value, queue: log.append(f"{queue.name}: keep"))
    lane = sending.Lane(Module(log), Queue(log, "lane"))
    sent = sending.send(stream(), torch.tensor([4, 2]), CPU, lane)
    assert log == ["lane: begin", "lane: mark", "lane: end"]
    found = sent.received()
    assert log[3:] == ["step: wait for mark of lane"] + 6 * ["step: keep"]
    assert same(found, stream().take(torch.tensor([4, 2])))


def test_a_device_without_queues_of_its_own_has_no_lane():
    assert sending.lane_of(CPU) is None

"""Time goes on from what earlier processes spent, and other work does not stretch that of the processor."""

import time

import pytest

from clp_train.running.checkpoint import Checkpoint
from clp_train.running.clock import Clock, Spent
from tests.clp_train.builders import config_of, load, train


def test_it_starts_where_another_process_stopped():
    spent = Clock(Spent(100.0, 50.0)).read()
    assert 100 <= spent.seconds < 110
    assert 50 <= spent.cpu_seconds < 60


def test_what_is_done_while_it_is_stopped_does_not_count():
    clock = Clock(Spent())
    time.sleep(0.1)
    with clock.pause():
        time.sleep(0.4)
    time.sleep(0.1)
    assert 0.2 <= clock.read().seconds < 0.4


def test_sleeping_is_no_time_of_the_processor():
    clock = Clock(Spent())
    time.sleep(0.3)
    spent = clock.read()
    assert spent.seconds >= 0.3
    assert spent.cpu_seconds < 0.25


def test_a_resumed_run_counts_what_the_killed_one_spent(demo_shard, tmp_path):
    config = config_of(meta=demo_shard, method="erm", epochs=2, batch_size=40, checkpoint_interval=1)
    loaded = load(config)
    checkpoint = Checkpoint(tmp_path / "c.safetensors", {})

    def stop(done):
        if done.step == 2:
            time.sleep(0.5)
        if done.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, loaded, stop, checkpoint=checkpoint)
    began = time.perf_counter()
    resumed = train(config, loaded, checkpoint=checkpoint, resume=True)
    assert resumed.spent.seconds > time.perf_counter() - began + 0.4

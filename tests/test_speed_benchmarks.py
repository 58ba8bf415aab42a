"""What benchmarks/load_speed.py and growth_train.py make of their rounds, and a round of LOAD that is far too small."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def load_speed(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import load_speed

    return load_speed


@pytest.fixture
def growth_train(load_speed):
    import growth_train

    return growth_train


def test_a_set_and_its_size(load_speed):
    assert load_speed.set_of("a=b/c=224") == (Path("a=b/c"), 224)


def test_the_limit_decodes_as_load_does(load_speed, tmp_path, monkeypatch):
    monkeypatch.setattr(load_speed, "SOME", 6)
    dataset = load_speed.make_folder(tmp_path, 4)
    tasks, pictures = load_speed.tasks_of(dataset, 224)
    assert (list(tasks), pictures) == (["limit", "LOAD, 1 at work", "LOAD, 2 at work"], 4)
    seen = []
    monkeypatch.setattr(load_speed.np, "asarray", lambda picture: seen.append(np.array(picture)))
    load_speed.decode_all([dataset.root / name for name in dataset.samples.name], 224)
    monkeypatch.undo()
    read = load_speed.Reader(dataset, 224, "crop", load_speed.unwatched, None)(np.arange(4), "train").images
    assert (np.stack(seen).transpose(0, 3, 1, 2) == read.numpy()).all()


def test_rounds_on_a_busy_machine_do_not_count(load_speed):
    rounds = [
        {"limit": 100, "LOAD, 1 at work": rate, "LOAD, 2 at work": 2 * rate, "others": others}
        for rate, others in ((10, 0.5), (20, 0.0), (40, 0.1))
    ]
    found = load_speed.summary(rounds)
    assert found["quiet_rounds"] == 2
    assert found["pictures_per_second"]["LOAD, 1 at work"] == 30
    assert found["seconds_of_11788_pictures"] == {"1 at work": 392.9, "2 at work": 196.5}


def test_growth_is_the_largest_count_over_the_smallest(growth_train):
    few, many = (
        {"LOAD": v, "pictures": n, "peak_anonymous_bytes": b} for v, n, b in ((10, 100, 1_000), (11, 300, 5_000))
    )
    found = growth_train.summary({"300": [many] * 3, "100": [few] * 3})
    assert found["growth"] == {"LOAD": 1.1}
    assert found["peak_bytes_a_training_picture"] == 20
    assert growth_train.summary({"100": [few], "300": []})["growth"] == {"LOAD": 1.0}, "the first round of a call"


def test_a_call_goes_on_with_the_rounds_that_lack(growth_train, tmp_path, monkeypatch):
    def watched(command):
        Path(command[command.index("--out") + 1]).write_text(json.dumps({"LOAD": 1.0, "pictures": 9}))
        asked.append(command[0])
        return {"peak_anonymous_bytes": 5}

    asked, stored = [], []
    monkeypatch.setattr(growth_train.scale_memory, "make_set", lambda *_: tmp_path)
    monkeypatch.setattr(growth_train, "shard_of", lambda *_: tmp_path)
    monkeypatch.setattr(growth_train.scale_memory, "watched", watched)
    kept = {"5": [{"LOAD": 2.0}] * 2, "7": [{"LOAD": 3.0}]}
    growth_train.measure_epochs(tmp_path, [5, 7], 2, kept, lambda made: stored.append(json.dumps(made)))
    assert asked == [sys.executable]
    assert json.loads(stored[-1]) == {
        "5": [{"LOAD": 2.0}] * 2,
        "7": [{"LOAD": 3.0}, {"LOAD": 1.0, "pictures": 9, "peak_anonymous_bytes": 5}],
    }

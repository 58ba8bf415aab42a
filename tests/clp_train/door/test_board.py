"""The numbers of metrics.jsonl as curves: on disk after each epoch, and one line where the disk refuses."""

import errno
import os

import pytest

from clp_aug.contract.errors import InputError
from clp_train import board

LINES = [{"epoch": epoch, "lr": 0.1, "train_loss": 0.5 / epoch, "meta_loss": None} for epoch in (1, 2)]


@pytest.fixture
def _tensorboard():
    """Skip where TensorBoard is not installed."""
    pytest.importorskip("tensorboard")


@pytest.mark.usefixtures("_tensorboard")
def test_numbers_on_the_board(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with board.board_for(tmp_path) as show:
        assert not list(tmp_path.iterdir()), "a run that fails before its first epoch leaves none"
        for line in LINES:
            show(line)
        assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))  # on disk before it is closed
        events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["lr", "train_loss"]
    assert [(e.step, e.value) for e in events.Scalars("train_loss")] == [(1, 0.5), (2, 0.25)]


@pytest.mark.usefixtures("_tensorboard")
@pytest.mark.parametrize("refused", ["open", "write", "mkdir"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EROFS])
def test_a_disk_that_refuses_is_one_line(tmp_path, monkeypatch, refused, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    with board.board_for(tmp_path) as show:
        if refused == "open":
            monkeypatch.setattr(board, "open", refuse, raising=False)
        elif refused == "mkdir":
            monkeypatch.setattr(board.Path, "mkdir", refuse)
        else:
            show(LINES[0])
            monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", refuse)
        with pytest.raises(InputError, match=rf"cannot write .*/tensorboard/events.* \({os.strerror(code)}\); "):
            show(LINES[1])


def test_without_the_package_there_is_no_board(tmp_path, monkeypatch):
    monkeypatch.setattr(board, "find_spec", lambda name: None)
    with board.board_for(tmp_path) as show:
        show(LINES[0])
    assert list(tmp_path.iterdir()) == []

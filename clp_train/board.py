"""Curves of a run for TensorBoard, if the extra "track" is installed. An epoch is on disk before the next begins."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clp_aug.common.files import disk_error

FOLDER = "tensorboard"
Show = Callable[[Mapping[str, Any]], None]


@contextlib.contextmanager
def board_for(run_folder: Path) -> Iterator[Show]:
    """Yield a function that shows the numbers of one epoch, a line of the history, in TensorBoard.

    Without the package it does nothing. The file is made with the first line. The function raises InputError when the
    disk refuses.
    """
    if find_spec("tensorboard") is None:
        yield lambda line: None
        return
    board = Board(run_folder / FOLDER)
    try:
        yield board.show
    finally:
        board.close()


class Board:
    """A file of events, written at once: TensorBoard's own writer uses a thread that reports errors late or never."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}"
        self.records: Any = None

    def show(self, line: Mapping[str, Any]) -> None:
        """Write the numbers of one epoch. Raises InputError when the disk refuses."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = {name: value for name, value in line.items() if name != "epoch" and value is not None}
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        try:
            if self.records is None:
                self.open()
            self.write(Event(wall_time=time.time(), step=line["epoch"], summary=summary))
        except OSError as error:
            raise disk_error(self.path, error) from None

    def open(self) -> None:
        """Make the file and write its version. Raises OSError."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.path.parent.mkdir(exist_ok=True)
        self.records = RecordWriter(open(self.path, "wb"))  # noqa: SIM115
        self.write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, event: Any) -> None:
        """Write one event. Raises OSError."""
        self.records.write(event.SerializeToString())
        self.records.flush()

    def close(self) -> None:
        """Close the file; its events are on disk already, or their errors were raised."""
        if self.records is not None:
            with contextlib.suppress(OSError):
                self.records.close()

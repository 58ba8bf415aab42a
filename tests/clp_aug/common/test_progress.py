"""Progress that nobody watches, what a watcher is, and the lines of a log."""

import io

import pytest

from clp_aug.common.progress import PAUSE, Lines, counting, passing, unwatched
from clp_aug.common.terminal import progress_bars


def test_unwatched_gives_back_what_it_got():
    """The very rows, lazily: nothing is gone through before somebody does it."""
    rows, asked = [3, 1, 2], []
    assert unwatched(rows, "LOAD train") is rows

    def lazy():
        for row in rows:
            asked.append(row)
            yield row

    found = unwatched(lazy(), "LOAD train")
    assert asked == []
    assert next(iter(found)) == 3
    assert asked == [3]
    assert list(found) == [1, 2]


class Clock:
    """Seconds that pass when they are told to."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def log():
    """A log and the clock that it goes by."""
    clock = Clock()
    return Lines(io.StringIO(), clock), clock


def printed(lines):
    return lines.stream.getvalue().splitlines()


def test_a_stage_that_is_short_has_no_line(log):
    lines, clock = log
    for _ in lines.track([7] * 1200, description="LOAD train"):
        clock.now += 0.01
    assert printed(lines) == []


def test_a_stage_that_is_long_has_a_line_every_half_minute_and_one_at_its_end(log):
    lines, clock = log
    task = lines.add_task("INFILL", total=2000)
    for _ in range(80):
        clock.now += 1
        lines.advance(task, 25)
    assert printed(lines) == [
        "INFILL: 750 of 2,000, 25/s, 0:00:50 left",
        "INFILL: 1,500 of 2,000, 25/s, 0:00:20 left",
        "INFILL: 2,000 done in 0:01:20",
    ]


def test_a_long_stage_of_one_part_has_a_line_at_its_end(log):
    lines, clock = log
    task = lines.add_task("COMPILE", total=1)
    clock.now += PAUSE
    lines.advance(task, 1)
    assert printed(lines) == ["COMPILE: 1 done in 0:00:30"]


def test_loops_of_library_functions_are_shown_within_a_command_and_unchanged_elsewhere(log):
    lines, clock = log
    parts = [range(100)] * 10
    assert passing(parts, "EVALUATE") is parts
    with lines:
        made = (part for part in parts)
        assert passing(made, "EVALUATE") is made
        for part in passing(parts, "EVALUATE"):
            assert len(part) == 100
            clock.now += 8
    assert printed(lines)[0] == "EVALUATE: 400 of 1,000, 12/s, 0:00:48 left"
    assert printed(lines)[-1] == "EVALUATE: 1,000 done in 0:01:20"
    assert passing(parts, "EVALUATE") is parts


def test_never_more_often_than_a_line_a_pause(log):
    lines, clock = log
    task = lines.add_task("TRAIN", total=None)
    for step in range(5 * int(PAUSE) * 64):
        clock.now += 1 / 64
        lines.update(task, total=10_000, completed=step + 1, description=f"TRAIN epoch {step // 1000}")
    assert len(printed(lines)) == 5
    assert printed(lines)[-1] == "TRAIN epoch 9: 9,600 of 10,000, 64/s, 0:00:06 left"


def test_what_was_done_by_a_killed_run_says_nothing_of_the_speed(log):
    lines, clock = log
    task = lines.add_task("INFILL", total=2000)
    lines.advance(task, 1900)
    clock.now += PAUSE
    lines.advance(task, 10)
    assert printed(lines)[-1] == "INFILL: 1,910 of 2,000, 0.33/s, 0:04:30 left"


def test_the_end_has_one_line_and_an_unknown_end_none(log):
    lines, clock = log
    task = lines.add_task("BENCH", total=2)
    for completed in (1, 2, 2):
        clock.now += PAUSE
        lines.update(task, completed=completed)
    endless = lines.add_task("TRAIN", total=None)
    clock.now += PAUSE
    lines.advance(endless, 5)
    assert printed(lines) == ["BENCH: 1 of 2", "BENCH: 2 done in 0:01:00", "TRAIN: 5"]


def test_names_in_a_line_do_not_act_on_the_terminal(log):
    lines, clock = log
    task = lines.add_task("LOAD [red]\x1b[2J\n", total=3)
    clock.now += PAUSE
    lines.advance(task)
    assert printed(lines) == ["LOAD [red]\ufffd[2J\ufffd: 1 of 3"]


def test_a_count_is_a_stage_within_a_command_and_nothing_elsewhere(log):
    lines, clock = log
    counting("READ features", 100)(5)
    with lines:
        count = counting("READ features", 100)
        for _ in range(4):
            clock.now += 16
            count(25)
    assert printed(lines) == ["READ features: 50 of 100, 1.56/s, 0:00:32 left", "READ features: 100 done in 0:01:04"]


class Full(io.StringIO):
    """A log on a disk that is full."""

    def write(self, text):
        raise OSError("full")


@pytest.mark.parametrize("stream", [None, Full()], ids=["quiet", "full"])
def test_nothing_to_print_on_stops_nothing(stream, monkeypatch):
    monkeypatch.setattr("clp_aug.common.progress.PAUSE", 0)
    with Lines(stream) as lines:
        assert list(lines.track([1, 2], description="LOAD")) == [1, 2]


class Terminal(io.StringIO):
    """A terminal of 80 columns without colours."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("quiet", "kind"), [(True, "silent"), (False, "bars"), (False, "lines")])
def test_bars_on_a_terminal_and_lines_elsewhere(monkeypatch, quiet, kind):
    stream = io.StringIO() if kind == "lines" else Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("clp_aug.common.progress.PAUSE", 0)
    with progress_bars(quiet) as bars:
        bars.advance(bars.add_task("LOAD [x] :smile: \x07", total=1))
    text = stream.getvalue()
    assert ("\x1b" in text) == (kind == "bars")
    assert ("LOAD [x] :smile: \ufffd" in text) == (kind != "silent")
    assert ("1/1" in text) == (kind == "bars")


def test_a_terminal_that_cannot_draw_has_lines(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("clp_aug.common.progress.PAUSE", 0)
    with progress_bars(False) as bars:
        bars.advance(bars.add_task("LOAD", total=1))
    assert stream.getvalue() == "LOAD: 1 done in 0:00:00\n"

"""Rich consoles that show names as they are, whatever characters they have. Import this late: rich loads slowly."""

from __future__ import annotations

from rich import progress
from rich.console import Console
from rich.text import Text

from clp_aug.common.progress import rate_text
from clp_aug.common.text import printable


class PlainConsole(Console):
    """A console that takes no markup and no emoji from a text, and leaves a broken pipe to the command."""

    def __init__(self, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError that is being handled."""
        raise


class Description(progress.TextColumn):
    """The description of a stage; names in it are not read as markup."""

    def __init__(self) -> None:
        super().__init__("{task.description:<18}", markup=False)

    def render(self, task: progress.Task) -> Text:
        """Return one line, at least 18 columns wide."""
        return Text(printable(self.text_format.format(task=task)), justify=self.justify)


class Rate(progress.ProgressColumn):
    """Pictures or steps per second."""

    def render(self, task: progress.Task) -> str:
        """Return nothing before anything is known."""
        speed = task.finished_speed or task.speed
        return "" if speed is None else rate_text(speed)


def drawn_bars(console: Console) -> progress.Progress:
    """Return a progress display with counts, rate and time left."""
    columns = (
        Description(),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        Rate(),
        progress.TimeRemainingColumn(),
    )
    return progress.Progress(*columns, console=console)

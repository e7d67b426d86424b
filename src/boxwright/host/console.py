"""What people see in a terminal: one console, one progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["make_console", "progress", "spoken", "stages"]

_PIPE_WIDTH = 140  # tables into files and pipes are not folded to a terminal's 80 columns


def make_console(stderr: bool = False, to_the_end: bool = False) -> Console:
    """A console on standard output, or standard error, that prints names as they are and lines whole.

    Args:
        stderr: on standard error.
        to_the_end: go on in silence when nobody reads any more, as behind ``| head``: what is made is worth more than
            what is printed. Otherwise the program ends then.
    """
    from rich.console import Console

    class Lasting(Console):
        def on_broken_pipe(self) -> None:
            with suppress(SystemExit):
                super().on_broken_pipe()

    kind = Lasting if to_the_end else Console
    console = kind(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


@contextmanager
def progress(console: Console, text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is gone when the work is done; nothing in files and pipes.

    Args:
        console: to draw on.
        text: what is being done.

    Yields:
        A function of (done, in all).
    """
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with _bar(console) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def stages(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for work of several parts, gone when all is done; nothing in files and pipes.

    Args:
        console: to draw on.

    Yields:
        A function of (what is being done, done, in all).
    """
    if not console.is_terminal:
        yield lambda text, done, total: None
        return
    with _bar(console) as bar:
        task = bar.add_task("", total=None)
        yield lambda text, done, total: bar.update(task, description=text, completed=done, total=total)


def spoken(seconds: float) -> str:
    """A duration as people say it: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _bar(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)

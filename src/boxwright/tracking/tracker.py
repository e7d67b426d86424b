"""What a tracker can do, and the guard that keeps a failing one from stopping training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from .best import BestModel
from .pictures import Gallery

__all__ = ["GuardedLogger", "Tracker", "finish_loggers"]

_LONGEST_REASON = 300  # characters; HTTP clients put whole call chains into one line


class Tracker(ABC):
    """One tracker of one run; its methods raise whatever its library raises.

    Attributes:
        logger: Lightning's, for the figures.
    """

    logger: Logger

    def log_figures(self, figures: Mapping[str, float], step: int | None) -> None:
        """Log figures by key at a training step, and write out what is held back."""
        self.logger.log_metrics(dict(figures), step)
        self.logger.save()

    @abstractmethod
    def show_pictures(self, gallery: Gallery) -> None:
        """Show the fixed pictures as the model of an epoch sees them."""

    @abstractmethod
    def show_best(self, best: BestModel, step: int) -> None:
        """Show tables, curves and files of the best model."""

    @abstractmethod
    def finish(self, status: str) -> None:
        """Close the run.

        Args:
            status: ``success`` or ``failed``, Lightning's words.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Let go after a failure; nothing may be heard of this tracker later."""


class GuardedLogger(Logger):
    """A tracker as Lightning sees it. One that fails says so once, is dropped, and training goes on.

    The run ends with ``finish``, not where Lightning finalises it: the best model is shown in between.
    Only the process of rank zero tracks.

    Args:
        title: the tracker's name for people.
        start: makes it.
        say: gets the one sentence about a failure.
    """

    def __init__(self, title: str, start: Callable[[], Tracker], say: Callable[[str], object]) -> None:
        super().__init__()
        self._title = title
        self._say = say
        self._status = "success"
        self._step = 0
        self._tracker: Tracker | None = None
        self._begin(start)

    @rank_zero_only
    def _begin(self, start: Callable[[], Tracker]) -> None:
        try:
            self._tracker = start()
        except Exception as error:  # trackers' errors share no base
            self._warn("does not track", error)

    @property
    def name(self) -> str:
        """Of the tracker."""
        return self._title

    @property
    def version(self) -> str:
        """There is one."""
        return ""

    @property
    def tracking(self) -> bool:
        """Whether it still does."""
        return self._tracker is not None

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Settings are handed over when the tracker is made."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log figures by key."""
        self._step = max(self._step, step or 0)
        self._attempt(lambda tracker: tracker.log_figures(metrics, step))

    def show_pictures(self, gallery: Gallery) -> None:
        """See ``Tracker``."""
        self._attempt(lambda tracker: tracker.show_pictures(gallery))

    def show_best(self, best: BestModel) -> None:
        """Log the best model's figures at the last step seen, and show what else there is of it."""
        self._attempt(lambda tracker: tracker.log_figures(best.figures, self._step))
        self._attempt(lambda tracker: tracker.show_best(best, self._step))

    def finalize(self, status: str) -> None:
        """Remember how the fit ended."""
        self._status = "failed" if status == "failed" else "success"

    def finish(self) -> None:
        """Close the run, once."""
        self._attempt(lambda tracker: tracker.finish(self._status))
        self._tracker = None

    def _attempt(self, action: Callable[[Tracker], object]) -> None:
        if self._tracker is None:
            return
        try:
            action(self._tracker)
        except Exception as error:  # trackers' errors share no base
            self._warn("no longer tracks", error)
            self._tracker.abandon()
            self._tracker = None

    def _warn(self, what: str, error: Exception) -> None:
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0]}"[:_LONGEST_REASON].rstrip(".: ")
        self._say(f"Warning: {self._title} {what} this run; training goes on. {reason}.")


def finish_loggers(loggers: Iterable[Logger]) -> None:
    """Close the runs of the trackers among these loggers, so that their files are whole when training returns."""
    for logger in loggers:
        if isinstance(logger, GuardedLogger):
            logger.finish()

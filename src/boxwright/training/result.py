"""What training leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from boxwright.runtime import ModelSpec

__all__ = ["RunResult"]


@dataclass(frozen=True)
class RunResult:
    """A run.

    Attributes:
        folder: ``OUT/NAME``.
        spec: of the best epoch, with operating point and figures; None after a fast dev run or an
            interruption before the first epoch ended.
        interrupted: whether Ctrl-C ended it.
    """

    folder: Path
    spec: ModelSpec | None
    interrupted: bool

"""Data sets in stores: a URL stands wherever a data folder may."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from boxwright.inputs.stores import local_place

from .documents import SPLITS

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["local_data"]


def local_data(data: str | Path, console: Console | None = None) -> Path:
    """The folder of a data set on this machine: itself, or the copy of ``train/``, ``valid/`` and ``test/`` of a URL.

    Args:
        data: path, or a URL that fsspec reads; of an annotation file, too.
        console: see ``local_copy``.

    Raises:
        BoxwrightError: see ``local_copy``.
    """
    return local_place(data, SPLITS, console)

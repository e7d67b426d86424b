"""Data sets in remote storage and in ZIP archives: a URL or a file stands wherever a data folder may."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from boxwright.host.console import make_console, progress
from boxwright.inputs.stores import local_place
from boxwright.inputs.zipped import is_zip, unzipped

from .documents import SPLITS

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["local_data"]


def local_data(data: str | Path, console: Console | None = None) -> Path:
    """The folder of a data set on this machine: itself, a copy of what is at a URL, or what a ZIP archive holds.

    Args:
        data: path, or a URL that fsspec reads, of a folder or a ``.zip``; of an annotation file, too. Of a folder at a
            URL, ``train/``, ``valid/`` and ``test/`` count.
        console: see ``local_copy``.

    Raises:
        BoxwrightError: see ``local_copy`` and ``unzipped``.
    """
    place = local_place(data, SPLITS, console)
    if not is_zip(place):
        return place
    with progress(console or make_console(stderr=True), f"unpack {place.name}") as advance:
        return unzipped(place, advance)

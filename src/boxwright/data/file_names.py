"""What the names of files and folders tell, before any file is opened.

To add a meaning (frames of one video, tiles of one picture, the copies of another tool): add a pattern to ``_COPIES``,
or a function beside ``copied_from``. The data check and ``convert`` both ask here.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath

__all__ = ["copied_from", "split_of", "stays_inside"]

_SPLIT_OF = {"train": "train", "val": "valid", "valid": "valid", "validation": "valid", "test": "test"}
_COPIES = (re.compile(r"(?P<source>.+)\.rf\.[0-9A-Za-z_-]+\.[^.]+"),)  # Roboflow: NAME.rf.HASH.jpg


def copied_from(file_name: str) -> str | None:
    """Name of the source picture that a tool made this copy of (Roboflow: ``NAME.rf.HASH.jpg``), or None."""
    return next((match["source"] for pattern in _COPIES if (match := pattern.fullmatch(file_name))), None)


def split_of(name: str) -> str | None:
    """The split (``train``, ``valid``, ``test``) that others call ``val`` or ``Train``; None if it is not a split."""
    return _SPLIT_OF.get(name.casefold())


def stays_inside(name: str) -> bool:
    """Whether a file name stays below its folder on any system, judged by its text alone."""
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    return not (windows.drive or windows.root or posix.is_absolute() or ".." in windows.parts or ".." in posix.parts)

"""Files that are whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["cache_folder", "replacing", "write_text"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file beside ``path``, and put it in its place when the block ends well.

    Yields:
        The path to write to. It is in the same folder, which is made if it is missing; after an error it is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; see ``replacing``."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def cache_folder() -> Path | None:
    """The user's cache folder for boxwright: in ``$XDG_CACHE_HOME``, else in ``~/.cache``; None without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "boxwright"
    except RuntimeError:
        return None

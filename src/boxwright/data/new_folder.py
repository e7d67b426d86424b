"""A folder that is written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boxwright.runtime import ConfigError

__all__ = ["new_folder", "require_new_folder"]


def require_new_folder(out: Path, source: Path) -> None:
    """Refuse to overwrite anything, or to write into the source.

    Raises:
        ConfigError: ``out`` is a file, a broken link, a folder that is not empty, or lies in ``source``.
    """
    try:
        taken = out.is_symlink() if not out.exists() else not out.is_dir() or any(out.iterdir())
        inside = out.resolve().is_relative_to(source.resolve())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(out)!r} cannot be written: {error}.", "Choose another folder.") from error
    if taken:
        raise ConfigError(f"{out} exists already and is not empty.", "Give a new folder, or an empty one.")
    if inside:
        raise ConfigError(f"{out} lies inside {source}.", "Give a folder outside the data.")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its name or its place at the end; after an error it is gone.

    Raises:
        ConfigError: it cannot be written.
    """
    out = out.resolve()
    folder = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True)
        yield folder
        if out.is_dir():  # it may be a mount point, and its permissions are the user's
            for part in sorted(folder.iterdir()):
                shutil.move(part, out / part.name)
        else:
            folder.rename(out)
    except OSError as error:
        raise ConfigError(
            f"{error.filename or out}: {error.strerror or error}.", "Choose another folder, or make room."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)

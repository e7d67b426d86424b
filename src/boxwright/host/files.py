"""Files and folders that are whole or not there at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from boxwright.runtime import ConfigError

__all__ = [
    "cache_folder",
    "is_replaced",
    "new_folder",
    "remove_parts",
    "replacing",
    "require_new_folder",
    "require_writable",
    "write_text",
    "writing",
]


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


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """As ``replacing``; but links and devices stay what they are, and are written through."""
    if not is_replaced(path):
        yield path
        return
    with replacing(path) as part:
        yield part


def is_replaced(path: Path) -> bool:
    """Whether ``writing`` puts a new file in this place; else it is a link or a device, as /dev/stdout."""
    return not path.is_symlink() and (path.is_file() or not path.exists())


def remove_parts(folder: Path) -> None:
    """Remove what killed processes were writing in a folder; nobody else may be writing there."""
    for part in folder.glob("*.part"):
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; see ``replacing``."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


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


def require_writable(folder: Path) -> None:
    """Raise unless a folder can be written to, or made, before long work is done for it; nothing is made.

    Raises:
        ConfigError: it cannot.
    """
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise ConfigError(f"{folder}: cannot be made: {there} is a file.", "Choose another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder}: {there} cannot be written to.", "Make it writable, or choose another folder.")


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


def cache_folder() -> Path | None:
    """The user's cache folder for boxwright: in ``$XDG_CACHE_HOME``, else in ``~/.cache``; None without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "boxwright"
    except RuntimeError:
        return None

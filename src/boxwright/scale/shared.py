"""A folder that all machines of a cluster see: a shared one, or one in remote storage."""

from __future__ import annotations

import os
import posixpath
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.host.places import is_url
from boxwright.inputs.stores import OBJECT_STORES, naming_store, open_store

__all__ = ["SharedFolder"]


class SharedFolder:
    """Files of a few megabytes at most, which appear whole; the folder is made with the first one.

    What goes wrong on a disk is an ``OSError``, in remote storage one of our errors, see ``naming_store``.

    Args:
        place: path or URL.

    Attributes:
        place: the same.
        files: its file system, as fsspec has it.
        root: the folder there.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.files, self.root = open_store(place) if is_url(place) else _on_disk(Path(place))

    def names(self) -> set[str]:
        """What is directly in it, as it is now."""
        with self._naming():
            self.files.invalidate_cache()
            if not self.files.isdir(self.root):
                return set()
            return {posixpath.basename(path.rstrip("/")) for path in self.files.ls(self.root, detail=False)}

    def read(self, name: str) -> bytes:
        """Content of a file."""
        with self._naming():
            content: bytes = self.files.cat_file(posixpath.join(self.root, name))
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file; one of that name is replaced."""
        path = posixpath.join(self.root, name)
        with self._naming():
            if OBJECT_STORES & {*np.atleast_1d(self.files.protocol)}:
                self.files.pipe_file(path, content)  # they show an object when it is whole
                return
            self.files.makedirs(self.root, exist_ok=True)  # there it would make a bucket of a wrong name
            part = posixpath.join(self.root, f"_{name}.{os.getpid()}")  # which readers of tables ignore
            self.files.pipe_file(part, content)
            self.files.mv(part, path)

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self._naming():
            self.files.rm_file(posixpath.join(self.root, name))

    def delete(self) -> None:
        """Remove the folder with all that is in it, as far as that can be done."""
        with suppress(Exception):  # each of fsspec's systems has its own errors, and what is left does no harm
            self.files.rm(self.root, recursive=True)

    def _naming(self) -> AbstractContextManager[None]:
        return naming_store(self.place) if is_url(self.place) else nullcontext()


def _on_disk(place: Path) -> tuple[Any, str]:
    """As ``open_store``, for a path with any characters: in some of them fsspec would see a URL."""
    from fsspec.implementations.local import LocalFileSystem

    return LocalFileSystem(), str(place.resolve())

"""Files, folders, videos, URLs and what is in memory become pictures, one at a time."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from boxwright.runtime.errors import ConfigError, PictureError, PictureTooLarge
from boxwright.runtime.picture import SUFFIXES, PictureSource, decode, upright_size

from .download import download, is_url, require_web
from .video import is_video, read_video
from .zipped import is_zip

__all__ = ["SourcePicture", "Sources", "each_source", "picture_names", "read_source", "read_sources", "require_allowed"]

Sources = PictureSource | Iterable[PictureSource]
"""One or many: paths of pictures, folders and videos, URLs, encoded bytes, Pillow pictures, uint8 arrays."""

_SINGLE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray, io.IOBase)


@dataclass(frozen=True, eq=False)
class SourcePicture:
    """A decoded picture, and where it comes from.

    Attributes:
        image: upright, mode ``RGB``.
        source: path or URL; ``#3`` for the third source, if it has no name.
        frame: its number in the video, from 0; None outside videos.
        seconds: since the beginning of the video; None outside videos.
        file: path of the picture's file; None of all else.
    """

    image: Image.Image
    source: str
    frame: int | None = None
    seconds: float | None = None
    file: str | None = None


def each_source(sources: Sources) -> Iterator[PictureSource]:
    """Single sources, in order and lazily; a folder gives its ``picture_names``.

    Raises:
        PictureError: a folder cannot be read, or has no pictures.
    """
    single = isinstance(sources, _SINGLE) or not isinstance(sources, Iterable)
    for source in (sources,) if single else sources:  # type: ignore[union-attr]
        if isinstance(source, (str, os.PathLike)) and not is_url(source) and os.path.isdir(source):
            yield from _pictures_in(Path(source))
        else:
            yield source  # type: ignore[misc]


def _pictures_in(folder: Path) -> Iterator[Path]:
    try:
        names = picture_names(folder)
    except OSError as error:
        raise PictureError(f"Folder '{folder}' cannot be read: {error.strerror}.", "Check its permissions.") from error
    if not names:
        looked_for = f"Looked for {', '.join(SUFFIXES)}, and for files of these formats, not in subfolders."
        raise PictureError(f"Folder '{folder}' has no pictures.", looked_for + _below(folder))
    yield from (folder / name for name in names)


def _below(folder: Path) -> str:
    """Which subfolder of a folder has pictures, as their suffixes say."""
    for one in sorted(folder.iterdir()):
        with suppress(OSError):
            if not one.name.startswith(".") and any(name.lower().endswith(SUFFIXES) for name in os.listdir(one)):
                return f" There are some in {one}: give that."
    return ""


def picture_names(folder: Path) -> list[str]:
    """Names of the pictures in a folder, sorted; without subfolders, hidden files, pipes and devices.

    They are known by their suffix, whether they are sound or not, or else by their content, as ``.jfif``.

    Raises:
        OSError: the folder cannot be read.
    """
    names = [name for name in os.listdir(folder) if not name.startswith(".") and _may_be_picture(folder / name)]
    return sorted(name for name in names if name.lower().endswith(SUFFIXES) or _is_picture(folder / name))


def _may_be_picture(path: Path) -> bool:
    """Whether it is a file, or a link that leads nowhere, which is reported as such."""
    return path.is_file() or not path.exists()


def _is_picture(path: Path) -> bool:
    try:
        upright_size(path)
    except PictureTooLarge:
        return True  # and is reported as such
    except PictureError:
        return False
    return True


def read_sources(sources: Sources, *, urls: bool = False, every: int = 1) -> Iterator[SourcePicture]:
    """The pictures of all sources, in order and lazily; a video gives its frames.

    Args:
        sources: see ``Sources``.
        urls: whether URLs are fetched.
        every: of a video, frames 0, ``every``, 2 ``every``, … are taken.

    Raises:
        PictureError: a source cannot be used.
        ConfigError: a URL without ``urls``; ``every`` is not positive.
        MissingDependency: a video without OpenCV.
    """
    if every < 1:
        raise ConfigError(f"every = {every} does not fit:", "give 1 or more.")
    numbered = enumerate(each_source(sources), start=1)
    return (picture for n, source in numbered for picture in read_source(source, urls=urls, every=every, name=f"#{n}"))


def read_source(
    source: PictureSource, *, urls: bool = False, every: int = 1, name: str = "#1"
) -> Iterator[SourcePicture]:
    """The pictures of one source that is not a folder: one, or a video's frames; see ``read_sources``."""
    require_allowed(source, urls)
    if is_url(source):
        url = str(source)
        yield SourcePicture(decode(download(url), name=repr(url)), url)
    elif is_video(source):
        path = os.fspath(source)  # type: ignore[arg-type]
        for frame in read_video(path, every):
            yield SourcePicture(frame.image, path, frame.number, frame.seconds)
    elif isinstance(source, (str, os.PathLike)):
        yield SourcePicture(_decoded(source), os.fspath(source), file=os.fspath(source))
    else:
        yield SourcePicture(decode(source, name=name), name)


def _decoded(path: str | os.PathLike[str]) -> Image.Image:
    try:
        return decode(path)
    except PictureError:
        if not is_zip(Path(path)):
            raise
        remedy = "Unpack it, and give a folder of its pictures, as FOLDER/valid."
        raise PictureError(f"'{os.fspath(path)}' is a ZIP archive, not a picture.", remedy) from None


def require_allowed(source: PictureSource, urls: bool) -> None:
    """Raise if a source is a URL that must not or cannot be fetched.

    Raises:
        ConfigError: a URL without ``urls``.
        PictureError: a URL that is not HTTP, or a video's.
    """
    if not is_url(source):
        return
    require_web(str(source))
    if not urls:
        allow = "Allow it with --urls (in Python: urls=True)."
        raise ConfigError(f"{source!r} is a URL; they are not fetched by default.", allow)
    if is_video(source):
        raise PictureError(f"Video {source!r} is not a file.", "Download it first.")

"""Videos, read and written frame by frame with OpenCV; only one frame is in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Union

import numpy as np
from PIL import Image

from boxwright.runtime.errors import MissingDependency, PictureError, PictureTooLarge
from boxwright.runtime.picture import MAX_PIXELS

__all__ = ["VIDEO_SUFFIXES", "Frame", "VideoInfo", "VideoWriter", "describe_video", "is_video", "read_video"]

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
"""Suffixes of files that are taken for videos, in lower case."""

_USUAL_RATE = 25.0
_HIGHEST_RATE = 240.0  # higher rates in containers are a clock's resolution
_MOST_FRAMES = 2**40
_WHOLE = 0.95  # of the announced time: containers round, and some only estimate
_BROKEN = "It is broken or truncated."

VideoPath = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class VideoInfo:
    """What a video's container says.

    Attributes:
        frames: how many; None where it does not say. Exact in MP4, MOV and AVI, else an estimate.
        rate: frames per second; 25 where it does not say.
    """

    frames: int | None
    rate: float


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        image: upright, mode ``RGB``.
        number: in the video, from 0.
        seconds: since its beginning.
    """

    image: Image.Image
    number: int
    seconds: float


def is_video(source: object) -> bool:
    """Whether it is a path with a video's suffix."""
    return isinstance(source, (str, os.PathLike)) and os.fspath(source).lower().endswith(VIDEO_SUFFIXES)


def describe_video(path: VideoPath) -> VideoInfo:
    """Length and frame rate, from the container.

    Raises:
        PictureError: see ``read_video``.
        MissingDependency: OpenCV is not installed.
    """
    capture = _open(path, MAX_PIXELS)
    try:
        return _info(capture)
    finally:
        capture.release()


def read_video(path: VideoPath, every: int = 1, max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """The frames of a video, one at a time, turned upright as the file asks for.

    Args:
        path: of the file.
        every: takes frames 0, ``every``, 2 ``every``, …
        max_pixels: largest accepted width x height.

    Raises:
        PictureError: missing, not a video, without a frame; or, after its last frame, it ends early.
        PictureTooLarge: more than ``max_pixels`` pixels per frame.
        MissingDependency: OpenCV is not installed.
    """
    capture = _open(path, max_pixels)
    try:
        yield from _frames(capture, os.fspath(path), every)
    finally:
        capture.release()


def _frames(capture: Any, path: str, every: int) -> Iterator[Frame]:
    cv2 = _opencv()
    info = _info(capture)
    number, seconds = 0, 0.0
    while capture.grab():
        seconds = round(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, 6)
        taken, stored = capture.retrieve() if number % every == 0 else (False, None)
        if taken:
            yield Frame(Image.fromarray(cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)), number, seconds)
        number += 1
    if not number:
        raise PictureError(f"Video {path!r} has no frame that can be decoded.", _BROKEN)
    if info.frames and number < info.frames and seconds + 1 / info.rate < _WHOLE * info.frames / info.rate:
        raise PictureError(f"Video {path!r} ends after {number} of its {info.frames} frames.", _BROKEN)


def _open(path: VideoPath, max_pixels: int) -> Any:
    cv2 = _opencv()
    name = os.fspath(path)
    try:
        with open(name, "rb"):
            pass
    except OSError as error:
        raise PictureError(f"Video {name!r} cannot be read: {error.strerror}.", "Check the path.") from error
    full_name = _for_opencv(name)
    if full_name is None:
        raise PictureError(f"Video {name!r} cannot be read: its path is not Unicode.", "Rename it.")
    capture = cv2.VideoCapture(full_name, cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise PictureError(f"Video {name!r} cannot be decoded.", "It is broken, truncated or not a video.")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > max_pixels:
        capture.release()
        size = f"{width} x {height} pixels"
        raise PictureTooLarge(f"Video {name!r} has {size}; at most {max_pixels:,} are accepted.", "Make it smaller.")
    return capture


def _info(capture: Any) -> VideoInfo:
    cv2 = _opencv()
    frames, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    return VideoInfo(int(frames) if 0 < frames < _MOST_FRAMES else None, rate if rate > 0 else _USUAL_RATE)


def _for_opencv(path: str) -> str | None:
    """Absolute, because FFmpeg takes some others for protocols; None for what makes OpenCV crash."""
    full = os.path.abspath(path)
    try:
        full.encode("utf-8")
    except UnicodeEncodeError:
        return None
    return full


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency("Videos need OpenCV (cv2).", "pip install 'boxwright[video]'") from error
    return cv2


class VideoWriter:
    """Writes pictures of one size as an MP4 file; a context manager.

    Args:
        path: of the file; replaced.
        rate: frames per second of the original.
        every: frames of the original per frame of this file, which lasts as long.

    Raises:
        MissingDependency: OpenCV is not installed.
    """

    def __init__(self, path: VideoPath, rate: float, every: int = 1) -> None:
        self._cv2 = _opencv()
        self._path = os.fspath(path)
        self._rate = (rate if rate <= _HIGHEST_RATE else _USUAL_RATE) / every  # more is a clock of the container
        self._file: Any = None
        self._size = (0, 0)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.release()

    def add(self, image: Image.Image) -> None:
        """Append a picture, mode ``RGB``; it gets the size of the first.

        An odd last row or column is left out, as the format wants it.

        Raises:
            OSError: the file cannot be written.
        """
        if self._file is None:
            self._size = image.size
            self._file = self._create()
        if image.size != self._size:  # OpenCV would leave it out without an error
            image = image.resize(self._size)
        self._file.write(self._cv2.cvtColor(np.asarray(image), self._cv2.COLOR_RGB2BGR))

    def _create(self) -> Any:
        code = self._cv2.VideoWriter_fourcc(*"mp4v")
        full_name = _for_opencv(self._path)
        file = full_name and self._cv2.VideoWriter(full_name, self._cv2.CAP_FFMPEG, code, self._rate, self._size)
        if not file or not file.isOpened():
            raise OSError(None, "cannot be written as a video", self._path)
        return file

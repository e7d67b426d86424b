"""Opens every picture of a data set, in parallel, and keeps what the checks ask for."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

from boxwright.runtime import PictureError, decode
from boxwright.runtime.picture import SIDEWAYS, open_picture, orientation

__all__ = ["GREYS_SIDE", "PictureFacts", "scan_pictures"]

GREYS_SIDE = 9  # a difference hash of 8 x 8 needs one more
_REDUCTION = 8  # libjpeg's smallest scale
_CHUNK = 16

Progress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What a look at one picture gave.

    Attributes:
        stored: (width, height) in pixels, before any EXIF turn; (0, 0) if it cannot be opened.
        turn: EXIF orientation, 1..8.
        mode: Pillow's, with ``+transparency`` where a palette or key colour has it.
        digest: SHA-256 of the file; None if only the header was read.
        greys: 81 bytes, the picture as 9 x 9 greys; None if only the header was read.
        error: why it cannot be decoded.
        readable: whether the file could be read at all.
    """

    stored: tuple[int, int] = (0, 0)
    turn: int = 1
    mode: str = ""
    digest: bytes | None = None
    greys: bytes | None = None
    error: PictureError | None = None
    readable: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, upright."""
        return (self.stored[1], self.stored[0]) if self.turn in SIDEWAYS else self.stored


def scan_pictures(
    paths: Sequence[str], *, pixels: bool, workers: int | None = None, advance: Progress | None = None
) -> list[PictureFacts]:
    """Look at every picture once, in order.

    Threads, not processes: Pillow decodes and hashlib hashes without holding the interpreter's lock.

    Args:
        paths: existing files.
        pixels: decode them, else read only their headers.
        workers: threads; one a processor by default.
        advance: called with (pictures done, pictures in all).
    """
    # handing over one picture at a time costs a tenth of a small picture's decoding
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    facts: list[PictureFacts] = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for chunk in pool.map(lambda part: [_look(path, pixels) for path in part], chunks):
            facts += chunk
            if advance:
                advance(len(facts), len(paths))
    return facts


def _look(path: str, pixels: bool) -> PictureFacts:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # a Path costs as much as the opening
            return _decoded(file.read(), path) if pixels else _header(file, path)
    except PictureError as error:
        return PictureFacts(error=error)
    except OSError as error:
        reason = PictureError(f"Picture {path!r} cannot be read: {error.strerror}.")
        return PictureFacts(error=reason, readable=False)


def _header(file: BinaryIO, path: str) -> PictureFacts:
    image = open_picture(file, repr(path))
    return PictureFacts(image.size, orientation(image), _mode(image))


def _decoded(encoded: bytes, path: str) -> PictureFacts:
    if not encoded:
        raise PictureError(f"Picture {path!r} is empty.")
    digest = hashlib.sha256(encoded).digest()
    image = open_picture(io.BytesIO(encoded), repr(path))
    stored, turn, mode = image.size, orientation(image), _mode(image)
    # a JPEG at an eighth of its size: all of its data is read, and its end missed, as at full size
    image.draft("L", (stored[0] // _REDUCTION, stored[1] // _REDUCTION))
    try:
        greys = image.convert("L").resize((GREYS_SIDE, GREYS_SIDE), Image.Resampling.BOX).tobytes()
    except Exception:  # Pillow's plugins raise whatever their decoders run into
        decode(path)  # the verdict that counts, and its words
        greys = None
    return PictureFacts(stored, turn, mode, digest, greys)


def _mode(image: Image.Image) -> str:
    return f"{image.mode}+transparency" if "transparency" in image.info else image.mode

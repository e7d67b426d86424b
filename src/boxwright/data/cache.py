"""Canvases kept from one epoch to the next, on disk or in memory, shared by all loader processes.

A cache is one file of equal slots: a head (key, state, CRC) and the pixels. The key is a hash of the
picture's bytes and of all that decides its canvas, so a slot can only be found by the picture it
shows. A slot keeps its key for as long as the file lives: files only grow, or are replaced whole.
What runs at the same time can therefore only write the same bytes to the same place.
"""

from __future__ import annotations

import hashlib
import os
import struct
import weakref
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from PIL import __version__ as pillow_version
from PIL import features
from torch import Tensor

from boxwright.runtime import DataError, InputSpec
from boxwright.runtime.preprocess import PIXELS

__all__ = ["HEAD", "KEY_BYTES", "CanvasCache", "content_digests", "slot_bytes", "slot_keys"]

HEAD = struct.Struct("<32sII24x")
"""Of a slot, 64 bytes: key; 1 once the pixels are there, else 0; CRC-32 of the pixels. The pixels follow."""

KEY_BYTES = 32
_STATE = struct.Struct("<II")


class CanvasCache:
    """The canvases of one split, filled by whoever needs one first.

    A slot's state is written after its pixels, so a process killed between the two leaves an empty
    slot. A power cut may leave a state without its pixels: each opening checks the CRC of a slot
    once, before it believes it. Nothing is mapped, so no process grows by what it reads, and a
    file cut short by someone else is a miss, not a bus error. It stays one: key and state are read
    with the pixels each time, and nothing is written where the key is gone, so that the file does
    not grow back with holes that pass for black pictures.

    Args:
        file: descriptor, open for reading and writing; closed with the cache.
        slots: slot of each picture, by index in its split.
        digests: SHA-256 of each picture's bytes, likewise.
        spec: the canvas.
        proven: uint8 [slots], shared; 1 where the CRC was found right. All zeros by default.
    """

    def __init__(
        self, file: int, slots: Sequence[int], digests: Sequence[bytes], spec: InputSpec, proven: Tensor | None = None
    ) -> None:
        self._file = file
        self._slots = list(slots)
        self._digests = list(digests)
        self._spec = spec
        self._keys = slot_keys(digests, spec)
        self._stride = slot_bytes(spec)
        if proven is None:
            proven = torch.zeros(max(self._slots, default=-1) + 1, dtype=torch.uint8)
            proven.share_memory_()  # type: ignore[no-untyped-call]
        self._proven = proven
        self._close = weakref.finalize(self, os.close, file)

    def __len__(self) -> int:
        return len(self._slots)

    def __reduce__(self) -> tuple[Any, ...]:
        """For a process being started: it gets the open file, whatever has become of its name."""
        from multiprocessing.reduction import DupFd

        return _inherited, (DupFd(self._file), self._slots, self._digests, self._spec, self._proven)

    def close(self) -> None:
        """Close the file; an unnamed one is gone once every process has."""
        self._close()

    @property
    def size(self) -> int:
        """Bytes of this split's slots."""
        return len(set(self._slots)) * self._stride

    @property
    def filled(self) -> int:
        """How many pictures have their canvas here; the CRCs are not looked at."""
        return sum(self._state(index, self._head(index))[0] for index in range(len(self)))

    def read(self, index: int, canvas: Tensor) -> bool:
        """Fill ``canvas`` with a picture's.

        Args:
            index: of the picture.
            canvas: uint8 [3, H, W], contiguous.

        Returns:
            Whether it was there; if not, ``canvas`` holds anything.
        """
        slot = self._slots[index]
        head, pixels = bytearray(HEAD.size), _bytes_of(canvas)
        if os.preadv(self._file, [head, pixels], slot * self._stride) != self._stride:
            return False
        full, crc = self._state(index, head)
        if not full:
            return False
        if not self._proven[slot]:
            if zlib.crc32(pixels) != crc:
                return False
            self._proven[slot] = 1
        return True

    def write(self, index: int, canvas: Tensor, path: Path) -> bool:
        """Keep a picture's canvas.

        Args:
            index: of the picture.
            canvas: uint8 [3, H, W], contiguous.
            path: of the file it was decoded from.

        Returns:
            Whether it was kept: not when the file is no longer the one the cache was opened for, nor
            when there is no room after all, nor when someone cut the cache short.
        """
        try:
            kept = _content_digest(path) == self._digests[index] and self._put(index, canvas)
        except (OSError, DataError):  # a cache must not stop a training; the picture itself was read
            return False
        if kept:
            self._proven[self._slots[index]] = 1
        return kept

    def _put(self, index: int, canvas: Tensor) -> bool:
        if self._head(index)[:KEY_BYTES] != self._keys[index]:
            return False
        start = self._slots[index] * self._stride
        pixels = _bytes_of(canvas)
        if os.pwrite(self._file, pixels, start + HEAD.size) != pixels.nbytes:
            return False
        state = _STATE.pack(1, zlib.crc32(pixels))
        return os.pwrite(self._file, state, start + KEY_BYTES) == len(state)

    def _head(self, index: int) -> bytes:
        return os.pread(self._file, HEAD.size, self._slots[index] * self._stride)

    def _state(self, index: int, head: bytes | bytearray) -> tuple[bool, int]:
        """Whether a slot with this head is full of this picture, and its CRC."""
        if len(head) < HEAD.size:
            return False, 0
        key, full, crc = HEAD.unpack(head)
        return full == 1 and key == self._keys[index], crc


def _bytes_of(canvas: Tensor) -> memoryview:
    return canvas.numpy().data.cast("B")


def _inherited(file: Any, *parts: Any) -> CanvasCache:
    return CanvasCache(file.detach(), *parts)


def slot_bytes(spec: InputSpec) -> int:
    """Bytes of one slot."""
    return HEAD.size + 3 * spec.height * spec.width


def slot_keys(digests: Sequence[bytes], spec: InputSpec) -> list[bytes]:
    """Key of each picture on a canvas, 32 bytes: of its content, the canvas, and the versions that decode it."""
    decoders = (pillow_version, features.version("jpg"), features.version("zlib"), features.version("webp"))
    canvas = repr((PIXELS, spec.height, spec.width, spec.resize, spec.pad, decoders)).encode()
    return [hashlib.sha256(digest + canvas).digest() for digest in digests]


def content_digests(paths: Sequence[Path]) -> list[bytes]:
    """SHA-256 of each file's bytes; several are read at a time.

    Raises:
        DataError: a file cannot be read.
    """
    with ThreadPoolExecutor() as threads:
        return list(threads.map(_content_digest, paths))


def _content_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.", "Check the file.") from error

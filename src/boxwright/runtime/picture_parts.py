"""How many parts a picture's file has.

Pillow goes through them one by one, in Python: a file made of nothing else, no larger than a photograph, would keep a
processor, and every thread of the process, busy for a minute.
"""

from __future__ import annotations

import re

__all__ = ["MOST_PARTS", "has_too_many_parts"]

MOST_PARTS = 65_536
"""Segments of a JPEG and bytes between them, or chunks of a PNG. A photograph has some dozens of segments; a PNG of
32 MiB has 4,096 chunks of the size that most writers choose."""

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_MARKER = re.compile(rb"\xff([^\xff])")  # not \xff+, which takes the square of a run's length to find no end of it
_SCAN, _END = 0xDA, 0xD9  # ITU-T T.81, table B.1
_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))  # markers without a length
_PNG_END = b"IEND"


def has_too_many_parts(encoded: bytes) -> bool:
    """Whether reading a JPEG's head or a PNG takes more than ``MOST_PARTS`` steps; of other files False.

    Args:
        encoded: the file.
    """
    if encoded.startswith(_JPEG):
        return _steps_of_jpeg(encoded) > MOST_PARTS
    if encoded.startswith(_PNG):
        return _steps_of_png(encoded) > MOST_PARTS
    return False


def _steps_of_jpeg(encoded: bytes) -> int:
    """Segments before the first scan, and bytes that belong to none."""
    place, steps = len(_JPEG), 0
    while steps <= MOST_PARTS:
        marker = _MARKER.search(encoded, place)
        if marker is None:
            return steps + len(encoded) - place
        steps += 1 + marker.start(1) - 1 - place
        code = marker[1][0]
        place = marker.end()
        if code in (_SCAN, _END):
            break
        if code not in _ALONE:
            place += max(2, int.from_bytes(encoded[place : place + 2], "big"))
    return steps


def _steps_of_png(encoded: bytes) -> int:
    """Chunks up to the last one."""
    place, steps = len(_PNG), 0
    while steps <= MOST_PARTS and place + 8 <= len(encoded):
        steps += 1
        if encoded[place + 4 : place + 8] == _PNG_END:
            break
        place += 12 + int.from_bytes(encoded[place : place + 4], "big")
    return steps

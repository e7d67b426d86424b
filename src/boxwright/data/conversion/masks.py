"""Where a COCO run-length mask lies, without drawing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from boxwright.data.documents import Box, whole

__all__ = ["mask_bounds", "mask_size"]

_FIRST = 48  # the character of 0
_MORE, _SIGN, _BITS, _VALUE = 0x20, 0x10, 5, 0x1F


def mask_size(segmentation: object) -> tuple[int, int] | None:
    """(width, height) in pixels that a run-length mask says it was drawn on; None if it is no such mask."""
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    if not isinstance(size, list) or len(size) != 2:
        return None
    height, width = (whole(side) for side in size)
    return (width, height) if width is not None and height is not None and min(width, height) > 0 else None


def mask_bounds(segmentation: object) -> Box | None:
    """x, y, width, height in pixels around a run-length mask, as pycocotools' ``toBbox`` gives it.

    Args:
        segmentation: ``{"size": [height, width], "counts": runs}``; runs go down the columns and begin with the empty
            ones, as a list of numbers or as COCO's compressed text.

    Returns:
        None if it is anything else, is empty, or its runs do not fill the size.
    """
    size = mask_size(segmentation)
    if size is None or not isinstance(segmentation, dict):
        return None
    runs = _runs(segmentation.get("counts"))
    width, height = size
    if runs is None or any(run < 0 for run in runs) or sum(runs) != width * height:
        return None
    lefts, tops, rights, bottoms = zip(*_filled(runs, height), strict=True) if any(runs[1::2]) else ((),) * 4
    if not lefts:
        return None
    left, top = min(lefts), min(tops)
    return left, top, max(rights) - left, max(bottoms) - top


def _filled(runs: Sequence[int], height: int) -> Iterator[tuple[int, int, int, int]]:
    """Left, top, right, bottom of each run of filled pixels."""
    start = 0
    for position, run in enumerate(runs):
        if position % 2 and run:
            last = start + run - 1
            one_column = start // height == last // height
            top, bottom = (start % height, last % height + 1) if one_column else (0, height)
            yield start // height, top, last // height + 1, bottom
        start += run


def _runs(counts: Any) -> list[int] | None:
    if isinstance(counts, list):
        numbers = [whole(count) for count in counts]
        return [number for number in numbers if number is not None] if None not in numbers else None
    return _decompressed(counts) if isinstance(counts, str) else None


def _decompressed(text: str) -> list[int] | None:
    """The runs of COCO's text.

    Five bits a character, the lowest first; from the fourth run on, the change to the run before the last.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        value = ord(character) - _FIRST
        if not 0 <= value < 2 * _MORE:
            return None
        number |= (value & _VALUE) << shift
        shift += _BITS
        if value & _MORE:
            continue
        if value & _SIGN:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = shift = 0
    return runs if not shift else None

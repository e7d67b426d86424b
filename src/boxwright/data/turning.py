"""Boxes and polygons drawn on a picture as stored, moved to the picture as EXIF turns it."""

from __future__ import annotations

from typing import Any

__all__ = ["turn_box", "turn_point", "turn_polygons"]

Point = tuple[float, float]


def turn_point(point: Point, stored: tuple[int, int], orientation: int) -> Point:
    """A point of the stored picture, in pixels from its top left, on the upright picture.

    Args:
        point: x, y.
        stored: (width, height) of the stored picture.
        orientation: EXIF 2.32, section 4.6.4, tag 274: 1..8.
    """
    (x, y), (width, height) = point, stored
    if orientation in (2, 3, 7, 8):
        x = width - x
    if orientation in (3, 4, 6, 7):
        y = height - y
    return (y, x) if orientation in (5, 6, 7, 8) else (x, y)


def turn_box(
    box: tuple[float, float, float, float], stored: tuple[int, int], orientation: int
) -> tuple[float, float, float, float]:
    """A box x, y, width, height of the stored picture, on the upright one; see ``turn_point``."""
    x, y, width, height = box
    ends = [turn_point(corner, stored, orientation) for corner in ((x, y), (x + width, y + height))]
    left, right = sorted(end[0] for end in ends)
    top, bottom = sorted(end[1] for end in ends)
    return left, top, right - left, bottom - top


def turn_polygons(polygons: list[Any], stored: tuple[int, int], orientation: int) -> list[Any]:
    """COCO polygons [[x1, y1, x2, y2, …], …] likewise; what is no polygon of numbers stays as it is."""
    return [_turn_polygon(polygon, stored, orientation) for polygon in polygons]


def _turn_polygon(polygon: Any, stored: tuple[int, int], orientation: int) -> Any:
    if not isinstance(polygon, list) or len(polygon) % 2 or not all(isinstance(one, int | float) for one in polygon):
        return polygon
    points = zip(polygon[::2], polygon[1::2], strict=True)
    return [side for point in points for side in turn_point(point, stored, orientation)]

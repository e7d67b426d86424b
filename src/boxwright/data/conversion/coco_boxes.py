"""Boxes of a COCO document as x, y, width, height in pixels, whatever the tool wrote instead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.data.box_readings import READINGS, BoxEvidence, fitting_reading, outline_bounds, some_of, turn_of
from boxwright.data.documents import Box, Entry, fits, is_number, number_of
from boxwright.runtime import DataError

from .masks import mask_bounds, mask_size

__all__ = [
    "BoxNotes",
    "box_of",
    "box_sentences",
    "fits_as",
    "numbers_of",
    "require_mask_size",
    "require_reading",
]

_ZEROS = (0, 0, 0, 0)

Size = tuple[int, int]


@dataclass
class BoxNotes:
    """What was made of a document's boxes.

    Attributes:
        outlined: annotations without a box that got that of their outline.
        turned: boxes that were turned, and the degrees of the first.
    """

    outlined: int = 0
    turned: int = 0
    degrees: float = 0.0


def numbers_of(annotation: Entry, where: str) -> Box | None:
    """The four numbers as written; None if there are none, but an outline.

    Raises:
        DataError: there is neither.
    """
    box = annotation.get("bbox")
    outline = annotation.get("segmentation")
    if isinstance(box, list) and len(box) == 4 and all(is_number(side) for side in box):
        return None if outline and not any(box) and _outline(annotation) else (box[0], box[1], box[2], box[3])
    if box not in (None, []):
        raise DataError(f"{where}: bbox = {box!r} is not four finite numbers.", "Write [x, y, width, height].")
    if _outline(annotation) is None:
        what = "no outline" if not outline else "its segmentation is neither polygons nor a full run-length mask"
        raise DataError(f"{where}: bbox = {box!r}, and {what}.", "Write [x, y, width, height].")
    return None


def _outline(annotation: Entry) -> Box | None:
    outline = annotation.get("segmentation")
    return outline_bounds(outline) or mask_bounds(outline)


def box_of(annotation: Entry, numbers: Box | None, reading: str, size: Size, made: BoxNotes) -> tuple[Box, Entry]:
    """The box in pixels, and the annotation as it is to be written.

    Args:
        annotation: of a document.
        numbers: of ``numbers_of``.
        reading: key of ``READINGS``.
        size: width and height of the picture, upright, pixels.
        made: counts what was done.
    """
    if numbers is None:
        box = _outline(annotation)
        assert box is not None, "numbers_of refuses what has neither"
        made.outlined += 1
        return box, annotation
    box = READINGS[reading].box(numbers, size)
    degrees = turn_of({**annotation, "bbox": list(box)}) if "attributes" in annotation else 0.0
    if not degrees:
        return box, annotation
    made.turned += 1
    made.degrees = made.degrees or degrees
    attributes = {**annotation["attributes"], "rotation": 0.0}
    return _around(box, degrees), {**annotation, "attributes": attributes, "turned_bbox": [*box, degrees]}


def _around(box: Box, degrees: float) -> Box:
    """The upright box around one that is turned about its centre."""
    x, y, width, height = box
    cosine, sine = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    across, down = width * cosine + height * sine, width * sine + height * cosine
    return x + (width - across) / 2, y + (height - down) / 2, across, down


def box_sentences(path: Path, made: BoxNotes, reading: str) -> list[str]:
    """What was made of a document's boxes, for the user."""
    said = []
    if reading != "xywh":
        said.append(f"{path}: the boxes were read as {READINGS[reading].words}, and written as x, y, width, height.")
    if made.outlined:
        said.append(f"{path}: {made.outlined} annotations have no box; the box of their outline was written.")
    if made.turned:
        said.append(
            f"{path}: {made.turned} boxes are turned (attributes.rotation), the first by {made.degrees:g} degrees; the "
            "upright boxes around them were written, and what they were as turned_bbox."
        )
    return said


def require_reading(path: Path, rows: Sequence[tuple[Entry, Box | None]], sizes: Sequence[Size]) -> None:
    """Refuse a document whose boxes are something else than x, y, width, height.

    Args:
        path: of the document.
        rows: annotations and their ``numbers_of``.
        sizes: of their pictures, width and height in pixels.

    Raises:
        DataError: they fit as something else; the option to give is named.
    """
    evidence = [
        BoxEvidence(numbers, size, _area(annotation), outline_bounds(annotation.get("segmentation")))
        for (annotation, numbers), size in some_of(list(zip(rows, sizes, strict=True)))
        if numbers is not None
    ]
    reading = fitting_reading(evidence)
    if reading != "xywh":
        raise DataError(
            f"{path}: the boxes fit as {READINGS[reading].words} ({reading}), not as x, y, width, height.",
            f"Give --boxes {reading}, or --boxes xywh if they are right as they are.",
        )


def _area(annotation: Mapping[str, Any]) -> float | None:
    area = annotation.get("area")
    area = number_of(area)
    return float(area) if is_number(area) and area > 0 else None


def fits_as(reading: str, numbers: Box, size: Size) -> bool:
    """Whether the numbers, read so, are a box with an area in a picture of this width and height."""
    box = READINGS[reading].box(numbers, size)
    return min(box[2:]) > 0 and fits(box, size)


def require_mask_size(annotation: Entry, size: Size, where: str) -> None:
    """Refuse a box from a mask that was drawn on a picture of another size.

    Raises:
        DataError: it was.
    """
    drawn = mask_size(annotation.get("segmentation"))
    if drawn is not None and drawn != size:
        raise DataError(
            f"{where}: its mask is {drawn[0]} x {drawn[1]} pixels, the picture {size[0]} x {size[1]}.",
            "Export the file again.",
        )

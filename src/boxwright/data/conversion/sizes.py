"""The size that a file states for its picture, against the picture's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boxwright.data.documents import Box, fits
from boxwright.runtime import DataError
from boxwright.runtime.picture import LARGEST_PIXELS, SIDEWAYS, open_picture, orientation

__all__ = ["Stated", "exif_orientation", "require_sizes", "swapped_by_mistake"]

Size = tuple[int, int]


@dataclass(frozen=True)
class Stated:
    """What is said of one picture.

    Attributes:
        path: of the picture.
        name: of it, for people.
        own: its width and height, pixels, upright.
        said: width and height in the annotation file.
        boxes: x, y, width, height of its objects, pixels.
        where: the annotation file and entry, for errors.
    """

    path: Path
    name: str
    own: Size
    said: tuple[float, float]
    boxes: Sequence[Box]
    where: str


def require_sizes(pictures: Sequence[Stated], where: object, notes: list[str]) -> None:
    """Refuse sizes that are not the pictures'; sides swapped by mistake are told by the boxes of all such pictures.

    Args:
        pictures: all those of a data set or a document.
        where: its place, for the note.
        notes: gets a sentence about swapped sides.

    Raises:
        DataError: a size differs in another way.
    """
    wrong = [one for one in pictures if one.said != one.own]
    swapped = [one for one in wrong if _is_swapped(one) and exif_orientation(one.path) not in SIDEWAYS]
    if swapped and swapped_by_mistake([(box, one.own) for one in swapped for box in one.boxes]):
        notes.append(
            f"{where}: width and height of {len(swapped)} pictures are swapped, as of {swapped[0].name!r}; all boxes "
            "fit the pictures, whose own sizes were written."
        )
        told = {one.where for one in swapped}
        wrong = [one for one in wrong if one.where not in told]
    for one in wrong:
        _refuse(one)


def _is_swapped(one: Stated) -> bool:
    return one.said[0] == one.own[1] and one.said[1] == one.own[0]


def _refuse(one: Stated) -> None:
    raise DataError(
        f"{one.where}: {one.path.name!r} is {one.own[0]} x {one.own[1]} pixels upright, the file says {one.said[0]} x "
        f"{one.said[1]}.",
        "The boxes were drawn on another version of the picture; export both again. If an EXIF tag turned it after "
        "that, 'boxwright check FOLDER --fix OUT' turns the boxes of a folder in our layout.",
    )


def swapped_by_mistake(boxes: Sequence[tuple[Box, Size]]) -> bool:
    """Whether all boxes fit their pictures, and some do not fit pictures of swapped sides.

    Args:
        boxes: x, y, width, height, and the picture's own width and height, in pixels.
    """
    fit = all(fits(box, size) for box, size in boxes)
    return fit and any(not fits(box, size[::-1]) for box, size in boxes)


def exif_orientation(path: Path) -> int:
    """A picture's EXIF orientation, 1..8.

    Raises:
        PictureError: it cannot be opened.
    """
    with path.open("rb") as file:
        return orientation(open_picture(file, repr(path), LARGEST_PIXELS))

"""What the four numbers of a results file's boxes mean: ``xywh``, or an error that says what they are instead."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from boxwright.data import Truth
from boxwright.data.box_readings import READINGS, BoxEvidence, fitting_reading
from boxwright.runtime import ConfigError, DataError

from .document import ResultsFile
from .overlap import Overlap

__all__ = ["boxes_of", "edges", "require_reading", "sizes_of"]

_LEAST = 4  # detections that lie on a box, before these decide
_SHARE = 0.1  # of those looked at, likewise
_TIMES = 4  # as many lie better by another reading as lie worse
_NEARLY_ALL = 0.95  # of those looked at lie inside their pictures
_SLACK = 0.1  # of a picture's side that a detector's box may reach over the edge
_LOOKED_AT = 1000  # boxes, where the pictures' sizes decide


def sizes_of(truth: Truth) -> NDArray[np.float64]:
    """Width and height of each picture: float64 [P, 2], pixels; 0 where they are not known."""
    return np.array([(one.width, one.height) for one in truth.split.pictures], np.float64).reshape(-1, 2)


def edges(numbers: NDArray[np.float64], sizes: NDArray[np.float64], reading: str = "xywh") -> NDArray[np.float64]:
    """Boxes as float64 [n, 4], xyxy, in pixels.

    Args:
        numbers: float64 [n, 4], as written.
        sizes: float64 [n, 2], width and height of each one's picture.
        reading: key of ``READINGS``.
    """
    columns: Any = tuple(numbers.T)
    x, y, width, height = READINGS[reading].box(columns, cast("Any", tuple(sizes.T)))
    if reading == "xyxy":  # the same corners to the last bit
        return numbers.copy()
    return np.stack([x, y, x + width, y + height], axis=1).astype(np.float64).reshape(-1, 4)


def boxes_of(
    file: ResultsFile, truth: Truth, pictures: NDArray[np.int64], overlap: Overlap, reading: str | None = None
) -> NDArray[np.float64]:
    """The boxes of a results file: float64 [D, 4], xyxy, in pixels.

    Args:
        file: with D detections.
        truth: what it is measured by.
        pictures: int64 [D], of each detection.
        overlap: of the same file.
        reading: key of ``READINGS``; by default ``xywh``, unless the file plainly means something else.

    Raises:
        DataError: the boxes are not ``xywh`` and no reading is given, or a box has no area.
    """
    sizes = sizes_of(truth)[pictures]
    if reading is None:
        _require_usual(file, overlap, pictures, sizes)
    elif READINGS[reading].relative and not sizes.all():
        at = int(np.flatnonzero(~sizes.all(axis=1))[0])
        name = truth.file_names[pictures[at]]
        raise DataError(
            f"{truth.source}: the size of {name!r} is not known.", f"Shares of its sides ({reading}) need it."
        )
    boxes = edges(file.numbers, sizes, reading or "xywh")
    empty = np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(axis=1))
    if empty.size:
        more = f" (and {empty.size - 1} more like it)" if empty.size > 1 else ""
        shown = file.numbers[empty[0]].tolist()
        raise DataError(
            f"{file.path}: detection {empty[0]}: bbox = {shown} has no area{more}.", "Leave such boxes out."
        )
    return boxes


def require_reading(reading: str | None) -> None:
    """Raise unless it is None or a key of ``READINGS``.

    Raises:
        ConfigError: it is something else.
    """
    if reading is not None and reading not in READINGS:
        raise ConfigError(f"Boxes {reading!r} are unknown.", f"Use one of {', '.join(READINGS)}.")


def _require_usual(
    file: ResultsFile, overlap: Overlap, pictures: NDArray[np.int64], sizes: NDArray[np.float64]
) -> None:
    numbers, own_sizes = file.numbers[overlap.rows], sizes[overlap.rows]
    corners = {name: edges(numbers, own_sizes, name) for name in READINGS}
    ious = {
        name: overlap.best(pictures, boxes)[0]
        for name, boxes in corners.items()
        if name == "xywh" or _share_inside(boxes, own_sizes) >= _NEARLY_ALL
    }
    usual, best = ious["xywh"], max(ious, key=lambda name: float(ious[name].sum()))
    better, worse = int((ious[best] > usual).sum()), int((ious[best] < usual).sum())
    enough = max(_LEAST, _SHARE * len(numbers))
    if better >= enough and better >= _TIMES * worse:
        looked = f"of the best {len(numbers)} detections {np.count_nonzero(ious[best])} lie on an annotated box so"
        raise _other_reading(file, best, f"{looked}, {np.count_nonzero(usual)} as x, y, width, height")
    if np.count_nonzero(ious[best]) >= enough:
        return
    sized = np.flatnonzero(own_sizes.all(axis=1))[:_LOOKED_AT]
    rows = zip(numbers[sized].tolist(), own_sizes[sized].astype(int).tolist(), strict=True)
    fitting = fitting_reading([BoxEvidence(cast("Any", tuple(box)), (size[0], size[1])) for box, size in rows])
    if fitting != "xywh":
        raise _other_reading(file, fitting, "so they lie inside their pictures, and as x, y, width, height they do not")


def _share_inside(boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> float:
    """Of boxes with an area that lie inside their pictures, or nearly; float64 [n, 4], xyxy, and [n, 2]."""
    far = np.where(sizes > 0, sizes, np.inf)  # of unknown size
    inside = (boxes[:, :2] >= -_SLACK * sizes) & (boxes[:, 2:] <= (1 + _SLACK) * far) & (boxes[:, 2:] > boxes[:, :2])
    return float(inside.all(axis=1).mean()) if len(boxes) else 0.0


def _other_reading(file: ResultsFile, reading: str, evidence: str) -> DataError:
    return DataError(
        f"{file.path}: its boxes are {READINGS[reading].words} ({reading}): {evidence}.",
        f"Write x, y, width, height in pixels; or measure it with boxwright evaluate --boxes {reading}.",
    )

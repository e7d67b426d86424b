"""The lines of YOLO label files: what their numbers mean, judged over the whole data set, and the objects they give.

A line does not say what it is. ``class cx cy w h`` is a box, but eight numbers are four points, or a box with two
keypoints; only many lines together tell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from boxwright.runtime import DataError

from .files import read_text
from .source import SourceObject, outlined

__all__ = ["LabelFormat", "LabelLine", "objects_of", "parse_labels", "read_labels", "settled"]

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TOLERANCE = 0.01  # what Ultralytics accepts as rounding
_BOX = 4
_SMALLEST_POLYGON = 6
_FOUR_POINTS = 8
_VISIBILITIES = (0.0, 1.0, 2.0)

_MOST = 0.9
_OUTLINED = 0.8  # of true outlines nearly all look like one, of boxes with keypoints about half
_MANY_CORNERS = 10  # lines on which the later numbers are always the larger, as of no centres and sides
_MANY_OUTSIDE = 0.2
_LEAST_BOXES = 4  # before their reading is doubted
_KEYPOINT_SLACK = 0.15  # of the box's sides
_NEAR = 0.02  # of the picture's sides


@dataclass(frozen=True)
class LabelFormat:
    """How a data set's label lines are read.

    Attributes:
        classes: number of classes.
        keypoints: how many numbers of keypoints follow the box on each line; 0 in a data set without keypoints.
        outlines: whether it is said that lines of six and more numbers are outlines.
    """

    classes: int
    keypoints: int = 0
    outlines: bool = False


@dataclass(frozen=True, slots=True)
class LabelLine:
    """One line.

    Attributes:
        where: file and line, for errors.
        category: category id, the class index plus 1.
        numbers: all that follows the class.
    """

    where: str
    category: int
    numbers: tuple[float, ...]


def read_labels(path: Path, form: LabelFormat, width: int, height: int) -> tuple[SourceObject, ...]:
    """Objects of one picture: ``parse_labels`` and ``objects_of``, for a data set whose format is known."""
    return objects_of(parse_labels(path, form.classes), form, width, height)


def parse_labels(path: Path, classes: int) -> list[LabelLine]:
    """The lines of one file, blank ones left out.

    Args:
        path: of the label file.
        classes: number of classes.

    Raises:
        DataError: something that is not a number, an unknown class; file and line are named.
    """
    lines = enumerate(read_text(path, may_be_empty=True).splitlines(), start=1)
    return [_parsed(line.split(), classes, f"{path}, line {number}") for number, line in lines if line.strip()]


def _parsed(fields: Sequence[str], classes: int, where: str) -> LabelLine:
    category = _class(fields[0], classes, where) + 1
    return LabelLine(where, category, tuple(_number(field, where) for field in fields[1:]))


def _number(field: str, where: str) -> float:
    if not _NUMBER.fullmatch(field):
        raise DataError(f"{where}: {field!r} is not a number.", "Correct the line.")
    return float(field)


def _class(field: str, classes: int, where: str) -> int:
    number = _number(field, where)
    if not 0 <= number < classes or number != int(number):
        raise DataError(f"{where}: class {field} is not one of 0..{classes - 1}.", "Correct it, or add it to names.")
    return int(number)


def objects_of(lines: Sequence[LabelLine], form: LabelFormat, width: int, height: int) -> tuple[SourceObject, ...]:
    """Objects of one picture.

    ``class cx cy w h`` is a box, ``class x y x y x y ...`` a polygon with its bounding box, as fractions of the upright
    picture's sides.

    Args:
        lines: of its label file.
        form: what they hold.
        width: pixels of the upright picture.
        height: pixels of the upright picture.

    Raises:
        DataError: a wrong count, a coordinate more than 0.01 outside 0..1, a negative side; file and line are named.
    """
    return tuple(_object(line, form, width, height) for line in lines)


def _object(line: LabelLine, form: LabelFormat, width: int, height: int) -> SourceObject:
    numbers, where = line.numbers, line.where
    if form.keypoints and len(numbers) == _BOX + form.keypoints:
        numbers = numbers[:_BOX]
    is_box = len(numbers) == _BOX
    if not is_box and (form.keypoints or len(numbers) < _SMALLEST_POLYGON or len(numbers) % 2):
        raise DataError(f"{where}: {len(numbers)} numbers after the class.", _expected(form))
    for number in numbers:
        if not -_TOLERANCE <= number <= 1 + _TOLERANCE:
            raise DataError(
                f"{where}: {number:g} is outside 0..1.", "Write fractions of the picture's sides, not pixels."
            )
    if is_box:
        return SourceObject(line.category, _box(numbers, width, height, where))
    sides = (width, height)
    return outlined(line.category, [[number * sides[place % 2] for place, number in enumerate(numbers)]])


def _expected(form: LabelFormat) -> str:
    if form.keypoints:
        return f"With kpt_shape a line has {_BOX} or {_BOX + form.keypoints}."
    return (
        "Write 'class cx cy w h', or 'class' and at least three points 'x y'; "
        "for lines with keypoints, kpt_shape in data.yaml."
    )


def _box(numbers: Sequence[float], width: int, height: int, where: str) -> tuple[float, float, float, float]:
    x, y, w, h = numbers
    if w < 0 or h < 0:
        raise DataError(f"{where}: the box is {w:g} x {h:g}.", "Write sides of at least 0.")
    return (x - w / 2) * width, (y - h / 2) * height, w * width, h * height


def settled(lines: Sequence[LabelLine], form: LabelFormat, place: Path, notes: list[str]) -> LabelFormat:
    """The format with what all lines together tell.

    Args:
        lines: of the whole data set.
        form: as far as the data set says it.
        place: the data set's description or folder, for errors.
        notes: gets what was found.

    Raises:
        DataError: lines that mean something else, or cannot be told apart.
    """
    counts = Counter(len(line.numbers) for line in lines)
    _refuse_five(lines)
    _refuse_corners([line for line in lines if len(line.numbers) == _BOX], place)
    if not form.keypoints and not form.outlines:
        form = replace(form, keypoints=_undeclared_keypoints(lines, notes))
    if form.keypoints:
        notes.append("Keypoints were left out; boxes are kept.")
        return form
    points = sum(count for size, count in counts.items() if size >= _SMALLEST_POLYGON)
    if points and counts[_BOX]:
        notes.append(f"Label lines of two kinds: {counts[_BOX]} boxes and {points} outlines, which got their own box.")
    if points and counts[_FOUR_POINTS] == points:
        notes.append(
            f"Label lines with four points each, as oriented boxes have them: {points}; "
            "the upright box around the points was taken."
        )
    return form


def _refuse_five(lines: Sequence[LabelLine]) -> None:
    """Five numbers are a box and one more, which means that the box is not what it seems, or not made by hand."""
    odd = [line for line in lines if len(line.numbers) == _BOX + 1]
    if not odd:
        return
    problem = f"{odd[0].where}: 5 numbers after the class, on {len(odd)} of {len(lines)} lines."
    if all(0 <= line.numbers[-1] <= 1 for line in odd):
        raise DataError(
            f"{problem} One of them may be a confidence, the first or the last, or the last an angle in radians.",
            "Find out which tool wrote them; remove a confidence, and export turned boxes with four corner points.",
        )
    raise DataError(
        f"{problem} The last goes beyond 0..1, as an angle: these are turned boxes.",
        "Export them with four corner points (YOLO OBB), or upright.",
    )


def _refuse_corners(lines: Sequence[LabelLine], place: Path) -> None:
    """Shares that are no centres and sides."""
    if len(lines) < _LEAST_BOXES or not all(-_TOLERANCE <= n <= 1 + _TOLERANCE for line in lines for n in line.numbers):
        return
    off = sum(not _is_inside(line.numbers) for line in lines)
    corners = all(x2 > x1 and y2 > y1 for x1, y1, x2, y2 in (line.numbers for line in lines))
    if off <= _MANY_OUTSIDE * len(lines) and not (off and corners and len(lines) >= _MANY_CORNERS):
        return
    readings = {
        "x1 y1 x2 y2, corners": corners,
        "left, top, width, height": all(
            max(x + w, y + h) <= 1 + _TOLERANCE for x, y, w, h in (line.numbers for line in lines)
        ),
    }
    fitting = [words for words, fits in readings.items() if fits]
    if fitting:
        raise DataError(
            f"{place}: {off} of {len(lines)} boxes leave their picture if they are 'class cx cy w h'; "
            f"all fit as {' or as '.join(fitting)}; the first is in {lines[0].where}.",
            "Write the centre and the sides, as YOLO has them.",
        )


def _is_inside(numbers: Sequence[float]) -> bool:
    x, y, w, h = numbers
    return min(x - w / 2, y - h / 2) >= -_NEAR and max(x + w / 2, y + h / 2) <= 1 + _NEAR


def _undeclared_keypoints(lines: Sequence[LabelLine], notes: list[str]) -> int:
    """How many numbers of keypoints follow the boxes, if the lines hold keypoints; 0 if they are outlines."""
    long = [line for line in lines if len(line.numbers) >= _SMALLEST_POLYGON]
    sizes = {len(line.numbers) for line in long}
    if len(sizes) != 1:
        return 0
    extra = sizes.pop() - _BOX
    if extra % 3 == 0 and all(_with_visibility(line.numbers) for line in long):
        step, sound = 3, True
    elif extra % 2 == 0:
        step, sound = 2, sum(map(_looks_outlined, long)) <= _OUTLINED * len(long)
    else:
        return 0
    if sum(_holds_keypoints(line.numbers, step) for line in long) < _MOST * len(long):
        return 0
    keypoints = extra // step
    words = f"a box and {keypoints} keypoint{'s' if keypoints > 1 else ''}"
    if not sound:
        raise DataError(
            f"{long[0].where}: {_BOX + extra} numbers after the class may be {words}, or an outline; "
            f"the {len(long)} such lines do not tell.",
            f"Write into data.yaml, for keypoints: kpt_shape: [{keypoints}, 2]; for outlines: task: segment.",
        )
    notes.append(
        f"Label lines of {_BOX + extra} numbers were read as {words} of {step} numbers, without kpt_shape in "
        f"data.yaml: {len(long)}. If they are outlines, write task: segment into it."
    )
    return extra


def _with_visibility(numbers: Sequence[float]) -> bool:
    return all(number in _VISIBILITIES for number in numbers[_BOX + 2 :: 3])


def _holds_keypoints(numbers: Sequence[float], step: int) -> bool:
    """Whether the first four numbers are a box inside the picture, with the keypoints inside the box."""
    x, y, w, h = numbers[:_BOX]
    if min(w, h) <= 0 or not _is_inside(numbers[:_BOX]):
        return False
    across, down = w * (0.5 + _KEYPOINT_SLACK) + _NEAR, h * (0.5 + _KEYPOINT_SLACK) + _NEAR
    points = [numbers[place : place + step] for place in range(_BOX, len(numbers), step)]
    seen = [point for point in points if (point[2] if step == 3 else any(point))]
    return all(abs(px - x) <= across and abs(py - y) <= down for px, py, *_ in seen)


def _looks_outlined(line: LabelLine) -> bool:
    """Whether the second point lies near the others, as a corner of the same outline does; sides of a box need not."""
    xs, ys = line.numbers[::2], line.numbers[1::2]
    others_x, others_y = (xs[0], *xs[2:]), (ys[0], *ys[2:])
    reach = max(max(others_x) - min(others_x), max(others_y) - min(others_y)) + _NEAR
    near_x = min(others_x) - reach <= xs[1] <= max(others_x) + reach
    return near_x and min(others_y) - reach <= ys[1] <= max(others_y) + reach

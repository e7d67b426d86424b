"""Which picture and which class each detection of a results file is of.

An id means what it means in the annotation file. Tools also write the name of the picture's file, its stem, or the
number that its stem is; that is taken where it fits all detections and leaves no choice, and said. Ids that the data
does not have are an error; nothing is left out but detections of categories that are no classes.
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.data import Truth
from boxwright.data.documents import whole_id
from boxwright.runtime import DataError

from .boxes import edges, sizes_of
from .document import ResultsFile
from .overlap import Overlap

__all__ = ["labels_of", "pictures_of"]

_NONE, _SEVERAL = -1, -2
_MOST_DIGITS = 18  # of an id of 64 bits
_SHOWN = 5
_LEAST = 10  # detections on a box, before their classes are doubted
_FEW, _MANY = 0.2, 0.8  # of these, with the class of the box


@dataclass(frozen=True, eq=False)
class _Reading:
    """One way to read which pictures the detections are of.

    Attributes:
        words: for a sentence.
        found: int64 [D], index of the picture; -1 for none, -2 for several.
    """

    words: str
    found: NDArray[np.int64]

    @property
    def fits(self) -> bool:
        return bool((self.found >= 0).all())


def pictures_of(file: ResultsFile, truth: Truth, overlap: Overlap, boxes: str, notes: list[str]) -> NDArray[np.int64]:
    """The picture of each detection: int64 [D], index into the records of ``truth``.

    Args:
        file: with D detections.
        truth: what it is measured by.
        overlap: of the same file; decides between readings that all fit.
        boxes: what the numbers of a box are; key of ``READINGS``.
        notes: gets a sentence about a reading that is not COCO's own.

    Raises:
        DataError: a picture is not in the data.
    """
    by_file_name = _FileNames(truth.file_names)
    readings = _readings(file, truth, by_file_name)
    fitting: list[_Reading] = []
    for one in readings:
        if one.fits and not any(np.array_equal(one.found, other.found) for other in fitting):
            fitting.append(one)
    if not fitting:
        raise _unknown_picture(file, truth, by_file_name)
    if len(fitting) > 1:
        index, sentence = _better(file, truth, fitting, overlap, boxes)
        notes.append(sentence)
        return fitting[index].found
    if fitting[0].words == _BY_STEM:
        notes.append(f"Pictures are matched by {_BY_STEM}; as ids of {truth.source.name} they do not all exist.")
    return fitting[0].found


_BY_STEM = "image_id, read as names of files"


def _readings(file: ResultsFile, truth: Truth, by_file_name: _FileNames) -> list[_Reading]:
    """What says more comes first."""
    readings = []
    if file.picture_names is not None:
        readings.append(_Reading("file_name", _found(file.picture_names, by_file_name)))
    if file.picture_ids is not None:
        ids: dict[int | None, int] = {record.id: index for index, record in enumerate(truth.split.pictures)}
        readings.append(_Reading("image_id", _found(file.picture_ids, lambda one: ids.get(_number(one), _NONE))))
        readings.append(_Reading(_BY_STEM, _found(file.picture_ids, by_file_name)))
    return readings


class _FileNames:
    """Finds a picture by the name of its file, its path's end, its stem, or the number that the stem is."""

    def __init__(self, file_names: Sequence[str]) -> None:
        self._parts = [_parts(name) for name in file_names]
        self._whole, self._stems, self._numbers = (_places(key, file_names) for key in (_whole, _stem, _stem_number))

    def __call__(self, written: Any) -> int:
        if not isinstance(written, str):
            return _only(self._numbers.get(whole_id(written), []))
        name = _whole(written)
        exact = _only(self._whole.get(name, []))
        if exact != _NONE:
            return exact
        for stem in (_spelled(posixpath.basename(name)), _stem(name)):  # what looks like a suffix may be none
            found = self._nearest(name, self._stems.get(stem, []))
            if found != _NONE:
                return found
        return _only(self._numbers.get(_stem_number(name), []))

    def _nearest(self, name: str, places: Sequence[int]) -> int:
        """Of files with the same stem the one with the same suffix, then the one that shares most of the path's end."""
        suffix = _spelled(posixpath.splitext(name)[1])
        same = [at for at in places if self._parts[at][-1].endswith(suffix)] or list(places)
        folders = _parts(name)[:-1]
        shared = {at: _shared(self._parts[at][:-1], folders) for at in same}
        return _only([at for at in same if shared[at] == max(shared.values())])


def _places(key: Callable[[str], Hashable], file_names: Sequence[str]) -> dict[Hashable, list[int]]:
    places: dict[Hashable, list[int]] = defaultdict(list)
    for index, name in enumerate(file_names):
        if key(name) is not None:
            places[key(name)].append(index)
    return dict(places)


def _whole(name: str) -> str:
    return posixpath.normpath(name.strip().replace("\\", "/"))


def _spelled(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def _parts(name: str) -> tuple[str, ...]:
    return tuple(_spelled(_whole(name)).split("/"))


def _shared(own: Sequence[str], written: Sequence[str]) -> int:
    """How many parts at the end of two paths are equal."""
    pairs = enumerate(zip(reversed(own), reversed(written), strict=False))
    return next((count for count, (one, other) in pairs if one != other), min(len(own), len(written)))


def _stem(name: str) -> str:
    return _spelled(posixpath.splitext(posixpath.basename(_whole(name)))[0])


def _stem_number(name: str) -> int | None:
    return _number(_stem(name))


def _number(written: Any) -> int | None:
    """A whole number, or the text of one."""
    if isinstance(written, str):
        text = written.strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
    return whole_id(written)


def _only(places: Sequence[int]) -> int:
    return places[0] if len(places) == 1 else _SEVERAL if places else _NONE


def _found(values: Sequence[Any], find: Callable[[Any], int]) -> NDArray[np.int64]:
    """Each distinct value is looked up once."""
    known = {value: find(value) for value in dict.fromkeys(values)}
    return np.array([known[value] for value in values], np.int64)


def _better(
    file: ResultsFile, truth: Truth, readings: Sequence[_Reading], overlap: Overlap, boxes: str
) -> tuple[int, str]:
    """Of several readings that fit, the one that puts the most detections on annotated boxes; of equals, the first.

    Returns:
        Its place, and a sentence.
    """
    numbers, sizes = file.numbers[overlap.rows], sizes_of(truth)
    counts = [overlap.count(one.found, edges(numbers, sizes[one.found[overlap.rows]], boxes)) for one in readings]
    best = int(np.argmax(counts))
    others = [f"{counts[at]} by {one.words}" for at, one in enumerate(readings) if at != best]
    return best, (
        f"Pictures are matched by {readings[best].words}: of the best {len(numbers)} detections {counts[best]} lie "
        f"on an annotated box so; {' and '.join(others)}, which fits as well and gives other pictures."
    )


def _unknown_picture(file: ResultsFile, truth: Truth, by_file_name: _FileNames) -> DataError:
    ids = [record.id for record in truth.split.pictures]
    if file.picture_ids is None:
        key, written, known = "file_name", file.picture_names, _some(sorted(truth.file_names))
    else:
        key, written, known = "image_id", file.picture_ids, _some(sorted(ids))
    assert written is not None, "the file has one of them"
    named = _found(written, by_file_name)
    several = np.flatnonzero(named == _SEVERAL)
    if key == "file_name" or any(isinstance(one, str) and _number(one) is None for one in written):
        unknown = named < 0
    else:
        unknown = ~np.isin(np.array([_number(one) for one in written], object), ids)
    if several.size and unknown[several[0]]:
        remedy = f"Several pictures are called {written[several[0]]!r}; write their whole names."
    else:
        remedy = (
            _other_counting(written, ids, key) or f"It has {known}. Measure by the annotations of the same pictures."
        )
    return _unknown(file, truth, key, written, unknown, remedy)


def labels_of(
    file: ResultsFile,
    truth: Truth,
    pictures: NDArray[np.int64],
    boxes: NDArray[np.float64],
    overlap: Overlap,
    notes: list[str],
) -> NDArray[np.int64]:
    """The class of each detection: int64 [D], -1 where it is to be left out.

    Args:
        file: with D detections.
        truth: what it is measured by.
        pictures: int64 [D].
        boxes: float64 [D, 4], xyxy, pixels.
        overlap: of the same file; shows ids that fit, but are those of other classes.
        notes: gets a sentence about a reading that is not COCO's own, and about what is left out.

    Raises:
        DataError: a class is not in the data, or the ids are plainly those of other classes.
    """
    by_id, by_name = _by_id(file, truth), _by_name(file, truth)
    if by_name is not None and (by_name >= 0).all():
        if by_id is not None and not np.array_equal(by_id, by_name):
            notes.append("Classes are matched by their names; category_id gives others, or none.")
        return by_name
    if by_id is None:
        assert by_name is not None, "the file has ids or names"
        assert file.category_names is not None, "where by_name comes from"
        known = _some([entry.name for entry in truth.classes])
        raise _unknown(file, truth, "class", file.category_names, by_name < 0, f"It has {known}.")
    assert file.category_ids is not None, "where by_id comes from"
    ids = [entry.id for entry in truth.classes]
    numbers = [_number(one) for one in file.category_ids]
    other = np.array([number in truth.others for number in numbers], bool)
    counting = _other_counting(file.category_ids, ids, "category_id")
    unknown = (by_id < 0) & ~other
    if unknown.any():
        raise _unknown(file, truth, "category_id", file.category_ids, unknown, counting or f"It has {_some(ids)}.")
    _require_own_classes(file, truth, numbers, by_id, overlap.best(pictures, boxes[overlap.rows])[1], overlap.rows)
    if other.any():
        number = numbers[int(np.argmax(other))]
        assert number is not None, "it is the id of a category"
        left_out = "1 detection is" if other.sum() == 1 else f"{int(other.sum())} detections are"
        notes.append(
            f"{left_out} left out: their categories, as {number} ({truth.others[number]!r}), are no classes here."
            f"{f' {counting}' if counting else ''}"
        )
    return by_id


def _by_name(file: ResultsFile, truth: Truth) -> NDArray[np.int64] | None:
    """By names of classes, which some tools write as category_id."""
    names = file.category_names
    if names is None and file.category_ids and all(isinstance(one, str) for one in file.category_ids):
        names = file.category_ids
    index_of = {entry.name: index for index, entry in enumerate(truth.classes)}
    return None if names is None else _found(names, lambda name: index_of.get(name, _NONE))


def _by_id(file: ResultsFile, truth: Truth) -> NDArray[np.int64] | None:
    if file.category_ids is None:
        return None
    index_of: dict[int | None, int] = {entry.id: index for index, entry in enumerate(truth.classes)}
    return _found(file.category_ids, lambda one: index_of.get(_number(one), _NONE))


def _require_own_classes(
    file: ResultsFile,
    truth: Truth,
    numbers: Sequence[int | None],
    labels: NDArray[np.int64],
    on: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    """Raise if the ids, counted in another way, agree with the boxes below, and as they are they do not.

    Args:
        file: for the error.
        truth: what it is measured by.
        numbers: the D ids as whole numbers.
        labels: int64 [D], class by id.
        on: int64 [S], class of the box below each of ``rows``, -1 for none.
        rows: int64 [S].
    """
    placed = np.flatnonzero(on >= 0)
    if len(placed) < _LEAST:
        return
    below = on[placed]
    used = set(labels[rows[placed]].tolist())
    if len(used) == 1 and used != {_NONE}:
        return  # a detector that knows one class only
    right = float((labels[rows[placed]] == below).mean())
    ids = [entry.id for entry in truth.classes]
    index_of: dict[int | None, int] = {number: index for index, number in enumerate(ids)}
    for words, moved in _other_countings(ids):
        guessed = np.array([index_of.get(moved(numbers[row]), _NONE) for row in rows[placed].tolist()])
        share = float((guessed == below).mean())
        if right <= _FEW and share >= _MANY:
            raise DataError(
                f"{file.path}: of {len(placed)} detections that lie on an annotated box, {right:.0%} have its class by "
                f"category_id. {words.capitalize()}, {share:.0%} would have it.",
                f"Write the ids that {truth.source.name} gives its categories.",
            )


def _other_countings(ids: Sequence[int]) -> Iterable[tuple[str, Callable[[int | None], int | None]]]:
    """Usual mistakes, each as words and the id that is meant."""

    def shifted(step: int) -> Callable[[int | None], int | None]:
        return lambda one: None if one is None else one + step

    def placed(first: int) -> Callable[[int | None], int | None]:
        return lambda one: ids[one - first] if one is not None and 0 <= one - first < len(ids) else None

    yield "with every id one higher", shifted(1)
    yield "with every id one lower", shifted(-1)
    yield "read as places in the sorted list of ids, counted from 0", placed(0)
    yield "read as places in the sorted list of ids, counted from 1", placed(1)


def _other_counting(written: Sequence[Any], ids: Sequence[int], key: str) -> str:
    """A sentence if all ids fit when they are counted in another way; else empty."""
    known, numbers = set(ids), {_number(one) for one in written}
    countings = _other_countings(sorted(ids))
    for words, moved in countings:
        if all(moved(number) in known for number in numbers):
            return f"{words.capitalize()}, all would fit: write the ids of the annotation file as {key}."
    return ""


def _unknown(
    file: ResultsFile, truth: Truth, key: str, written: Sequence[Any], unknown: NDArray[np.bool_], remedy: str
) -> DataError:
    first = int(np.argmax(unknown))
    return DataError(
        f"{file.path}: {int(unknown.sum())} of {len(file)} detections have no {key} of {truth.source}: the first is "
        f"{written[first]!r} (detection {first}).",
        remedy,
    )


def _some(known: Sequence[Any]) -> str:
    shown = ", ".join(map(str, known[:_SHOWN]))
    return f"{shown}, …" if len(known) > _SHOWN else shown

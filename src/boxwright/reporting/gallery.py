"""The pictures with the worst mistakes, with what page.js needs to show them at any threshold.

Detections and boxes get verdicts by the rule of the confusion matrix: hits of the same class at IoU .5 first, then the
other detections to free boxes of other classes, greatest IoU first. page.js follows the same rule when the reader moves
the threshold.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boxwright.archiving import Failure
from boxwright.evaluation.analysis import Analysis
from boxwright.evaluation.results import SplitResults
from boxwright.metrics import Matches
from boxwright.runtime import PictureError, decode
from boxwright.runtime.picture import LARGEST_PIXELS

from .pictures import data_uri, shrunk

__all__ = ["IOU", "LOWEST_SCORE", "Group", "Shown", "Verdicts", "failures", "gallery", "judge", "mistakable"]

IOU = 0.5

LOWEST_SCORE = 0.05
"""Detections below it are left out of the page, unless the threshold in use is even lower."""

_MOST_OF_A_GROUP = 8
_MOST_FAILURES = 4  # of a group, in the model card
_SIDE = 640  # pixels
_BUDGET = 4_500_000  # characters of all pictures together


@dataclass(frozen=True)
class Shown:
    """A picture of the gallery.

    Attributes:
        name: of its file.
        uri: the picture itself.
        width, height: of what is in ``uri``, pixels.
        boxes: the annotated ones: [left, top, right, bottom, class index, 1 for a crowd], pixels.
        found: detections: [left, top, right, bottom, class index, score, place in ``boxes`` of the box it hits,
            -1 for none, -2 if it is not counted].
        mistakable: [place in ``found``, place in ``boxes``] of pairs of different classes, best first.
    """

    name: str
    uri: str
    width: int
    height: int
    boxes: list[list[float]]
    found: list[list[float]]
    mistakable: list[list[int]]

    def to_document(self) -> dict[str, Any]:
        """What page.js reads."""
        return {"boxes": self.boxes, "found": self.found, "mistakable": self.mistakable}


@dataclass(frozen=True)
class Group:
    """Pictures that share a mistake.

    Attributes:
        title: names it.
        pictures: the worst first.
    """

    title: str
    pictures: tuple[Shown, ...]


def gallery(results: SplitResults, analysis: Analysis, folder: Path) -> tuple[Group, ...]:
    """The worst pictures at the thresholds in use, in three groups; each picture is in one.

    A picture that is missing or cannot be decoded is left out.

    Args:
        results: of the split.
        analysis: of these results.
        folder: of the split's pictures.
    """
    verdicts = judge(analysis.matches, analysis.thresholds)
    describe = _Describer(results, analysis)
    taken: set[int] = set()
    room = _BUDGET
    groups = []
    for title, badness in _badness(analysis.matches, verdicts).items():
        shown: list[Shown] = []
        for number in _worst_first(badness):
            if len(shown) == _MOST_OF_A_GROUP or room <= 0:
                break
            uri = None if number in taken else _encoded(folder, results.file_names[number])
            if uri is None or len(uri[0]) > room:
                continue
            taken.add(number)
            room -= len(uri[0])
            shown.append(describe(number, *uri))
        groups.append(Group(title, tuple(shown)))
    return tuple(groups)


def failures(results: SplitResults, thresholds: NDArray[np.float64]) -> tuple[Failure, ...]:
    """The worst pictures by name, for the model card; each is named once, in the first group that it belongs to.

    Args:
        results: of the split.
        thresholds: float64 [K], by class index.
    """
    matches = results.matches()
    verdicts, size = judge(matches, thresholds), matches.num_pictures
    boxes = np.bincount(matches.truth_pictures[~matches.truth_crowd], minlength=size)
    missed = np.bincount(matches.truth_pictures[verdicts.missed], minlength=size)
    wrong = np.bincount(matches.pictures[verdicts.wrong], minlength=size)
    alarms = np.bincount(matches.pictures[verdicts.false_alarm], minlength=size)
    counts = np.stack([boxes, missed, wrong, alarms], axis=1).tolist()
    named: dict[int, Failure] = {}
    for title, badness in _badness(matches, verdicts).items():
        fresh = (number for number in _worst_first(badness) if number not in named)
        for number in list(itertools.islice(fresh, _MOST_FAILURES)):
            named[number] = Failure(results.file_names[number], title.lower(), *counts[number])
    return tuple(named.values())


def _badness(matches: Matches, verdicts: Verdicts) -> dict[str, NDArray[np.float64]]:
    """By group, how bad each picture is: boxes missed; the scores of wrong detections, summed."""

    def summed(which: NDArray[np.bool_]) -> NDArray[np.float64]:
        pictures, scores = matches.pictures[which], matches.scores[which]
        return np.bincount(pictures, scores, minlength=matches.num_pictures).astype(np.float64)

    missed = np.bincount(matches.truth_pictures[verdicts.missed], minlength=matches.num_pictures).astype(np.float64)
    return {"Missed": missed, "Wrong class": summed(verdicts.wrong), "False alarms": summed(verdicts.false_alarm)}


def _worst_first(badness: NDArray[np.float64]) -> Iterator[int]:
    for number in np.argsort(-badness, kind="stable").tolist():
        if badness[number] > 0:
            yield number


def _encoded(folder: Path, name: str) -> tuple[str, Image.Image] | None:
    """The picture for the page; None if it cannot be shown. Names that lead out of the folder are not followed."""
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts:
        return None
    try:
        small = shrunk(decode(folder / place, LARGEST_PIXELS), _SIDE)
    except (PictureError, ValueError):  # a name with a null character is a ValueError
        return None
    return data_uri(small), small


class _Describer:
    """Makes what the page shows of a picture."""

    def __init__(self, results: SplitResults, analysis: Analysis) -> None:
        matches = analysis.matches
        self._results, self._matches = results, matches
        self._lowest = min(LOWEST_SCORE, float(analysis.thresholds.min(initial=1.0)))
        self._order = np.argsort(matches.pictures, kind="stable")
        self._starts = np.searchsorted(matches.pictures[self._order], np.arange(matches.num_pictures + 1))
        self._mistakable = np.stack(mistakable(matches), axis=1)
        level = matches.at(IOU)
        self._hits = np.full(len(matches.scores), -1)
        hit = matches.hit[level]
        self._hits[hit] = matches.truth_positions[matches.truth[level][hit]]
        self._hits[matches.ignored[level]] = -2

    def __call__(self, number: int, uri: str, small: Image.Image) -> Shown:
        rows = self._order[self._starts[number] : self._starts[number + 1]]
        rows = rows[self._matches.scores[rows] >= self._lowest]
        scale = np.tile(np.array(small.size) / self._results.sizes[number], 2)
        return Shown(
            name=self._results.file_names[number],
            uri=uri,
            width=small.width,
            height=small.height,
            boxes=self._boxes(number, scale),
            found=self._found(number, rows, scale),
            mistakable=self._pairs(rows),
        )

    def _boxes(self, number: int, scale: NDArray[np.float64]) -> list[list[float]]:
        truth = self._results.truths[number]
        rows = zip((truth.boxes * scale).round(1).tolist(), truth.labels.tolist(), truth.crowd.tolist(), strict=True)
        return [[*box, label, int(crowd)] for box, label, crowd in rows]

    def _found(self, number: int, rows: NDArray[np.int64], scale: NDArray[np.float64]) -> list[list[float]]:
        boxes = self._results.detections[number].boxes[self._matches.positions[rows]].astype(np.float64) * scale
        columns = (self._matches.labels[rows].tolist(), self._matches.scores[rows].tolist(), self._hits[rows].tolist())
        return [[*box, *rest] for box, *rest in zip(boxes.round(1).tolist(), *columns, strict=True)]

    def _pairs(self, rows: NDArray[np.int64]) -> list[list[int]]:
        place = {row: at for at, row in enumerate(rows.tolist())}
        chosen = self._mistakable[np.isin(self._mistakable[:, 0], rows)].tolist()
        return [[place[row], int(self._matches.truth_positions[truth])] for row, truth in chosen]


@dataclass(frozen=True, eq=False)
class Verdicts:
    """D detections and G boxes, in the order of ``Matches``.

    Attributes:
        found: bool [D], reported and on a box of its class.
        wrong: bool [D], reported and on a box of another class.
        false_alarm: bool [D], reported and on no box.
        missed: bool [G], a box without a reported detection on it.
    """

    found: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    false_alarm: NDArray[np.bool_]
    missed: NDArray[np.bool_]


def mistakable(matches: Matches) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of a detection that hits nothing and a box of another class under it: rows of both, int64 [n] each.

    The greatest IoU comes first; of equal ones the best score.
    """
    pairs, row = matches.pairs, matches.at(IOU)
    stray = ~(matches.hit[row] | matches.ignored[row])[pairs.detection]
    other = matches.labels[pairs.detection] != matches.truth_labels[pairs.truth]
    chosen = np.flatnonzero(stray & other & ~matches.truth_crowd[pairs.truth] & (pairs.iou >= IOU))
    chosen = chosen[np.lexsort((-matches.scores[pairs.detection[chosen]], -pairs.iou[chosen]))]
    return pairs.detection[chosen], pairs.truth[chosen]


def judge(matches: Matches, thresholds: NDArray[np.float64]) -> Verdicts:
    """The verdicts at score thresholds by class.

    Args:
        matches: of a split.
        thresholds: float64 [K], by class index.
    """
    row = matches.at(IOU)
    shown = matches.scores >= thresholds[matches.labels]
    found = shown & matches.hit[row]
    free = ~matches.truth_crowd
    free[matches.truth[row][found]] = False
    wrong = np.zeros(len(matches.scores), dtype=bool)
    detections, truths = mistakable(matches)
    of_shown = shown[detections]
    for detection, truth in zip(detections[of_shown], truths[of_shown], strict=True):
        if free[truth] and not wrong[detection]:
            wrong[detection], free[truth] = True, False
    return Verdicts(found, wrong, shown & ~found & ~wrong & ~matches.ignored[row], free)

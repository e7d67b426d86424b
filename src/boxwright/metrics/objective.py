"""The objective of a score threshold, and the choice of the threshold, on the pictures and on resamples of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import ConfigError
from boxwright.runtime.spec import DEFAULT_THRESHOLD

from .bootstrap import Counts, bootstrap_fbeta, in_blocks, pooled_units, sums_until, with_all_once
from .fbeta import ROUNDING, class_fbeta_curves, fbeta_curve, fbeta_name
from .interval import Interval, corrected_interval, percentile_interval
from .matching import FBETA_IOUS, Matches
from .precision_recall import PrecisionRecall, precision_recall

__all__ = ["MIN_BOXES", "Choice", "Objective", "choose", "chosen_in_resamples"]

MIN_BOXES = 30
"""A class with fewer boxes has no threshold of its own: that would be chance."""
IOU = 0.5
"""The IoU at which an objective's precision and recall are measured."""
_Rate: TypeAlias = Callable[[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]], NDArray[np.float64]]
"""Value of a threshold, float64 [B, C], from hits and detections that count, [B, C], and boxes, [B, 1].

It is linear in the hits where it is used at several IoUs, and never rises with a detection that is not a hit."""
_NUMBER = r"(\d+\.?\d*|\.\d+)"
_FORMS = re.compile(rf"f{_NUMBER}|(precision|recall)(?:>=|≥){_NUMBER}")
_UNATTAINED = "Ask for less, or train a better model."
_ALLOWED = "Use f2 (or f1, f0.5, any positive number), precision>=0.95 or recall>=0.9 (more than 0, at most 1)."


@dataclass(frozen=True)
class Objective:
    """What the threshold is chosen for.

    ``f2``: the highest F2, the mean over IoU .30:.05:.80; the same for any other positive beta.
    ``precision>=0.95``: the highest recall among the thresholds with at least that precision.
    ``recall>=0.9``: the highest precision among the thresholds with at least that recall.
    Precision and recall are at IoU .5. Counts are pooled over classes, or are those of one class for a
    threshold of its own. Of equal thresholds, the highest.

    Attributes:
        figure: ``f``, ``precision`` or ``recall``.
        number: beta, or the bound of the figure.
    """

    figure: str
    number: float

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read ``f2``, ``precision>=0.95`` and the like; spaces, capitals and ``≥`` are allowed.

        Raises:
            ConfigError: the text is not an objective.
        """
        form = _FORMS.fullmatch("".join(str(text).split()).lower())
        if form is None:
            raise ConfigError(f"Objective {text!r} is unknown.", _ALLOWED)
        beta, figure, bound = form.groups()
        objective = cls(figure or "f", float(bound or beta))
        if not 0 < objective.number <= (1 if figure else 1000):
            raise ConfigError(f"Objective {text!r} does not fit: its number is out of range.", _ALLOWED)
        return objective

    def __str__(self) -> str:
        if self.figure == "f":
            return fbeta_name(self.number)
        return f"{self.figure}>={np.format_float_positional(self.number, trim='-')}"

    @property
    def maximised(self) -> str:
        """The figure that is made as high as possible: ``f2``, ``recall`` or ``precision``."""
        return {"precision": "recall", "recall": "precision"}.get(self.figure, str(self))


@dataclass(frozen=True)
class Choice:
    """The thresholds chosen on P pictures.

    Attributes:
        threshold: for all classes; a score that occurs, or the default where nothing is detected.
        value: the maximised figure (F-beta, recall or precision; see ``Objective.maximised``) at this threshold.
        interval: 95 %, of the threshold: of those that the objective chooses on resampled pictures; NaN to NaN for
            fewer than two pictures.
        value_interval: 95 %, of the value at this threshold; NaN to NaN where there are no boxes.
        per_class: by class index, for the classes with at least ``MIN_BOXES`` boxes where the objective
            can be attained.
    """

    threshold: float
    value: float
    interval: Interval
    value_interval: Interval
    per_class: Mapping[int, float]


def choose(matches: Matches, objective: Objective, resamples: int = 1000, seed: int = 0) -> Choice:
    """Choose the thresholds on the pictures of a matching pass.

    Without any detection, F-beta gets the default threshold, with a value of 0, or 1 where there are no
    boxes either; a bound is not attained. A resample in which a bound is not attained counts with the
    threshold that comes closest to it.

    Args:
        matches: from ``match_detections``.
        objective: of the choice.
        resamples: how many, for the intervals.
        seed: of the draws.

    Raises:
        ConfigError: no threshold attains the objective's bound; the message gives the best value and its
            threshold, or says that there are no boxes.
    """
    threshold, value = _best(matches, objective)
    counts = with_all_once(matches.num_pictures, resamples, seed)
    samples = bootstrap_fbeta(matches, threshold, counts, objective.number if objective.figure == "f" else 2.0)
    values = samples.figures[objective.maximised]
    return Choice(
        threshold=threshold,
        value=value,
        interval=_threshold_interval(matches, objective, counts[1:]),
        value_interval=corrected_interval(float(values[0]), values[1:], pooled_units(matches)),
        per_class=_per_class(matches, objective),
    )


def _threshold_interval(matches: Matches, objective: Objective, counts: Counts) -> Interval:
    if matches.num_pictures < 2:  # every resample is the same picture
        return Interval(nan, nan)
    return percentile_interval(chosen_in_resamples(matches, objective, counts))


def _best(matches: Matches, objective: Objective) -> tuple[float, float]:
    if objective.figure == "f":
        return fbeta_curve(matches, objective.number).best()
    curve = precision_recall(matches, iou=IOU)
    best = _within_bound(curve, objective)
    return best if best is not None else _unattained(curve, objective)


def _per_class(matches: Matches, objective: Objective) -> dict[int, float]:
    labels = [int(label) for label in np.flatnonzero(matches.boxes_per_class >= MIN_BOXES)]
    if objective.figure == "f":
        curves = class_fbeta_curves(matches, objective.number)
        return {label: curves[label].best()[0] for label in labels if curves[label].thresholds.size}
    best = {label: _within_bound(precision_recall(matches, label, IOU), objective) for label in labels}
    return {label: point[0] for label, point in best.items() if point is not None}


def _within_bound(curve: PrecisionRecall, objective: Objective) -> tuple[float, float] | None:
    """The best threshold within the bound and the maximised figure there; None where no threshold is within it."""
    kept = getattr(curve, objective.figure) >= objective.number
    if not kept.any():
        return None
    values = np.where(kept, getattr(curve, objective.maximised), -1.0)
    at = int(np.argmax(values))
    return float(curve.thresholds[at]), float(values[at])


def _unattained(curve: PrecisionRecall, objective: Objective) -> NoReturn:
    values = getattr(curve, objective.figure)
    if not curve.boxes:
        raise ConfigError(f"Objective {objective} cannot be measured: the pictures have no boxes.", "Use f2.")
    if np.isnan(values).all():
        raise ConfigError(f"Objective {objective} is not attained: nothing that counts is detected.", _UNATTAINED)
    at = int(np.nanargmax(values))
    raise ConfigError(
        f"Objective {objective} is not attained: the highest {objective.figure} is {values[at]:.3f}, "
        f"at threshold {curve.thresholds[at]:.3f}.",
        _UNATTAINED,
    )


def chosen_in_resamples(matches: Matches, objective: Objective, counts: Counts) -> NDArray[np.float64]:
    """The threshold that each resample chooses.

    Detections without a hit only lower the objective, so only scores with a hit are tried. Without any hit it
    is the highest score that occurs, without any detection the default threshold.

    Args:
        matches: of the P pictures.
        objective: of the choice.
        counts: unsigned integers [R, P], how often each picture is drawn, R at least 1.

    Returns:
        float64 [R].
    """

    def fbeta(hits: NDArray[np.int32], counted: NDArray[np.int32], boxes: NDArray[np.int32]) -> NDArray[np.float64]:
        weight = objective.number**2
        values: NDArray[np.float64] = (1 + weight) * hits / np.maximum(weight * boxes + counted, 1)
        return values

    def bounded(hits: NDArray[np.int32], counted: NDArray[np.int32], boxes: NDArray[np.int32]) -> NDArray[np.float64]:
        figures = {"precision": hits / np.maximum(counted, 1), "recall": hits / np.maximum(boxes, 1)}
        held = figures[objective.figure]
        return np.where(held >= objective.number, 1 + figures[objective.maximised], held)

    ious, rate = (FBETA_IOUS, fbeta) if objective.figure == "f" else ((IOU,), bounded)
    candidates = _Candidates.of(matches, ious, rate)
    return in_blocks(candidates.best, counts, len(candidates.pictures) + len(candidates.until))


@dataclass(frozen=True, eq=False)
class _Level:
    """IoUs at which the same detections are ignored; H detections hit at one or more of them, I are ignored."""

    hit_pictures: NDArray[np.intp]  # [H]
    hit_values: NDArray[np.int32]  # [H], at how many of the IoUs
    hits_until: NDArray[np.intp]  # [C]
    ignored_pictures: NDArray[np.intp]  # [I]
    ignored_until: NDArray[np.intp]  # [C]

    @classmethod
    def of(
        cls, hits: NDArray[np.int32], ignored: NDArray[np.bool_], pictures: NDArray[np.intp], until: NDArray[np.intp]
    ) -> _Level:
        hit_rows, ignored_rows = np.flatnonzero(hits), np.flatnonzero(ignored)
        return cls(
            hit_pictures=pictures[hit_rows],
            hit_values=hits[hit_rows],
            hits_until=np.searchsorted(hit_rows, until),
            ignored_pictures=pictures[ignored_rows],
            ignored_until=np.searchsorted(ignored_rows, until),
        )


@dataclass(frozen=True, eq=False)
class _Candidates:
    """C falling scores with a hit, and what is needed to rate them; D detections by score."""

    pictures: NDArray[np.intp]  # [D]
    detection_scores: NDArray[np.float64]  # [D]
    scores: NDArray[np.float64]  # [C]
    until: NDArray[np.intp]  # [C], how many detections have at least this score
    levels: tuple[_Level, ...]
    num_ious: int
    box_pictures: NDArray[np.intp]
    rate: _Rate

    @classmethod
    def of(cls, matches: Matches, ious: Sequence[float], rate: _Rate) -> _Candidates:
        rows, order = np.array([matches.at(iou) for iou in ious]), matches.by_score
        scores, pictures = matches.scores[order], matches.pictures[order].astype(np.intp)
        hit, ignored = matches.hit[rows][:, order], matches.ignored[rows][:, order]
        hit_scores = -np.unique(-scores[hit.any(axis=0)])
        until = np.searchsorted(-scores, -hit_scores, side="right")
        same_ignored: dict[bytes, list[int]] = {}
        for level, row in enumerate(ignored):
            same_ignored.setdefault(row.tobytes(), []).append(level)
        return cls(
            pictures=pictures,
            detection_scores=scores,
            scores=hit_scores,
            until=until,
            levels=tuple(
                _Level.of(hit[same].sum(axis=0, dtype=np.int32), ignored[same[0]], pictures, until)
                for same in same_ignored.values()
            ),
            num_ious=len(ious),
            box_pictures=matches.truth_pictures[~matches.truth_crowd].astype(np.intp),
            rate=rate,
        )

    def best(self, counts: Counts) -> NDArray[np.float64]:
        """The threshold of each resample, float64 [B]."""
        if not self.scores.size:
            return self._highest(counts)
        values = self._values(counts)
        top = values.max(axis=1, keepdims=True)
        chosen = self.scores[np.argmax(values >= top - ROUNDING, axis=1)]
        return np.where(top[:, 0] > 0, chosen, self._highest(counts))

    def _values(self, counts: Counts) -> NDArray[np.float64]:
        detected = sums_until(counts, self.pictures, self.until)
        boxes = counts.take(self.box_pictures, axis=1).sum(axis=1, keepdims=True, dtype=np.int32)
        values = np.zeros(detected.shape)
        for level in self.levels:
            hits = sums_until(counts, level.hit_pictures, level.hits_until, level.hit_values)
            counted = detected - sums_until(counts, level.ignored_pictures, level.ignored_until)
            values += self.rate(hits, counted, boxes)
        return values / self.num_ious

    def _highest(self, counts: Counts) -> NDArray[np.float64]:
        """The highest score that occurs, or the default."""
        if not self.pictures.size:
            return np.full(len(counts), DEFAULT_THRESHOLD)
        drawn = counts.take(self.pictures, axis=1) > 0
        return np.where(drawn.any(axis=1), self.detection_scores[np.argmax(drawn, axis=1)], DEFAULT_THRESHOLD)

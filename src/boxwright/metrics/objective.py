"""What a score threshold is chosen for, and the choice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from boxwright.runtime import ConfigError

from .bootstrap import bootstrap_fbeta, pooled_units, with_all_once
from .bootstrap_threshold import bootstrap_threshold
from .fbeta import FBetaCurve, class_fbeta_curves, fbeta_curve
from .interval import Interval, corrected_interval, percentile_interval
from .matching import FBETA_IOUS, Matches
from .precision_recall import PrecisionRecall, precision_recall
from .resampling import Counts

__all__ = ["MIN_BOXES", "Choice", "Objective", "choose", "chosen_in_resamples"]

MIN_BOXES = 30
"""A class with fewer has no threshold of its own: it would be a matter of chance."""
IOU = 0.5
"""Where the precision and recall of an objective are taken."""
_NUMBER = r"(\d+\.?\d*|\.\d+)"
_FORMS = re.compile(rf"f{_NUMBER}|(precision|recall)(?:>=|≥){_NUMBER}")
_UNATTAINED = "Ask for less, or train a better model."
_ALLOWED = "Use f2 (or f1, f0.5, any positive number), precision>=0.95 or recall>=0.9 (more than 0, at most 1)."


@dataclass(frozen=True)
class Objective:
    """What the threshold is chosen for.

    ``f2``: the highest F2, the mean over IoU .30:.05:.80; any other positive beta alike.
    ``precision>=0.95``: the highest recall among the thresholds with at least that precision.
    ``recall>=0.9``: the highest precision among those with at least that recall.
    Precision and recall are at IoU .5. Counts are pooled over classes, or of one class where it has a
    threshold of its own. Of equals, the highest threshold.

    Attributes:
        figure: ``f``, ``precision`` or ``recall``.
        number: beta, or what is asked of the figure.
    """

    figure: str
    number: float

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read ``f2``, ``precision>=0.95`` and the like; spaces, capitals and ``≥`` are understood.

        Raises:
            ConfigError: anything else.
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
        number = np.format_float_positional(self.number, trim="-")
        return f"f{number}" if self.figure == "f" else f"{self.figure}>={number}"

    @property
    def maximised(self) -> str:
        """The figure that is made as high as possible: ``f2``, ``recall`` or ``precision``."""
        return {"precision": "recall", "recall": "precision"}.get(self.figure, str(self))


@dataclass(frozen=True)
class Choice:
    """The thresholds chosen on P pictures.

    Attributes:
        threshold: for all classes; a score that occurs, or the default where nothing is detected.
        value: what was maximised (F-beta, recall or precision; see ``Objective.maximised``), there.
        interval: 95 %, of the threshold: those that the objective chooses on resampled pictures.
        value_interval: 95 %, of the value at this threshold; NaN to NaN where there are no boxes.
        per_class: by class index, for the classes with at least ``MIN_BOXES`` boxes where the objective
            can be attained.
        too_few: classes with fewer boxes; ``threshold`` is theirs.
    """

    threshold: float
    value: float
    interval: Interval
    value_interval: Interval
    per_class: Mapping[int, float]
    too_few: tuple[int, ...]


def choose(matches: Matches, objective: Objective, resamples: int = 1000, seed: int = 0) -> Choice:
    """Choose the thresholds on the pictures of a matching pass.

    Without any detection an F-beta has the default threshold, with a value of 0, or 1 where there is
    nothing to find either; a bound is not attained. A resample in which a bound is not attained counts
    with the threshold that comes closest.

    Args:
        matches: from ``match_detections``.
        objective: what for.
        resamples: of the pictures, for the intervals.
        seed: of the draws.

    Raises:
        ConfigError: no threshold attains the objective's bound; says what is attained at best, and where,
            or that there is nothing to measure by.
    """
    threshold, value = _best(matches, objective)
    counts = with_all_once(matches.num_pictures, resamples, seed)
    boxes = matches.boxes_per_class
    return Choice(
        threshold=threshold,
        value=value,
        interval=percentile_interval(chosen_in_resamples(matches, objective, counts[1:])),
        value_interval=_value_interval(matches, objective, threshold, counts),
        per_class=_per_class(matches, objective),
        too_few=tuple(int(label) for label in np.flatnonzero(boxes < MIN_BOXES)),
    )


def _best(matches: Matches, objective: Objective) -> tuple[float, float]:
    if objective.figure == "f":
        return fbeta_curve(matches, objective.number).best()
    curve = precision_recall(matches, iou=IOU)
    best = _within_bound(curve, objective)
    return best if best is not None else _unattained(curve, objective)


def _per_class(matches: Matches, objective: Objective) -> dict[int, float]:
    labels = [int(label) for label in np.flatnonzero(matches.boxes_per_class >= MIN_BOXES)]
    if objective.figure == "f":
        curves: tuple[FBetaCurve, ...] = class_fbeta_curves(matches, objective.number)
        return {label: curves[label].best()[0] for label in labels if curves[label].thresholds.size}
    best = {label: _within_bound(precision_recall(matches, label, IOU), objective) for label in labels}
    return {label: found[0] for label, found in best.items() if found is not None}


def _within_bound(curve: PrecisionRecall, objective: Objective) -> tuple[float, float] | None:
    """The best threshold that keeps to the bound and the maximised figure there; None where none does."""
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
    """The threshold that each resample chooses, float64 [R]; counts are unsigned integers [R, P]."""

    def fbeta(hits: NDArray[np.int32], counted: NDArray[np.int32], boxes: NDArray[np.int32]) -> NDArray[np.float64]:
        weight = objective.number**2
        values: NDArray[np.float64] = (1 + weight) * hits / np.maximum(weight * boxes + counted, 1)
        return values

    def bounded(hits: NDArray[np.int32], counted: NDArray[np.int32], boxes: NDArray[np.int32]) -> NDArray[np.float64]:
        figures = {"precision": hits / np.maximum(counted, 1), "recall": hits / np.maximum(boxes, 1)}
        held = figures[objective.figure]
        return np.where(held >= objective.number, 1 + figures[objective.maximised], held)

    if objective.figure == "f":
        return bootstrap_threshold(matches, counts, FBETA_IOUS, fbeta)
    return bootstrap_threshold(matches, counts, (IOU,), bounded)


def _value_interval(matches: Matches, objective: Objective, threshold: float, counts: Counts) -> Interval:
    if objective.figure == "f":
        samples = bootstrap_fbeta(matches, threshold, counts, objective.number).micro
    else:
        samples = _samples_at(matches, objective.maximised, threshold, counts)
    return corrected_interval(float(samples[0]), samples[1:], pooled_units(matches))


def _samples_at(matches: Matches, figure: str, threshold: float, counts: Counts) -> NDArray[np.float64]:
    """Precision or recall of each resample, pooled, float64 [R]; NaN where it is 0 / 0."""
    row, kept = matches.at(IOU), matches.scores >= threshold
    of = matches.pictures[kept & ~matches.ignored[row]] if figure == "precision" else _box_pictures(matches)
    pictures = (matches.pictures[kept & matches.hit[row]], of)
    sums = np.stack([np.bincount(one, minlength=matches.num_pictures) for one in pictures], axis=1)
    hits, total = (counts @ sums.astype(np.float64)).T
    samples: NDArray[np.float64] = np.divide(hits, total, out=np.full(len(counts), np.nan), where=total > 0)
    return samples


def _box_pictures(matches: Matches) -> NDArray[np.int64]:
    return matches.truth_pictures[~matches.truth_crowd]

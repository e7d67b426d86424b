"""Two detectors on the same pictures: which differences are more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boxwright.host.listing import Listed, Listing, shown

from .bootstrap import bootstrap_figures, pictures_per_class, with_all_once
from .figures import HEADLINE
from .interval import Interval, corrected_interval
from .matching import Matches

__all__ = ["Comparison", "Difference", "compare"]


@dataclass(frozen=True)
class Difference:
    """How one figure differs between two detectors, on the same pictures.

    Attributes:
        figure: ``map``, ``map_50``, ``f2``, ``f2_macro``, ``precision`` or ``recall``.
        label: class index, for the AP (``map``) or F2 of one class; None for all classes.
        first: the first detector's figure, in [0, 1]; NaN where there are no boxes.
        second: the second detector's.
        difference: second - first.
        interval: 95 %, of the difference; NaN to NaN where fewer than two pictures have the class.
        stands: 0 lies outside the interval. By chance this happens in one of twenty comparisons.
    """

    figure: str
    label: int | None
    first: float
    second: float
    difference: float
    interval: Interval
    stands: bool

    def sentence(self, first_name: str, second_name: str, class_names: Sequence[str] = ()) -> str:
        """The difference in words.

        For example "mAP of B is 0.031 higher than A's (95 % interval 0.012 to 0.049): the difference is significant."

        Args:
            first_name: of the first detector.
            second_name: of the second.
            class_names: by class index, for the figure of one class.
        """
        figure = self._title(class_names)
        if isnan(self.difference):
            if self.figure == "precision":
                silent = " and ".join(
                    name for name, value in ((first_name, self.first), (second_name, self.second)) if isnan(value)
                )
                return f"{figure} cannot be compared: of {silent} there is no detection at the operating point."
            return f"{figure} cannot be compared: the pictures have no boxes to measure by."
        return f"{self._direction(figure, first_name, second_name)} {self._verdict()}"

    def _title(self, class_names: Sequence[str]) -> str:
        if self.label is None:
            return HEADLINE[self.figure]
        name = class_names[self.label] if class_names else f"class {self.label}"
        return f"{'AP' if self.figure == 'map' else HEADLINE[self.figure]} for {name}"

    def _direction(self, figure: str, first_name: str, second_name: str) -> str:
        size = _number(abs(self.difference))
        if float(size) == 0.0:
            return f"{figure} of {first_name} and {second_name} differs by less than 0.001"
        return f"{figure} of {second_name} is {size} {'higher' if self.difference > 0 else 'lower'} than {first_name}'s"

    def _verdict(self) -> str:
        if isnan(self.interval.low):
            return "(too few pictures for an interval): the difference may be chance."
        ends = f"(95 % interval {_number(self.interval.low)} to {_number(self.interval.high)})"
        if self.stands:
            return f"{ends}: the difference is significant."
        return f"{ends}: the difference may be chance."


@dataclass(frozen=True, repr=False)
class Comparison(Listed):
    """Two detectors on the same pictures; ``print`` and notebooks show the differences.

    Attributes:
        figures: of all classes together: ``map``, ``map_50``, ``f2``, ``f2_macro``, ``precision``, ``recall``.
        per_class: by class index, ``map`` and ``f2`` of each.
    """

    figures: tuple[Difference, ...]
    per_class: tuple[tuple[Difference, Difference], ...]

    def listing(self) -> Listing:
        """The figures of both, and their differences."""
        rows = [
            (
                HEADLINE[one.figure],
                *map(shown, (one.first, one.second, one.difference)),
                "-" if isnan(one.interval.low) else f"{shown(one.interval.low)} to {shown(one.interval.high)}",
                "yes" if one.stands else "no",
            )
            for one in self.figures
        ]
        head = ("figure", "first", "second", "difference", "95 % interval", "significant")
        return Listing("Two detectors on the same pictures", head, rows)

    def __getitem__(self, figure: str) -> Difference:
        """The difference of one of ``figures``."""
        return {one.figure: one for one in self.figures}[figure]


def compare(
    first: Matches,
    second: Matches,
    first_threshold: ArrayLike,
    second_threshold: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two detectors on the same resamples of the same pictures.

    A hard picture is hard for both, so the difference is more certain than either figure.

    Args:
        first: matches of the first detector.
        second: of the second, with the same ground truth.
        first_threshold: for F2: one score, or one per class, float [K].
        second_threshold: of the second detector.
        resamples: how many.
        seed: of the draws.

    Raises:
        ValueError: the two have different pictures or different boxes to find.
    """
    _require_same_truth(first, second)
    counts = with_all_once(first.num_pictures, resamples, seed)
    one = bootstrap_figures(first, first_threshold, counts)
    two = bootstrap_figures(second, second_threshold, counts)

    def of_class(figure: str, label: int, units: int) -> Difference:
        return _difference(figure, label, one.by_class[figure][:, label], two.by_class[figure][:, label], units)

    return Comparison(
        tuple(
            _difference(name, None, column, two.figures[name], first.num_pictures)
            for name, column in one.figures.items()
        ),
        tuple(
            (of_class("map", label, units), of_class("f2", label, units))
            for label, units in enumerate(pictures_per_class(first).tolist())
        ),
    )


def _require_same_truth(first: Matches, second: Matches) -> None:
    sizes = [(one.num_pictures, one.num_classes) for one in (first, second)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"Only results on the same pictures and classes can be compared: the first has {sizes[0][0]} pictures "
            f"and {sizes[0][1]} classes, the second {sizes[1][0]} and {sizes[1][1]}."
        )
    for column in ("truth_pictures", "truth_labels", "truth_positions", "truth_crowd"):
        if not np.array_equal(getattr(first, column), getattr(second, column)):
            raise ValueError("Only results on the same pictures can be compared: their annotated boxes differ.")


def _difference(
    figure: str, label: int | None, first: NDArray[np.float64], second: NDArray[np.float64], units: int
) -> Difference:
    """From the figures on the pictures themselves, followed by those of the resamples: float64 [1 + R]."""
    difference = second - first
    interval = corrected_interval(float(difference[0]), difference[1:], units, low=-1.0)
    return Difference(
        figure=figure,
        label=label,
        first=float(first[0]),
        second=float(second[0]),
        difference=float(difference[0]),
        interval=interval,
        stands=not isnan(interval.low) and 0.0 not in interval,
    )


def _number(value: float) -> str:
    """Three decimals, as in the tables; no minus before zero."""
    text = f"{value:.3f}"
    return text.lstrip("-") if float(text) == 0.0 else text

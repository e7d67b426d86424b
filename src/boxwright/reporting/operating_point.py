"""An operating point in words, be it one score for all classes or one for each."""

from __future__ import annotations

import re
from collections.abc import Sequence

from boxwright.runtime import OperatingPoint

from .svg import between, figure

__all__ = ["GIVEN", "about_classes", "in_table", "in_words", "is_shared", "measured_at", "sentence"]

GIVEN = "given"
"""The objective of a threshold that was asked for, not chosen."""

_BOUND = re.compile(r"(precision|recall)>=(.+)")
_USE = "It is what predict, serve and evaluate use; --threshold sets another."


def is_shared(point: OperatingPoint, names: Sequence[str]) -> bool:
    """Whether all classes are reported from the same score.

    Args:
        point: the operating point.
        names: class names by index.
    """
    low, high = _range(point, names)
    return low == high


def in_words(point: OperatingPoint, names: Sequence[str]) -> str:
    """``score 0.227``, or ``each class from its own score (0.131 to 0.676)``; arguments as of ``is_shared``."""
    low, high = _range(point, names)
    return f"score {figure(low)}" if low == high else f"each class from its own score ({between(low, high)})"


def measured_at(point: OperatingPoint, names: Sequence[str]) -> str:
    """The same to follow a figure: ``at score 0.227``, or ``with each class from its own score (…)``."""
    return f"{'at' if is_shared(point, names) else 'with'} {in_words(point, names)}"


def in_table(point: OperatingPoint, names: Sequence[str]) -> tuple[str, str]:
    """For a narrow cell: the score and its interval, or that there are several and their range."""
    low, high = _range(point, names)
    if low != high:
        return "by class", between(low, high)
    return figure(low), between(*point.interval) if point.interval and low == point.threshold else ""


def sentence(point: OperatingPoint, names: Sequence[str]) -> str:
    """What is used and why, in a sentence or two; arguments as of ``is_shared``."""
    if point.objective == GIVEN:
        return f"Measured at a score of {figure(point.threshold)}, as asked for."
    if point.value is None:
        return f"The operating point is the default, a score of {figure(point.threshold)}: none was chosen on data."
    value = f"{figure(point.value)}{f' ({between(*point.value_interval)})' if point.value_interval else ''}"
    where = f"on {point.split}" if point.split else "where it was measured"
    return f"The operating point is {_reason(point, names, where)} {value}. {_USE}"


def _reason(point: OperatingPoint, names: Sequence[str], where: str) -> str:
    maximised, bound = _goal(point.objective)
    if not is_shared(point, names):
        kept = f" with {bound}" if bound else ""
        own = f"there its {maximised} {where} is highest{kept}"
        return f"{in_words(point, names)}: {own}; {maximised} of all classes together is"
    score, interval = in_table(point, names)
    known = f"a score of {score}{f' (95 % interval {interval})' if interval else ''}"
    if not bound:
        return f"{known}: there {maximised} {where} is highest,"
    return f"{known}: of the thresholds with {bound} {where} it has the highest {maximised},"


def _goal(objective: str) -> tuple[str, str]:
    """The figure that is maximised, and what is asked of the other one; empty if nothing."""
    bound = _BOUND.fullmatch(objective)
    if bound is None:
        return objective.upper(), ""
    return "recall" if bound[1] == "precision" else "precision", f"a {bound[1]} of at least {bound[2]}"


def about_classes(point: OperatingPoint, names: Sequence[str]) -> str:
    """On thresholds by class; empty where there are none."""
    if not point.per_class:
        return ""
    own = f"Of {len(names)} classes {len(point.per_class)} have a threshold of their own (see the table)"
    if not point.by_class:
        return f"{own}; they are not in use."
    rest = f"; the others have the one for all, {figure(point.threshold)}" if len(point.per_class) < len(names) else ""
    return f"{own}{rest}."


def _range(point: OperatingPoint, names: Sequence[str]) -> tuple[float, float]:
    thresholds = point.thresholds(names) or (point.threshold,)
    return min(thresholds), max(thresholds)

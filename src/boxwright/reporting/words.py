"""What pages and the terminal say of a model: names of figures, its operating point, where it comes from."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boxwright.runtime import ModelSpec, OperatingPoint

from .svg import NONE, between, figure

__all__ = [
    "GIVEN",
    "about_classes",
    "best_epoch",
    "command",
    "details",
    "in_table",
    "in_words",
    "is_shared",
    "measured_at",
    "origin",
    "sentence",
    "text_of",
]

GIVEN = "given"
"""The objective of a threshold that was asked for, not chosen."""

Pairs = Sequence[tuple[str, str]]

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
    """As ``in_words``, to stand behind a figure: ``at score 0.227``, or ``with each class from its own score (…)``."""
    return f"{'at' if is_shared(point, names) else 'with'} {in_words(point, names)}"


def in_table(point: OperatingPoint, names: Sequence[str]) -> tuple[str, str]:
    """For a narrow cell: the score and its interval; or ``by class`` and the range of the scores."""
    low, high = _range(point, names)
    if low != high:
        return "by class", between(low, high)
    return figure(low), between(*point.interval) if point.interval and low == point.threshold else ""


def sentence(point: OperatingPoint, names: Sequence[str]) -> str:
    """What is used and why, in one or two sentences; arguments as of ``is_shared``."""
    if point.objective == GIVEN:
        return f"Measured at a score of {figure(point.threshold)}, as asked for."
    if point.value is None:
        return f"The operating point is the default, a score of {figure(point.threshold)}: it was not chosen on data."
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
    """The figure that is maximised, and the bound on another one; empty if there is none."""
    bound = _BOUND.fullmatch(objective)
    if bound is None:
        return objective.upper(), ""
    return "recall" if bound[1] == "precision" else "precision", f"a {bound[1]} of at least {bound[2]}"


def about_classes(point: OperatingPoint, names: Sequence[str]) -> str:
    """A sentence on the thresholds of single classes; empty without any."""
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


def best_epoch(spec: ModelSpec) -> int | None:
    """The epoch whose weights were kept, counted from 0; None if it is not recorded."""
    epoch = spec.provenance.get("best_epoch")
    return epoch if isinstance(epoch, int) else None


def command(point: OperatingPoint, source: Path | None) -> str:
    """The command that uses the operating point.

    Args:
        point: the operating point.
        source: run folder or archive; None if it is not known.
    """
    where = "RUN_OR_MAR" if source is None else shlex.quote(str(source))
    asked = f" --threshold {point.threshold:g}" if point.objective == GIVEN else ""
    return f"boxwright predict {where} PICTURE{asked}"


def origin(spec: ModelSpec) -> Pairs:
    """The facts in which one model differs from another, as (title, text)."""
    provenance, best = spec.provenance, best_epoch(spec)
    canvas = f"{spec.input.height} x {spec.input.width} (height x width), {spec.input.resize}"
    return (
        ("Created", text_of(provenance.get("created"))),
        ("Architecture", spec.architecture),
        ("Canvas", canvas),
        ("Weights it started from", text_of(provenance.get("weights"))),
        ("Licence of these weights", text_of(provenance.get("weights_licence"))),
        ("Best epoch", NONE if best is None else str(best + 1)),
        ("Data fingerprint", text_of(provenance.get("data_fingerprint"))),
        ("Class contract", spec.contract),
    )


def details(spec: ModelSpec) -> Sequence[tuple[str, Pairs]]:
    """Settings and versions, if they are recorded, and the classes with their ids."""
    classes = [(f"{index}", f"{entry.name} (id {entry.id})") for index, entry in enumerate(spec.classes)]
    titled = {"Settings": _pairs(spec, "settings"), "Versions": _pairs(spec, "versions"), "Classes": classes}
    return [(title, pairs) for title, pairs in titled.items() if pairs]


def _pairs(spec: ModelSpec, key: str) -> Pairs:
    recorded = spec.provenance.get(key)
    return [(str(name), text_of(value)) for name, value in recorded.items()] if isinstance(recorded, Mapping) else []


def text_of(value: Any) -> str:
    """A recorded value for people; a dash if it is empty."""
    if value is None or value == "":
        return NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

"""What pages and the terminal say of a model: names of figures, its operating point, where it comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boxwright.evaluation.results_files import ResultsSpec
from boxwright.host.places import in_command
from boxwright.runtime import ModelSpec, OperatingPoint

from .svg import NONE, between, figure

__all__ = [
    "GIVEN",
    "about_classes",
    "about_point",
    "best_epoch",
    "command",
    "compared_at",
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
_NO_POINT = (
    "A results file has no operating point: this score was chosen on the very pictures that are measured, so F2 is a "
    "little too good. --threshold sets another."
)
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


def about_point(spec: ModelSpec | ResultsSpec) -> str:
    """What is used and why, in one to three sentences."""
    point = spec.operating_point
    if isinstance(spec, ModelSpec) or point.objective == GIVEN:
        return sentence(point, spec.class_names)
    score, interval = in_table(point, spec.class_names)
    if point.value is None:
        return f"Measured at the default, a score of {score}: without annotated boxes or detections none can be chosen."
    known = f"a score of {score}{f' (95 % interval {interval})' if interval else ''}"
    return f"Measured at {known}, where F2 is highest. {_NO_POINT}"


def compared_at(named: Mapping[str, ModelSpec | ResultsSpec]) -> str:
    """What F2, precision and recall of models that are compared are measured at, in a sentence.

    Args:
        named: the specifications by the names of the models.
    """
    files = [spec for spec in named.values() if isinstance(spec, ResultsSpec)]
    if not files:
        return "F2, precision and recall are at each run's own operating point."
    points = "; ".join(f"{name}: {in_words(spec.operating_point, spec.class_names)}" for name, spec in named.items())
    if files[0].operating_point.objective == GIVEN:
        why = "the score asked for, for results files, and the operating points of runs"
    else:
        why = (
            "where the F2 of each is highest on these very pictures, because a results file has no operating point; "
            "--threshold sets one for results files, and runs then keep theirs"
        )
    return f"F2, precision and recall are measured at {points}. That is {why}."


def sentence(point: OperatingPoint, names: Sequence[str]) -> str:
    """What is used and why, in one or two sentences; arguments as of ``is_shared``."""
    if point.objective == GIVEN:
        return f"Measured at a score of {figure(point.threshold)}, as asked for."
    if point.value is None or not point.is_chosen:
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
    if not point.by_class:
        return (
            "This threshold is used for all classes. The table also shows which one would be best for a class alone, "
            f"for {len(point.per_class)} of the {len(names)} classes; 'boxwright threshold RUN --by-class' uses those."
        )
    own = f"Of {len(names)} classes {len(point.per_class)} have a threshold of their own (see the table)"
    rest = f"; the others have the one for all, {figure(point.threshold)}" if len(point.per_class) < len(names) else ""
    return f"{own}{rest}."


def _range(point: OperatingPoint, names: Sequence[str]) -> tuple[float, float]:
    thresholds = point.thresholds(names) or (point.threshold,)
    return min(thresholds), max(thresholds)


def best_epoch(spec: ModelSpec | ResultsSpec) -> int | None:
    """The epoch whose weights were kept, counted from 0; None if it is not recorded."""
    if isinstance(spec, ResultsSpec):
        return None
    epoch = spec.provenance.get("best_epoch")
    return epoch if isinstance(epoch, int) else None


def command(spec: ModelSpec | ResultsSpec, source: Path | str | None) -> str:
    """The command that uses the operating point; empty for a results file, which detects nothing.

    Args:
        spec: with the operating point.
        source: run folder or archive; None if it is not known.
    """
    if isinstance(spec, ResultsSpec):
        return ""
    point = spec.operating_point
    where = "RUN_OR_MAR" if source is None else in_command(source)
    asked = f" --threshold {point.threshold:g}" if point.objective == GIVEN else ""
    return f"boxwright predict {where} PICTURE{asked}"


def origin(spec: ModelSpec | ResultsSpec) -> Pairs:
    """The facts in which one model differs from another, as (title, text)."""
    if isinstance(spec, ResultsSpec):
        return (
            ("Results file", str(spec.file)),
            ("SHA-256", spec.digest),
            ("Detections", str(spec.detections)),
        )
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


def details(spec: ModelSpec | ResultsSpec) -> Sequence[tuple[str, Pairs]]:
    """Settings and versions, if they are recorded, and the classes with their ids."""
    classes = [(f"{index}", f"{entry.name} (id {entry.id})") for index, entry in enumerate(spec.classes)]
    titled = {"Settings": _pairs(spec, "settings"), "Versions": _pairs(spec, "versions"), "Classes": classes}
    return [(title, pairs) for title, pairs in titled.items() if pairs]


def _pairs(spec: ModelSpec | ResultsSpec, key: str) -> Pairs:
    recorded = None if isinstance(spec, ResultsSpec) else spec.provenance.get(key)
    return [(str(name), text_of(value)) for name, value in recorded.items()] if isinstance(recorded, Mapping) else []


def text_of(value: Any) -> str:
    """A recorded value for people; a dash if it is empty."""
    if value is None or value == "":
        return NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

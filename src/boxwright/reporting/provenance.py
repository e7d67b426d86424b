"""Where a model comes from, in pairs of words."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from boxwright.runtime import ModelSpec, OperatingPoint

from .svg import NONE, between, figure

__all__ = ["best_epoch", "by_class_sentence", "command", "details", "operating_sentence", "origin", "text_of"]

Pairs = Sequence[tuple[str, str]]

_BOUND = re.compile(r"(precision|recall)>=(.+)")


def best_epoch(spec: ModelSpec) -> int | None:
    """The epoch whose weights were kept, from 0; None where none is recorded."""
    epoch = spec.provenance.get("best_epoch")
    return epoch if isinstance(epoch, int) else None


def operating_sentence(point: OperatingPoint) -> str:
    """What the threshold is and why, in a sentence or two."""
    if point.value is None:
        return f"The operating point is the default, a score of {figure(point.threshold)}: none was chosen on data."
    where = f"on {point.split}" if point.split else "where it was measured"
    interval = f" (95 % interval {between(*point.interval)})" if point.interval else ""
    value = f"{figure(point.value)}{f' ({between(*point.value_interval)})' if point.value_interval else ''}"
    reason = f"{_reason(point.objective, where)} {value}"
    use = "It is what predict, serve and evaluate use; --threshold sets another."
    return f"The operating point is a score of {figure(point.threshold)}{interval}: {reason}. {use}"


def _reason(objective: str, where: str) -> str:
    bound = _BOUND.fullmatch(objective)
    if bound is None:
        return f"there {objective.upper()} {where} is highest,"
    other = "recall" if bound[1] == "precision" else "precision"
    return f"of the thresholds with a {bound[1]} of at least {bound[2]} {where} it has the highest {other},"


def by_class_sentence(point: OperatingPoint, classes: int) -> str:
    """On thresholds by class; empty where there are none."""
    if not point.per_class:
        return ""
    own = f"{len(point.per_class)} of {classes} classes have boxes enough for a threshold of their own"
    return f"{own}, and it is used: see the table." if point.by_class else f"{own}; they are not in use."


def command(spec: ModelSpec) -> str:
    """How to use the operating point."""
    return f"boxwright predict {shlex.quote(f'runs/{spec.name}')} PICTURE"


def origin(spec: ModelSpec) -> Pairs:
    """The facts that tell one model from another."""
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
    """Settings and versions, where recorded, and the classes with their ids."""
    classes = [(f"{index}", f"{entry.name} (id {entry.id})") for index, entry in enumerate(spec.classes)]
    titled = {"Settings": _pairs(spec, "settings"), "Versions": _pairs(spec, "versions"), "Classes": classes}
    return [(title, pairs) for title, pairs in titled.items() if pairs]


def _pairs(spec: ModelSpec, key: str) -> Pairs:
    recorded = spec.provenance.get(key)
    return [(str(name), text_of(value)) for name, value in recorded.items()] if isinstance(recorded, Mapping) else []


def text_of(value: Any) -> str:
    """A recorded value for people; a dash for none."""
    if value is None or value == "":
        return NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

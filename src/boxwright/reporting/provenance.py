"""Where a model comes from, in pairs of words."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boxwright.runtime import ModelSpec, OperatingPoint

from .operating_point import GIVEN
from .svg import NONE

__all__ = ["best_epoch", "command", "details", "origin", "text_of"]

Pairs = Sequence[tuple[str, str]]


def best_epoch(spec: ModelSpec) -> int | None:
    """The epoch whose weights were kept, from 0; None where none is recorded."""
    epoch = spec.provenance.get("best_epoch")
    return epoch if isinstance(epoch, int) else None


def command(point: OperatingPoint, source: Path | None) -> str:
    """How to use the operating point.

    Args:
        point: the operating point.
        source: run folder or archive; None where it is not known.
    """
    where = "RUN_OR_MAR" if source is None else shlex.quote(str(source))
    asked = f" --threshold {point.threshold:g}" if point.objective == GIVEN else ""
    return f"boxwright predict {where} PICTURE{asked}"


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

"""Reads the file of a run's figures; without Lightning, so that pages can be made where it is not installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["METRICS_FILE", "next_step", "read_metrics"]

METRICS_FILE = "metrics.jsonl"


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run, in order; an empty list if there is no file.

    Each has an int under ``epoch`` and an int or None under ``step``; other lines, such as one cut off by a
    crash, are left out.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            lines.append(json.loads(text))
        except (ValueError, RecursionError):
            continue
    return [line for line in lines if _is_entry(line)]


def _is_entry(line: Any) -> bool:
    if not isinstance(line, dict):
        return False
    step = line.get("step")
    return _is_int(line.get("epoch")) and (step is None or _is_int(step))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def next_step(folder: Path) -> int:
    """The training step after the last one logged; 0 if there is none."""
    return max((line["step"] + 1 for line in read_metrics(folder) if line.get("step") is not None), default=0)

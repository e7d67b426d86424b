"""The file of a run's figures, read back; without Lightning, so that pages can be made where it is not installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["METRICS_FILE", "next_step", "read_metrics"]

METRICS_FILE = "metrics.jsonl"


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run, in order; none if there is no file. A line cut off by a crash is left out."""
    path = folder / METRICS_FILE
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def next_step(folder: Path) -> int:
    """The training step after the last one logged; 0 if there is none."""
    return max((int(line["step"]) + 1 for line in read_metrics(folder) if line.get("step") is not None), default=0)

"""The figures that stand first, the same in the terminal and on every page."""

from __future__ import annotations

__all__ = ["HEADLINE"]

HEADLINE = {
    "map": "mAP",
    "map_50": "mAP50",
    "f2": "F2",
    "f2_macro": "F2, mean over classes",
    "precision": "precision",
    "recall": "recall",
}
"""Attributes of ``Figures``, with their names for people."""

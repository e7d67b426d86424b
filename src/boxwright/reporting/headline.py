"""The figures that come first, the same in the terminal and on every page."""

from __future__ import annotations

from boxwright.metrics.figures import HEADLINE

__all__ = ["HEADLINE"]

"""Thin Lightning glue around data, models and metrics."""

from .result import RunResult

__all__ = ["RunResult"]

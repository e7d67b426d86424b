"""Finds settings that train better than the chosen ones: ``tune``."""

from .study import Trial, TuneResult, tune

__all__ = ["Trial", "TuneResult", "tune"]

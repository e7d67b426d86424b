"""Converts data sets of other layouts to the Roboflow layout that boxwright trains on."""

from .convert import READERS, Conversion, SplitCounts, convert

__all__ = ["READERS", "Conversion", "SplitCounts", "convert"]

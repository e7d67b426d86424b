"""Data sets in other layouts become the Roboflow layout that boxwright trains on."""

from .convert import READERS, Conversion, SplitCounts, convert

__all__ = ["READERS", "Conversion", "SplitCounts", "convert"]

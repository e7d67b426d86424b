"""Detections of any other tool, from a COCO results file, measured like those of our own models."""

from .boxes import require_reading
from .detections import FoundDetections, ResultsSpec, read_detections
from .document import is_results_file

__all__ = ["FoundDetections", "ResultsSpec", "is_results_file", "read_detections", "require_reading"]

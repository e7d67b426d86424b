"""Pure functions on detections: COCO AP, F-beta, the operating point."""

from .average_precision import AveragePrecision, average_precision
from .fbeta import IOU_THRESHOLDS, FBetaCurve, Matches, fbeta_curve, match_detections
from .figures import ClassFigures, Figures, measure
from .ground_truth import GroundTruth

__all__ = [
    "IOU_THRESHOLDS",
    "AveragePrecision",
    "ClassFigures",
    "FBetaCurve",
    "Figures",
    "GroundTruth",
    "Matches",
    "average_precision",
    "fbeta_curve",
    "match_detections",
    "measure",
]

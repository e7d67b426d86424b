"""Pure functions on detections: one matching pass, and every figure made from it."""

from .average_precision import AveragePrecision, average_precision
from .calibration import Calibration, calibration
from .confusion import confusion_matrix
from .error_types import KINDS, ErrorTypes, error_types
from .fbeta import FBetaCurve, class_fbeta_curves, fbeta_at, fbeta_curve, macro_fbeta_curve
from .figures import ClassFigures, Figures, figures_of, measure, none_if_nan
from .ground_truth import GroundTruth
from .matching import AREAS, COCO_IOUS, FBETA_IOUS, IOUS, Matches, Pairs, match_detections
from .precision_recall import PrecisionRecall, precision_recall

__all__ = [
    "AREAS",
    "COCO_IOUS",
    "FBETA_IOUS",
    "IOUS",
    "KINDS",
    "AveragePrecision",
    "Calibration",
    "ClassFigures",
    "ErrorTypes",
    "FBetaCurve",
    "Figures",
    "GroundTruth",
    "Matches",
    "Pairs",
    "PrecisionRecall",
    "average_precision",
    "calibration",
    "class_fbeta_curves",
    "confusion_matrix",
    "error_types",
    "fbeta_at",
    "fbeta_curve",
    "figures_of",
    "macro_fbeta_curve",
    "match_detections",
    "measure",
    "none_if_nan",
    "precision_recall",
]

"""Pure functions on detections: one matching pass, and every figure computed from it."""

from .average_precision import AveragePrecision, average_precision
from .calibration import Calibration, calibration
from .columns import GroundTruth
from .confusion import confusion_matrix
from .error_types import KINDS, ErrorTypes, error_types
from .fbeta import FBetaCurve, class_fbeta_curves, fbeta_at, fbeta_curve, macro_fbeta_curve
from .figures import ClassFigures, Figures, figures_of, measure, none_if_nan
from .matching import AREAS, COCO_IOUS, FBETA_IOUS, IOUS, Matches, Pairs, match_detections
from .overlaps import iou_matrix
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
    "iou_matrix",
    "macro_fbeta_curve",
    "match_detections",
    "measure",
    "none_if_nan",
    "precision_recall",
]

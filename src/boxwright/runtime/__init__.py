"""The code that touches a served picture; a copy of this package travels inside every archive.

It imports numpy and Pillow only (torch when a network is built), nothing else of boxwright, and runs
on Python 3.9, which is what TorchServe's image has.
"""

from .backends import BACKENDS, Backend, open_backend
from .bundle import Bundle, open_bundle
from .detections import Detections
from .errors import (
    ArchiveError,
    BoxwrightError,
    ConfigError,
    ContractError,
    DataError,
    MissingDependency,
    ModelError,
    OutOfTolerance,
    PictureError,
    PictureTooLarge,
    ServingError,
    UnsupportedPicture,
)
from .execution import PRECISIONS, Execution
from .picture import PictureSource, decode
from .predictor import PicturePredictor
from .preprocess import Placement, postprocess, preprocess
from .spec import ClassEntry, InputSpec, ModelSpec, OperatingPoint
from .tiling import Prepared, prepare

__all__ = [
    "BACKENDS",
    "PRECISIONS",
    "ArchiveError",
    "Backend",
    "BoxwrightError",
    "Bundle",
    "ClassEntry",
    "ConfigError",
    "ContractError",
    "DataError",
    "Detections",
    "Execution",
    "InputSpec",
    "MissingDependency",
    "ModelError",
    "ModelSpec",
    "OperatingPoint",
    "OutOfTolerance",
    "PictureError",
    "PicturePredictor",
    "PictureSource",
    "PictureTooLarge",
    "Placement",
    "Prepared",
    "ServingError",
    "UnsupportedPicture",
    "decode",
    "open_backend",
    "open_bundle",
    "postprocess",
    "prepare",
    "preprocess",
]

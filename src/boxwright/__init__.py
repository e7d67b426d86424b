"""A folder of COCO annotations goes in; a detector behind an HTTP endpoint comes out.

::

    import boxwright

    print(boxwright.check("my-folder").findings)
    run = boxwright.train(data="my-folder", model="fasterrcnn_mobilenet_v2_fpn")
    print(boxwright.evaluate(run.folder, "my-folder", split="test").figures.f2)
    mar = boxwright.archive(run.folder)
    detections = boxwright.Predictor(mar)("picture.jpg")
    boxwright.serve([mar])

Importing this package loads none of its parts; each comes with the first use of its name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from boxwright.evaluation.compare import Contender as Contender
    from boxwright.metrics.comparison import Comparison as Comparison
    from boxwright.parity.endpoint import EndpointEvaluation as EndpointEvaluation

    from .api import adopt as adopt
    from .api import archive as archive
    from .api import bench as bench
    from .api import check as check
    from .api import choose_threshold as choose_threshold
    from .api import compare as compare
    from .api import convert as convert
    from .api import evaluate as evaluate
    from .api import evaluate_endpoint as evaluate_endpoint
    from .api import export as export
    from .api import inspect as inspect
    from .api import repair as repair
    from .api import report as report
    from .api import resume as resume
    from .api import serve as serve
    from .api import train as train
    from .archiving import Adoption as Adoption
    from .archiving import ArchiveContents as ArchiveContents
    from .data import Finding as Finding
    from .data import Inspection as Inspection
    from .evaluation import Evaluation as Evaluation
    from .inputs import Prediction as Prediction
    from .inputs import Predictor as Predictor
    from .metrics import Figures as Figures
    from .runtime import ArchiveError as ArchiveError
    from .runtime import BoxwrightError as BoxwrightError
    from .runtime import ConfigError as ConfigError
    from .runtime import ContractError as ContractError
    from .runtime import DataError as DataError
    from .runtime import Detections as Detections
    from .runtime import Execution as Execution
    from .runtime import MissingDependency as MissingDependency
    from .runtime import ModelError as ModelError
    from .runtime import ModelSpec as ModelSpec
    from .runtime import OperatingPoint as OperatingPoint
    from .runtime import OutOfTolerance as OutOfTolerance
    from .runtime import PictureError as PictureError
    from .runtime import PictureTooLarge as PictureTooLarge
    from .runtime import ServingError as ServingError
    from .runtime import UnsupportedPicture as UnsupportedPicture
    from .training import RunResult as RunResult

_HOMES = {
    "Adoption": "archiving",
    "ArchiveContents": "archiving",
    "ArchiveError": "runtime",
    "BoxwrightError": "runtime",
    "ConfigError": "runtime",
    "ContractError": "runtime",
    "DataError": "runtime",
    "Detections": "runtime",
    "Execution": "runtime",
    "Finding": "data",
    "Inspection": "data",
    "Comparison": "metrics.comparison",
    "Contender": "evaluation.compare",
    "EndpointEvaluation": "parity.endpoint",
    "Evaluation": "evaluation",
    "Figures": "metrics",
    "MissingDependency": "runtime",
    "ModelError": "runtime",
    "ModelSpec": "runtime",
    "OperatingPoint": "runtime",
    "OutOfTolerance": "runtime",
    "PictureError": "runtime",
    "PictureTooLarge": "runtime",
    "Prediction": "inputs",
    "Predictor": "inputs",
    "RunResult": "training",
    "ServingError": "runtime",
    "UnsupportedPicture": "runtime",
    "adopt": "api",
    "archive": "api",
    "bench": "api",
    "check": "api",
    "choose_threshold": "api",
    "compare": "api",
    "convert": "api",
    "repair": "api",
    "evaluate": "api",
    "export": "api",
    "inspect": "api",
    "evaluate_endpoint": "api",
    "report": "api",
    "resume": "api",
    "serve": "api",
    "train": "api",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

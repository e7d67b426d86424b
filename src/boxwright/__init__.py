"""A folder of COCO annotations goes in; a detector behind an HTTP endpoint comes out.

::

    import boxwright

    print(boxwright.check("my-folder"))
    run = boxwright.train(data="my-folder", model="fasterrcnn_mobilenet_v2_fpn_v2")
    print(boxwright.evaluate(run.folder, "my-folder", split="test"))
    mar = boxwright.archive(run.folder)
    boxwright.Predictor(mar)("picture.jpg").show()
    boxwright.serve([mar])

Importing this package loads none of its parts; each is loaded when its name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .archiving import Adoption as Adoption
    from .archiving import ArchiveContents as ArchiveContents
    from .archiving import adopt as adopt
    from .archiving import inspect_archive
    from .data import Finding as Finding
    from .data import Inspection as Inspection
    from .data import check as check
    from .data import convert as convert
    from .data import repair as repair
    from .evaluation import Evaluation as Evaluation
    from .evaluation import evaluate as evaluate
    from .evaluation.compare import Contender as Contender
    from .evaluation.compare import compare as compare
    from .exporting.files import export as export
    from .inputs import Prediction as Prediction
    from .inputs import Predictor as Predictor
    from .metrics import Figures as Figures
    from .metrics.comparison import Comparison as Comparison
    from .parity.endpoint import EndpointEvaluation as EndpointEvaluation
    from .parity.endpoint import evaluate_endpoint as evaluate_endpoint
    from .release import archive as archive
    from .reporting import choose_threshold as choose_threshold
    from .reporting import report_run
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
    from .search import Trial as Trial
    from .search import TuneResult as TuneResult
    from .search import tune as tune
    from .serving.server import serve as serve
    from .training import RunResult as RunResult
    from .training import resume as resume
    from .training import train as train
    from .tuning.bench import bench as bench

    inspect = inspect_archive
    report = report_run

_HOMES = {
    "archiving": ("Adoption", "ArchiveContents", "adopt", "inspect_archive as inspect"),
    "data": ("Finding", "Inspection", "check", "convert", "repair"),
    "evaluation": ("Evaluation", "evaluate"),
    "evaluation.compare": ("Contender", "compare"),
    "exporting.files": ("export",),
    "inputs": ("Prediction", "Predictor"),
    "metrics": ("Figures",),
    "metrics.comparison": ("Comparison",),
    "parity.endpoint": ("EndpointEvaluation", "evaluate_endpoint"),
    "release": ("archive",),
    "reporting": ("choose_threshold", "report_run as report"),
    "runtime": (
        "ArchiveError", "BoxwrightError", "ConfigError", "ContractError", "DataError", "Detections", "Execution",
        "MissingDependency", "ModelError", "ModelSpec", "OperatingPoint", "OutOfTolerance", "PictureError",
        "PictureTooLarge", "ServingError", "UnsupportedPicture",
    ),
    "search": ("Trial", "TuneResult", "tune"),
    "serving.server": ("serve",),
    "training": ("RunResult", "resume", "train"),
    "tuning.bench": ("bench",),
}  # fmt: skip
"""Public names by the module that holds them, as in the imports above: a test compares the two."""

_NAMES = {
    name.rpartition(" as ")[2]: (home, name.partition(" as ")[0]) for home, names in _HOMES.items() for name in names
}

__all__ = ["__version__", *sorted(_NAMES)]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, attribute = _NAMES[name]
    return getattr(import_module(f".{home}", __name__), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES])

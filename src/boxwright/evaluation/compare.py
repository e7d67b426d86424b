"""Is one model better than another on the same pictures?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from boxwright.data import local_data, read_truth
from boxwright.inputs.stores import local_place
from boxwright.inputs.zipped import is_zip
from boxwright.metrics.comparison import Comparison
from boxwright.metrics.comparison import compare as compare_matches
from boxwright.runtime import ArchiveError, ConfigError, ContractError, DataError, ModelSpec, OperatingPoint

from .evaluate import Progress, detect_split
from .operating import best_point
from .results import TRUTH_PARTS, SplitResults
from .results_files import ResultsSpec, is_results_file, read_detections
from .run import data_for, read_run

__all__ = ["Contender", "compare"]

_Measured: TypeAlias = tuple[SplitResults, ModelSpec | ResultsSpec]


@dataclass(frozen=True, eq=False)
class Contender:
    """One of the models compared.

    Attributes:
        name: of the model; its path where two have the same name.
        source: run folder, archive or results file.
        spec: of the model or the file, with the operating point that it is compared at.
        results: on the pictures that all models are compared on.
    """

    name: str
    source: Path
    spec: ModelSpec | ResultsSpec
    results: SplitResults


def compare(
    sources: Sequence[str | Path],
    data: str | Path | None = None,
    split: str | None = None,
    *,
    threshold: float | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> tuple[tuple[Contender, ...], tuple[Comparison, ...]]:
    """Compare every further model with the first on the same pictures, by a paired bootstrap.

    Each model is measured at its own operating point. A results file has none: with one among the sources, all are
    measured where their F2 is highest on these very pictures, so that none is chosen more luckily than another.

    Args:
        sources: two or more run folders, or their URLs; with ``data`` also archives and the results files of other
            tools.
        data: folder or ``.zip`` to measure on, or its URL; by default the validation detections that the runs keep are
            compared. Where all sources are results files, also a COCO annotation file.
        split: of ``data``; ``valid`` by default. Without ``data``, another one is that of the folder that the runs
            were trained on.
        threshold: for F2 of the results files; the models then keep their own operating points.
        device: a torch device.
        progress: called with (pictures done, pictures in all) for each model that is measured.

    Returns:
        The models, and one comparison for each model except the first.

    Raises:
        ArchiveError: a run or archive cannot be read, or a run keeps no detections.
        ConfigError: fewer than two models, or a threshold without a results file.
        ContractError: the classes of the models differ, or those of the data.
        DataError: the data or a results file cannot be read, or the models were measured on different pictures or
            boxes.
        MissingDependency: nothing that is installed can run a model.
    """
    paths = [local_place(source) for source in sources]
    _require_fitting(paths, data, split, threshold)
    data = _data(paths, split) if data is None else local_data(data)
    models = [path for path in paths if not is_results_file(path)]
    measured: dict[Path, _Measured] = {
        path: read_run(path)
        if data is None
        else detect_split(path, data, split or "valid", device=device, progress=progress)
        for path in models
    }
    if len(models) < len(paths):
        assert data is not None, "results files need it"
        truth = read_truth(Path(data), split or "valid", measured[models[0]][1].classes if models else None)
        measured |= {path: read_detections(path, truth) for path in paths if is_results_file(path)}
        measured = _at_points(measured, threshold)
    names = _names(paths, [measured[path][1] for path in paths])
    contenders = tuple(
        Contender(name, path, measured[path][1], measured[path][0]) for name, path in zip(names, paths, strict=True)
    )
    first, *others = contenders
    for other in others:
        _require_same(first, other)
    return contenders, tuple(_compared(first, other) for other in others)


def _require_fitting(
    paths: Sequence[Path], data: str | Path | None, split: str | None, threshold: float | None
) -> None:
    """Raise where something is asked for that the sources cannot give."""
    if len(paths) < 2:
        raise ConfigError("One model alone cannot be compared.", "Give two or more.")
    file = next((path for path in paths if is_results_file(path)), None)
    model = next((path for path in paths if not is_results_file(path)), None)
    if file is None and threshold is not None:
        raise ConfigError("A threshold is for results files, and there is none.", "Runs have operating points.")
    archive = next((path for path in paths if path.suffix == ".mar" and path.is_file()), None)
    if data is None and archive is not None:
        raise ArchiveError(f"{archive}: an archive keeps no detections.", "Give its run; or measure it with --data.")
    if data is None and file is not None:
        raise ConfigError(f"{file}: a results file holds no annotated boxes.", "Give --data as well.")
    if data is not None and model is not None and Path(data).is_file() and not is_zip(Path(data)):
        raise ConfigError(f"{model} needs pictures, and {data} is a file.", "Give the folder of the data set.")


def _data(runs: Sequence[Path], split: str | None) -> Path | None:
    """The folder that all runs were trained on, if they must be measured anew; None for what they keep.

    Raises:
        DataError: one does not say where it is, or they were trained on different ones.
    """
    if split in (None, "valid"):
        return None  # of it they keep their detections
    folders = list(dict.fromkeys(data_for(run, None) for run in runs))
    if len(folders) > 1:
        raise DataError(f"The runs were trained on {folders[0]} and {folders[1]}.", "Give --data FOLDER as well.")
    return folders[0]


def _at_points(measured: Mapping[Path, _Measured], threshold: float | None) -> dict[Path, _Measured]:
    """With the operating points to compare at: a given one for the files, or the best one of each on these pictures."""
    if threshold is not None:
        given = OperatingPoint(threshold, objective="given")
        return {
            path: (results, replace(spec, operating_point=given) if isinstance(spec, ResultsSpec) else spec)
            for path, (results, spec) in measured.items()
        }
    return {
        path: (results, replace(spec, operating_point=best_point(results)))
        for path, (results, spec) in measured.items()
    }


def _names(paths: Sequence[Path], specs: Sequence[ModelSpec | ResultsSpec]) -> list[str]:
    counts = Counter(spec.name for spec in specs)
    return [spec.name if counts[spec.name] == 1 else str(path) for path, spec in zip(paths, specs, strict=True)]


def _require_same(first: Contender, other: Contender) -> None:
    both = f"{first.source} and {other.source}"
    if first.results.class_names != other.results.class_names:
        raise ContractError(
            f"{both}: one detects {list(first.results.class_names)}, the other {list(other.results.class_names)}.",
            "Compare models of the same classes.",
        )
    remedy = "Measure both on the same data: --data FOLDER."
    if first.results.split != other.results.split:
        raise DataError(f"{both}: one was measured on {first.results.split}, one on {other.results.split}.", remedy)
    if first.results.file_names != other.results.file_names:
        apart = sorted(set(first.results.file_names) ^ set(other.results.file_names))
        culprit = f"{apart[0]!r} is only in one" if apart else "their order differs"
        raise DataError(f"{both} were measured on other pictures: {culprit}.", remedy)
    for name, one, two in zip(first.results.file_names, first.results.truths, other.results.truths, strict=True):
        if not all(np.array_equal(getattr(one, part), getattr(two, part)) for part in TRUTH_PARTS):
            raise DataError(f"{both} were measured on other annotations: {name!r} differs.", remedy)


def _compared(first: Contender, other: Contender) -> Comparison:
    one, two = (np.array(each.spec.operating_point.thresholds(each.spec.class_names)) for each in (first, other))
    return compare_matches(first.results.matches(), other.results.matches(), one, two)

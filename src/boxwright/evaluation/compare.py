"""Is one model better than another on the same pictures?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boxwright.metrics.comparison import Comparison
from boxwright.metrics.comparison import compare as compare_matches
from boxwright.runtime import ConfigError, ContractError, DataError, ModelSpec

from .evaluate import Progress, detect_split
from .results import TRUTH_PARTS, SplitResults
from .run import read_run

__all__ = ["Contender", "compare"]


@dataclass(frozen=True, eq=False)
class Contender:
    """One of the models compared.

    Attributes:
        name: of the model; its path where two have the same name.
        source: run folder or archive.
        spec: of the model.
        results: on the pictures that all models are compared on.
    """

    name: str
    source: Path
    spec: ModelSpec
    results: SplitResults


def compare(
    sources: Sequence[str | Path],
    data: str | Path | None = None,
    split: str | None = None,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
) -> tuple[tuple[Contender, ...], tuple[Comparison, ...]]:
    """Compare every further model with the first on the same pictures, by a paired bootstrap.

    Each model is measured at its own operating point.

    Args:
        sources: two or more run folders; with ``data`` also archives.
        data: folder to measure on; by default the validation detections that the runs keep are compared.
        split: of ``data``; ``valid`` by default.
        device: a torch device.
        progress: called with (pictures done, pictures in all) for each model that is measured.

    Returns:
        The models, and one comparison for each model except the first.

    Raises:
        ArchiveError: a run or archive cannot be read, or a run keeps no detections.
        ConfigError: fewer than two models, or a split without ``data``.
        ContractError: the classes of the models differ, or those of the data.
        DataError: the data cannot be read, or the models were measured on different pictures or boxes.
        MissingDependency: nothing that is installed can run a model.
    """
    if len(sources) < 2:
        raise ConfigError("One model alone cannot be compared.", "Give two or more.")
    if data is None and split not in (None, "valid"):
        raise ConfigError(f"Runs keep their detections on valid, not in {split}.", "Give --data FOLDER as well.")
    paths = [Path(source) for source in sources]
    measured = [
        read_run(path) if data is None else detect_split(path, data, split or "valid", device=device, progress=progress)
        for path in paths
    ]
    names = _names(paths, [spec for _, spec in measured])
    contenders = tuple(
        Contender(name, path, spec, results) for name, path, (results, spec) in zip(names, paths, measured, strict=True)
    )
    first, *others = contenders
    for other in others:
        _require_same(first, other)
    return contenders, tuple(_compared(first, other) for other in others)


def _names(paths: Sequence[Path], specs: Sequence[ModelSpec]) -> list[str]:
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

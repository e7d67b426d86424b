"""Whether one model is better than another, on the same pictures."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boxwright.metrics.comparison import Comparison
from boxwright.metrics.comparison import compare as compare_matches
from boxwright.runtime import ArchiveError, ConfigError, ContractError, DataError, ModelSpec
from boxwright.runtime.bundle import RUN_SPEC

from .evaluate import Progress, detect_split
from .results import RESULTS, SplitResults

__all__ = ["Contender", "compare", "read_run"]

_TRUTH = ("boxes", "labels", "crowd", "area")


@dataclass(frozen=True, eq=False)
class Contender:
    """One of the models compared.

    Attributes:
        name: of the model; its path where two have the same name.
        source: run folder or archive.
        spec: of the model.
        results: on the pictures that all are compared on.
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
    """Compare every further model with the first, each at its own operating point, by a paired bootstrap.

    Args:
        sources: two or more run folders; with ``data`` also archives.
        data: folder to measure on anew; by default the validation detections that the runs keep.
        split: of ``data``; ``valid`` by default.
        device: a torch device.
        progress: called with (pictures done, pictures in all) of each model that is measured.

    Returns:
        The models, and one comparison for every model but the first.

    Raises:
        ArchiveError: a run cannot be read, or keeps no detections.
        ConfigError: fewer than two models, or a split without ``data``.
        ContractError: their classes differ.
        DataError: they were measured on other pictures or boxes.
    """
    if len(sources) < 2:
        raise ConfigError("One model alone cannot be compared.", "Give two or more.")
    if data is None and split not in (None, "valid"):
        raise ConfigError(f"Runs keep what they found in valid, not in {split}.", "Give --data FOLDER as well.")
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


def read_run(run: Path) -> tuple[SplitResults, ModelSpec]:
    """What a run's best epoch found on validation, and its specification.

    Raises:
        ArchiveError: not the folder of a run with a trained model, or files in it that do not belong together.
    """
    if run.suffix == ".mar" and run.is_file():
        raise ArchiveError(f"{run}: an archive keeps no detections.", "Give a run folder; compare also takes --data.")
    if not run.is_dir():
        raise ArchiveError(f"{run}: no such folder.", "Give a folder that boxwright train made.")
    if not (run / RUN_SPEC).is_file():
        begun = (run / "config.yaml").is_file()
        remedy = f"Finish it: boxwright train --resume {shlex.quote(str(run))}" if begun else "Give a run folder."
        raise ArchiveError(f"{run}: holds no finished model.", remedy)
    spec, results = ModelSpec.load(run / RUN_SPEC), SplitResults.load(run / RESULTS)
    measured = spec.measured.get(results.split, {})
    if results.class_names != spec.class_names or measured.get("images") != len(results.file_names):
        raise ArchiveError(f"{run / RESULTS} and {run / RUN_SPEC} are not of one run.", "Put the right one back.")
    return results, spec


def _names(paths: Sequence[Path], specs: Sequence[ModelSpec]) -> list[str]:
    often = Counter(spec.name for spec in specs)
    return [spec.name if often[spec.name] == 1 else str(path) for path, spec in zip(paths, specs, strict=True)]


def _require_same(first: Contender, other: Contender) -> None:
    both = f"{first.source} and {other.source}"
    if first.results.class_names != other.results.class_names:
        raise ContractError(
            f"{both}: one knows {list(first.results.class_names)}, the other {list(other.results.class_names)}.",
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
        if not all(np.array_equal(getattr(one, part), getattr(two, part)) for part in _TRUTH):
            raise DataError(f"{both} were measured on other annotations: {name!r} differs.", remedy)


def _compared(first: Contender, other: Contender) -> Comparison:
    one, two = (np.array(each.spec.operating_point.thresholds(each.spec.class_names)) for each in (first, other))
    return compare_matches(first.results.matches(), other.results.matches(), one, two)

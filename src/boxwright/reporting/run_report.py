"""From run folders and evaluations to pages."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boxwright.config import load_config
from boxwright.evaluation import Evaluation
from boxwright.evaluation.analysis import analyse
from boxwright.evaluation.compare import Contender, read_run
from boxwright.evaluation.results import SplitResults
from boxwright.metrics.comparison import Comparison
from boxwright.runtime import ConfigError, DataError
from boxwright.tracking.metrics_file import read_metrics

from .comparison_page import ComparedRun, write_comparison_page
from .report_page import write_report

__all__ = ["REPORT", "missing_pictures", "report_comparison", "report_evaluation", "report_run"]

REPORT = "report.html"
"""The report in a run folder."""


def report_run(run: Path, data: Path | None = None) -> Path:
    """Write ``RUN/report.html`` from what the run folder holds.

    Args:
        run: its folder.
        data: with the pictures; where the run's settings say by default. If they are not there, the page
            has no gallery and says so.

    Returns:
        Path of the page.

    Raises:
        ArchiveError: not a finished run.
        DataError: ``data`` is given and does not hold the pictures.
    """
    results, spec = read_run(run)
    pictures = _picture_folder(run, results, data)
    at_hand = pictures is not None and _holds(pictures, results)
    if data is not None and not at_hand:
        raise DataError(f"{pictures}: holds none of the pictures of {run}.", "Give the folder it was trained on.")
    write_report(
        run / REPORT,
        spec=spec,
        results=results,
        analysis=analyse(results, spec.operating_point),
        epochs=read_metrics(run),
        pictures=pictures if at_hand else None,
        data_summary=spec.provenance.get("data"),
        source=run,
    )
    return run / REPORT


def missing_pictures(run: Path) -> str:
    """Why the report of a run has no pictures and what to do, in a sentence; empty where they are at hand.

    Raises:
        ArchiveError: not a finished run.
    """
    results, _ = read_run(run)
    pictures = _picture_folder(run, results, None)
    if pictures is not None and _holds(pictures, results):
        return ""
    gone = f"The pictures are no longer at {pictures}" if pictures else f"{run} does not say where its pictures are"
    return f"{gone}; give --data: boxwright report {shlex.quote(str(run))} --data FOLDER"


def _picture_folder(run: Path, results: SplitResults, data: Path | None) -> Path | None:
    """Where the pictures should be; None where nothing says."""
    if data is not None:
        return data / results.split
    try:
        return load_config(run / "config.yaml").data / results.split
    except ConfigError:  # a run folder of which only the model was kept
        return None


def _holds(folder: Path, results: SplitResults) -> bool:
    return any((folder / name).is_file() for name in results.file_names)


def report_evaluation(evaluation: Evaluation, data: Path, path: Path, source: Path | None = None) -> None:
    """Write a page about an evaluation.

    Args:
        evaluation: of a model on a split.
        data: folder it was measured on.
        path: of the HTML file.
        source: the run folder or archive that was measured, for the page to name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_report(
        path,
        spec=evaluation.spec,
        results=evaluation.results,
        analysis=analyse(evaluation.results, evaluation.spec.operating_point, evaluation.intervals),
        epochs=[],
        pictures=data / evaluation.split,
        source=source,
    )


def report_comparison(contenders: Sequence[Contender], comparisons: Sequence[Comparison], path: Path) -> None:
    """Write a page that lays models side by side.

    Args:
        contenders: the models, the first is what the others are compared with.
        comparisons: of all but the first.
        path: of the HTML file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    runs = [
        ComparedRun(one.name, one.spec, _epochs(one.source), analyse(one.results, one.spec.operating_point))
        for one in contenders
    ]
    write_comparison_page(path, runs, comparisons)


def _epochs(source: Path) -> list[Mapping[str, Any]]:
    return list(read_metrics(source)) if source.is_dir() else []

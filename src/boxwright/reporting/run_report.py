"""From run folders and evaluations to pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boxwright.config import load_config
from boxwright.evaluation import Evaluation
from boxwright.evaluation.analysis import analyse
from boxwright.evaluation.compare import Contender, read_run
from boxwright.metrics.comparison import Comparison
from boxwright.runtime import ConfigError
from boxwright.tracking.metrics_file import read_metrics

from .comparison_page import ComparedRun, write_comparison_page
from .report_page import write_report

__all__ = ["REPORT", "report_comparison", "report_evaluation", "report_run"]

REPORT = "report.html"
"""The report in a run folder."""


def report_run(run: Path, data: Path | None = None) -> Path:
    """Write ``RUN/report.html`` from what the run folder holds.

    Args:
        run: its folder.
        data: with the pictures; where the run's settings say by default. Without them the page has no gallery.

    Returns:
        Path of the page.

    Raises:
        ArchiveError: not a finished run.
    """
    results, spec = read_run(run)
    pictures = (data or _data_folder(run) or Path()) / results.split
    write_report(
        run / REPORT,
        spec=spec,
        results=results,
        analysis=analyse(results, spec.operating_point),
        epochs=read_metrics(run),
        pictures=pictures if pictures.is_dir() else None,
        data_summary=spec.provenance.get("data"),
    )
    return run / REPORT


def _data_folder(run: Path) -> Path | None:
    try:
        return load_config(run / "config.yaml").data
    except ConfigError:  # a run folder of which only the model was kept
        return None


def report_evaluation(evaluation: Evaluation, data: Path, path: Path) -> None:
    """Write a page about an evaluation.

    Args:
        evaluation: of a model on a split.
        data: folder it was measured on.
        path: of the HTML file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_report(
        path,
        spec=evaluation.spec,
        results=evaluation.results,
        analysis=analyse(evaluation.results, evaluation.spec.operating_point),
        epochs=[],
        pictures=data / evaluation.split,
        data_summary=evaluation.spec.provenance.get("data"),
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

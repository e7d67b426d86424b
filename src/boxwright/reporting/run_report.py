"""The page of a run folder or an evaluation, and the choice of another operating point, which writes the page anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from boxwright.archiving import model_card
from boxwright.config import CONFIG_FILE, data_of_run, load_config, save_config
from boxwright.data import local_data
from boxwright.evaluation import Evaluation
from boxwright.evaluation.analysis import Analysis, analyse
from boxwright.evaluation.evaluate import pictures_of_data
from boxwright.evaluation.operating import interval_document, measured_spec, recorded_intervals, write_spec
from boxwright.evaluation.results import SplitResults
from boxwright.evaluation.run import read_run
from boxwright.host.places import in_command, shown_place
from boxwright.inputs.stores import changed_place, local_place
from boxwright.metrics.bootstrap import Intervals
from boxwright.metrics.objective import Objective
from boxwright.runtime import BoxwrightError, DataError, ModelSpec
from boxwright.tracking.metrics_file import read_metrics

from .card_facts import facts_of_run
from .report_page import Report, write_report

__all__ = ["REPORT", "choose_threshold", "missing_pictures", "report_evaluation", "report_run"]

REPORT = "report.html"
"""The report in a run folder."""


def report_run(run: str | Path, data: str | Path | None = None, named: str | None = None) -> Path:
    """Write ``RUN/report.html`` from what the run folder holds.

    The intervals are those that were measured with the operating point, if ``spec.json`` holds them.

    Args:
        run: its folder, or a URL of it.
        data: folder with the pictures; by default the one in the run's settings. If they are not there, the
            page has no gallery and says so.
        named: what the page calls the run in commands; as it is given by default.

    Returns:
        Path of the page on this machine. Of a run at a URL it lies there as well.

    Raises:
        ArchiveError: not a finished run.
        DataError: ``data`` is given and does not hold the pictures.
    """
    with changed_place(run) as folder:
        return _report_folder(folder, data, named or shown_place(run))


def _report_folder(run: Path, data: str | Path | None, named: str) -> Path:
    results, spec = read_run(run)
    pictures = _recorded_pictures(run, results)[0] if data is None else local_data(data) / results.split
    missing = pictures is None or not _holds(pictures, results)
    if data is not None and missing:
        raise DataError(f"{pictures}: holds none of the pictures of {run}.", "Give the folder it was trained on.")
    analysis = analyse(results, spec.operating_point, recorded_intervals(spec, results.split))
    report = Report(
        spec,
        results,
        analysis,
        epochs=read_metrics(run),
        pictures=None if missing else pictures,
        data_summary=spec.provenance.get("data"),
        source=named,
        card=model_card(_with_intervals(spec, results.split, analysis), facts=facts_of_run(run, spec)),
    )
    write_report(run / REPORT, report)
    return run / REPORT


def _with_intervals(spec: ModelSpec, split: str, analysis: Analysis) -> ModelSpec:
    """The specification with the intervals that the page shows; an older run has none, or those of other thresholds."""
    measured = Intervals(analysis.intervals, analysis.class_intervals)
    figures = {**spec.measured.get(split, {}), "intervals": interval_document(measured, spec.class_names)}
    return replace(spec, measured={**spec.measured, split: figures})


def missing_pictures(run: str | Path) -> str:
    """Why the report of a run has no pictures and what to do, in a sentence; empty if it has them.

    Raises:
        ArchiveError: not a finished run.
    """
    folder = local_place(run)
    results, _ = read_run(folder)
    pictures, why = _recorded_pictures(folder, results)
    if pictures is not None and _holds(pictures, results):
        return ""
    gone = f"The pictures are no longer at {pictures}" if pictures else why
    return f"{gone}; give --data: boxwright report {in_command(shown_place(run))} --data FOLDER"


def _recorded_pictures(run: Path, results: SplitResults) -> tuple[Path | None, str]:
    """Where the pictures should be; None, and why, if that is not recorded or its storage cannot be reached."""
    place = data_of_run(run)
    if place is None:
        return None, f"{run} does not say where its pictures are"
    try:
        return local_data(place) / results.split, ""
    except BoxwrightError as error:
        return None, error.message.rstrip(".")


def _holds(folder: Path, results: SplitResults) -> bool:
    return any((folder / name).is_file() for name in results.file_names)


def report_evaluation(evaluation: Evaluation, data: Path, path: Path, source: Path | str | None = None) -> None:
    """Write a page about an evaluation; folders are made.

    Args:
        evaluation: of a model on a split.
        data: folder or annotation file it was measured on.
        path: of the HTML file.
        source: the run folder, archive or results file that was measured, to be named on the page.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    spec, results = evaluation.spec, evaluation.results
    analysis = analyse(results, spec.operating_point, evaluation.intervals)
    pictures = pictures_of_data(data, evaluation.split)
    there = pictures if _holds(pictures, results) else None
    write_report(path, Report(spec, results, analysis, pictures=there, source=source))


def choose_threshold(run: str | Path, objective: str | None = None, by_class: bool | None = None) -> ModelSpec:
    """Choose another operating point for a run, from the detections of its best epoch on validation, and write it.

    Args:
        run: its folder, or a URL of it; ``spec.json`` and ``report.html`` are written anew, and ``config.yaml``
            keeps the choice for ``--resume``.
        objective: ``f2``, ``precision>=0.95`` and the like; the present one by default.
        by_class: whether each class with enough boxes is reported from its own threshold; as it is by default.

    Returns:
        The specification as written.

    Raises:
        ArchiveError: not a finished run.
        ConfigError: the objective is unknown or cannot be attained.
    """
    with changed_place(run) as folder:
        return _choose_in_folder(folder, objective, by_class, shown_place(run))


def _choose_in_folder(run: Path, objective: str | None, by_class: bool | None, named: str) -> ModelSpec:
    results, spec = read_run(run)
    point = spec.operating_point
    wanted = Objective.parse(point.objective if objective is None else objective)
    spec = measured_spec(spec, results, wanted, point.by_class if by_class is None else by_class)
    write_spec(run, spec)
    if (run / CONFIG_FILE).is_file():
        chosen = {"objective": spec.operating_point.objective, "thresholds_by_class": spec.operating_point.by_class}
        save_config(load_config(run / CONFIG_FILE, chosen), run / CONFIG_FILE)
    report_run(run, named=named)
    return spec

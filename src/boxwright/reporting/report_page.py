"""``report.html``: one self-contained page about a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.evaluation.analysis import Analysis
from boxwright.evaluation.results import SplitResults
from boxwright.evaluation.results_files import ResultsSpec
from boxwright.metrics.figures import HEADLINE
from boxwright.metrics.interval import Interval
from boxwright.runtime import ModelSpec
from boxwright.runtime.drawing import PALETTE

from . import report_charts as charts
from . import words
from .charts import Chart
from .epochs import Curves, Line, curves_by_epoch, epoch_chart, loss_chart, median_of
from .gallery import LOWEST_SCORE, Group, gallery
from .page import write_page
from .svg import NONE, between, figure, number

__all__ = ["Report", "write_report"]

_SECTIONS = (
    ("headline", "Figures"), ("training", "Training"), ("threshold-curves", "Threshold"), ("classes", "Classes"),
    ("mistakes", "Mistakes"), ("pictures", "Pictures"), ("data", "Data"), ("provenance", "Provenance"),
)  # fmt: skip


_COLUMNS = (
    ("class", False), ("boxes", True), ("mAP", True), ("mAP50", True), ("F2", True), ("precision", True),
    ("recall", True), ("threshold", True), ("own threshold", True),
)  # fmt: skip
"""Heads of the table of classes, and whether figures stand below them."""


@dataclass(frozen=True, eq=False)
class Report:
    """What a report is made of.

    Attributes:
        spec: of the model or the results file, with its operating point.
        results: of the split that is reported on.
        analysis: of these results.
        epochs: lines of ``metrics.jsonl``; may be empty.
        pictures: folder of the split's pictures; None if they are gone.
        data_summary: counts by split: ``{"train": {"pictures": n, "boxes": n, "classes": n}, ...}``.
        source: run folder or archive that the page names in commands; None if it is not known.
        card: text of the model card; empty if there is none.
    """

    spec: ModelSpec | ResultsSpec
    results: SplitResults
    analysis: Analysis
    epochs: Sequence[Mapping[str, Any]] = ()
    pictures: Path | None = None
    data_summary: Mapping[str, Mapping[str, int]] | None = None
    source: Path | str | None = None
    card: str = ""


def write_report(path: Path, report: Report) -> None:
    """Write the page: figures with intervals, curves, mistakes, the worst pictures, and where it all comes from.

    It is one file and needs no network. Where something could not be measured it shows a dash or a sentence.

    Args:
        path: of the HTML file; an existing one is replaced.
        report: what it shows.
    """
    spec, results, analysis = report.spec, report.results, report.analysis
    curves, names, point = curves_by_epoch(report.epochs), results.class_names, spec.operating_point
    write_page(
        path,
        "report.html.j2",
        spec=spec,
        results=results,
        subtitle=_subtitle(spec, results),
        sections=_SECTIONS,
        cards=_cards(analysis),
        point=_operating_point(spec, report.source),
        notes=spec.notes if isinstance(spec, ResultsSpec) else (),
        training=_training(curves, words.best_epoch(spec)),
        speed=_speed(curves),
        curves=_drawn(charts.threshold_chart(analysis, point, names), charts.precision_recall_chart(analysis, names)),
        columns=_COLUMNS,
        rows=list(_class_rows(analysis, names, point.per_class)),
        mistakes=_drawn(
            charts.error_chart(analysis), charts.size_chart(analysis), charts.calibration_chart(analysis.calibration)
        ),
        confusion=charts.confusion_chart(analysis, names),
        gallery=_gallery(report),
        summary=_summary(report.data_summary),
        data_charts=[charts.boxes_chart(analysis, names, results.split)],
        provenance=words.origin(spec),
        details=words.details(spec),
        card=report.card,
    )


@dataclass(frozen=True)
class _Card:
    name: str
    value: float
    interval: Interval | None
    hint: str


def _subtitle(spec: ModelSpec | ResultsSpec, results: SplitResults) -> str:
    boxes = sum(int((~truth.crowd).sum()) for truth in results.truths)
    counted = (len(results.file_names), "picture", ""), (boxes, "box", "e"), (len(results.class_names), "class", "e")
    pictures, found, classes = (f"{count} {what}{f'{end}s' * (count != 1)}" for count, what, end in counted)
    counts = f"{pictures} and {found} of {classes}"
    return f"{spec.architecture}, measured on {results.split}: {counts}"


def _cards(analysis: Analysis) -> list[_Card]:
    cards = []
    for key, name in HEADLINE.items():
        value = float(getattr(analysis.figures, key))
        interval = analysis.intervals.get(key)
        known = math.isfinite(value) and interval is not None and math.isfinite(interval.low + interval.high)
        hint = "at the operating point, IoU 0.5" if key in ("precision", "recall") else ""
        cards.append(_Card(name, value, interval if known else None, hint))
    return cards


def _operating_point(spec: ModelSpec | ResultsSpec, source: Path | str | None) -> dict[str, str]:
    return {
        "sentence": words.about_point(spec),
        "command": words.command(spec, source),
        "by_class": words.about_classes(spec.operating_point, spec.class_names),
    }


@dataclass(frozen=True)
class _Cell:
    """A figure.

    Attributes:
        value: to sort by; empty if there is none.
        text: to read.
        interval: 95 %, to read; empty if there is none.
    """

    value: str
    text: str
    interval: str = ""


@dataclass(frozen=True)
class _Row:
    """A class and its figures, in the order of ``_COLUMNS``."""

    name: str
    cells: tuple[_Cell, ...]


def _class_rows(analysis: Analysis, names: Sequence[str], own: Mapping[str, float]) -> Iterator[_Row]:
    """One row per class, in the order of the class contract.

    Args:
        analysis: of a split, with the thresholds in use.
        names: class names by index.
        own: thresholds of single classes by name, whether they are in use or not.
    """
    intervals = analysis.class_intervals
    for label, (name, one) in enumerate(zip(names, analysis.figures.per_class, strict=True)):
        yield _Row(
            name,
            (
                _Cell(str(one.boxes), str(one.boxes)),
                _cell(one.map, intervals["map"][label]),
                _cell(one.map_50),
                _cell(one.f2, intervals["f2"][label]),
                _cell(one.precision),
                _cell(one.recall),
                _cell(float(analysis.thresholds[label])),
                _cell(own.get(name, math.nan)),
            ),
        )


def _cell(value: float, interval: Interval | None = None) -> _Cell:
    if not math.isfinite(value):
        return _Cell("", figure(value))
    return _Cell(repr(float(value)), figure(value), "" if interval is None else between(interval.low, interval.high))


def _drawn(*several: Chart | None) -> list[Chart]:
    return [one for one in several if one is not None]


def _training(curves: Curves, best: int | None) -> list[Chart]:
    average, f2 = (
        [Line(HEADLINE[key], curves[f"val/{key}"]) for key in keys if f"val/{key}" in curves]
        for keys in (("map", "map_50"), ("f2", "f2_macro"))
    )
    return _drawn(
        loss_chart(curves, best),
        epoch_chart("chart-map", "mAP on valid", "mAP", average, best),
        epoch_chart("chart-f2", "F2 on valid, at its best threshold", "F2", f2, best),
    )


def _speed(curves: Curves) -> str:
    """A sentence; empty if it was never measured."""
    verbs = {"train/images_per_s": "training", "val/images_per_s": "validation"}
    speeds = {verb: median_of(curves, key) for key, verb in verbs.items()}
    parts = [f"{verb} {number(speed, 1)} pictures per second" for verb, speed in speeds.items() if speed is not None]
    return f"Speed, median of the epochs: {', '.join(parts)}." if parts else ""


def _gallery(report: Report) -> dict[str, Any]:
    if report.pictures is None or not report.pictures.is_dir():
        return {"groups": (), "sentence": "The pictures were missing when this page was written."}
    analysis, results = report.analysis, report.results
    groups = gallery(results, analysis, report.pictures)
    if not any(group.pictures for group in groups):
        return {"groups": (), "sentence": "No picture with a mistake at the operating point can be shown."}
    shown, _ = words.in_table(report.spec.operating_point, report.spec.class_names)
    return {
        "groups": groups,
        "most": max(len(group.pictures) for group in groups),
        "lowest": math.floor(100 * min(LOWEST_SCORE, float(analysis.thresholds.min()))) / 100,
        "shown": shown,
        "document": _document(groups, analysis, results, shown),
    }


def _document(groups: Sequence[Group], analysis: Analysis, results: SplitResults, shown: str) -> dict[str, Any]:
    """What page.js draws the gallery from."""
    return {
        "names": results.class_names,
        "palette": PALETTE,
        "thresholds": analysis.thresholds.tolist(),
        "threshold": float(analysis.thresholds.mean()),
        "shown": shown,
        "pictures": [picture.to_document() for group in groups for picture in group.pictures],
    }


def _summary(data: Mapping[str, Mapping[str, int]] | None) -> dict[str, Any] | None:
    if not data:
        return None
    columns = list(dict.fromkeys(key for counts in data.values() for key in counts))
    rows = [(split, [counts.get(key, NONE) for key in columns]) for split, counts in data.items()]
    return {"columns": columns, "rows": rows}

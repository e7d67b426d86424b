"""``report.html``: one self-contained page about a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.evaluation.analysis import Analysis
from boxwright.evaluation.results import SplitResults
from boxwright.inputs.drawing import PALETTE
from boxwright.metrics.interval import Interval
from boxwright.runtime import ModelSpec

from . import operating_point, provenance
from .charts import Chart
from .class_table import COLUMNS, boxes_chart, class_rows
from .curves import calibration_chart, precision_recall_chart, threshold_chart
from .epochs import Curves, curves_by_epoch, epoch_chart, loss_chart, median_of
from .gallery import LOWEST_SCORE, Group, gallery
from .headline import HEADLINE
from .mistakes import confusion_chart, error_chart, size_chart
from .page import write_page
from .svg import NONE, number

__all__ = ["write_report"]

_SECTIONS = (
    ("headline", "Figures"), ("training", "Training"), ("threshold-curves", "Threshold"), ("classes", "Classes"),
    ("mistakes", "Mistakes"), ("pictures", "Pictures"), ("data", "Data"), ("provenance", "Provenance"),
)  # fmt: skip


@dataclass(frozen=True)
class _Card:
    name: str
    value: float
    interval: Interval | None
    hint: str


def write_report(
    path: Path,
    *,
    spec: ModelSpec,
    results: SplitResults,
    analysis: Analysis,
    epochs: Sequence[Mapping[str, Any]],
    pictures: Path | None,
    data_summary: Mapping[str, Mapping[str, int]] | None = None,
    source: Path | None = None,
) -> None:
    """Write the page: figures with intervals, curves, mistakes, the worst pictures, and where it all comes from.

    It is one file, asks for no network, and shows a dash or a sentence where there is nothing to measure by.

    Args:
        path: of the HTML file; what was there is replaced.
        spec: of the model, with its operating point.
        results: of the split that is reported on.
        analysis: of these results.
        epochs: lines of ``metrics.jsonl``; none will do.
        pictures: folder of the split's pictures; None where it is gone.
        data_summary: counts by split: ``{"train": {"pictures": n, "boxes": n, "classes": n}, ...}``.
        source: run folder or archive that the page names in commands; None where it is not known.
    """
    curves = curves_by_epoch(epochs)
    names = results.class_names
    write_page(
        path,
        "report.html.j2",
        spec=spec,
        results=results,
        subtitle=_subtitle(spec, results),
        sections=_SECTIONS,
        cards=_cards(analysis),
        point=_operating_point(spec, source),
        training=_training(curves, provenance.best_epoch(spec)),
        speed=_speed(curves),
        curves=_drawn(threshold_chart(analysis, spec.operating_point, names), precision_recall_chart(analysis, names)),
        columns=COLUMNS,
        rows=list(class_rows(analysis, names, spec.operating_point.per_class)),
        mistakes=_drawn(error_chart(analysis), size_chart(analysis), calibration_chart(analysis.calibration)),
        confusion=confusion_chart(analysis, names),
        gallery=_gallery(spec, results, analysis, pictures),
        summary=_summary(data_summary),
        data_charts=[boxes_chart(analysis, names, results.split)],
        provenance=provenance.origin(spec),
        details=provenance.details(spec),
    )


def _subtitle(spec: ModelSpec, results: SplitResults) -> str:
    boxes = sum(int((~truth.crowd).sum()) for truth in results.truths)
    counts = f"{len(results.file_names)} pictures and {boxes} boxes of {len(results.class_names)} classes"
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


def _operating_point(spec: ModelSpec, source: Path | None) -> dict[str, str]:
    point = spec.operating_point
    return {
        "sentence": operating_point.sentence(point, spec.class_names),
        "command": provenance.command(point, source),
        "by_class": operating_point.about_classes(point, spec.class_names),
    }


def _drawn(*several: Chart | None) -> list[Chart]:
    return [one for one in several if one is not None]


def _training(curves: Curves, best: int | None) -> list[Chart]:
    average = [(name, curves[key]) for key, name in (("val/map", "mAP"), ("val/map_50", "mAP50")) if key in curves]
    score = [("val/f2", "F2"), ("val/f2_macro", "F2, mean over classes")]
    f2 = [(name, curves[key]) for key, name in score if key in curves]
    return _drawn(
        loss_chart(curves, best),
        epoch_chart("chart-map", "mAP on valid", "mAP", average, best),
        epoch_chart("chart-f2", "F2 on valid, at its best threshold", "F2", f2, best),
    )


def _speed(curves: Curves) -> str:
    """In a sentence; empty where it was never measured."""
    verbs = {"train/images_per_s": "training", "val/images_per_s": "validation"}
    speeds = {verb: median_of(curves, key) for key, verb in verbs.items()}
    told = [f"{verb} {number(speed, 1)} pictures a second" for verb, speed in speeds.items() if speed is not None]
    return f"Speed, median of the epochs: {', '.join(told)}." if told else ""


def _gallery(spec: ModelSpec, results: SplitResults, analysis: Analysis, pictures: Path | None) -> dict[str, Any]:
    if pictures is None or not pictures.is_dir():
        return {"groups": (), "sentence": "The pictures were not at hand when this page was written."}
    groups = gallery(results, analysis, pictures)
    if not any(group.pictures for group in groups):
        return {"groups": (), "sentence": "No picture with a mistake at the operating point can be shown."}
    shown, _ = operating_point.in_table(spec.operating_point, spec.class_names)
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

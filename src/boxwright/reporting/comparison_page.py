"""``boxwright compare --html``: runs side by side and over one another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.evaluation.analysis import Analysis, analyse
from boxwright.evaluation.compare import Contender
from boxwright.evaluation.results_files import ResultsSpec
from boxwright.metrics.comparison import Comparison, Difference
from boxwright.metrics.figures import HEADLINE
from boxwright.runtime import ModelSpec
from boxwright.tracking.metrics_file import read_metrics

from .charts import Chart, Dot, Plot, Series, line_chart
from .epochs import Line, curves_by_epoch, epoch_chart
from .page import write_page
from .report_charts import THRESHOLDS
from .rows import Estimate, forest
from .svg import share_axis
from .words import compared_at, in_table, in_words, is_shared, text_of

__all__ = ["ComparedRun", "report_comparison", "write_comparison_page"]

_SECTIONS = (
    ("headline", "Figures"), ("differences", "Differences"), ("training", "Training"),
    ("threshold-curves", "Threshold"), ("classes", "Classes"), ("settings", "Settings"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """A run on a comparison page.

    Attributes:
        name: its name on the page.
        spec: of its model.
        epochs: lines of its ``metrics.jsonl``.
        analysis: of its results on the split that all runs share.
    """

    name: str
    spec: ModelSpec | ResultsSpec
    epochs: Sequence[Mapping[str, Any]]
    analysis: Analysis


def write_comparison_page(path: Path, runs: Sequence[ComparedRun], comparisons: Sequence[Comparison]) -> None:
    """Write the page: figures side by side, differences with intervals, curves over one another, settings that differ.

    Args:
        path: of the HTML file; an existing one is replaced.
        runs: two or more, measured on the same pictures.
        comparisons: of the first run with each other one, in their order.
    """
    further = list(zip(runs[1:], comparisons, strict=True))
    write_page(
        path,
        "comparison.html.j2",
        runs=runs,
        sections=_SECTIONS,
        headline=HEADLINE,
        kind="detectors" if any(isinstance(run.spec, ResultsSpec) for run in runs) else "runs",
        compared_at=compared_at({run.name: run.spec for run in runs}),
        notes=[(run.name, note) for run in runs if isinstance(run.spec, ResultsSpec) for note in run.spec.notes],
        thresholds=[in_table(run.spec.operating_point, run.spec.class_names) for run in runs],
        differences=[_headline_forest(at, runs[0], run, one) for at, (run, one) in enumerate(further, start=1)],
        sentences=[[one.sentence(runs[0].name, run.name) for one in comparison.figures] for run, comparison in further],
        training=list(_training(runs)),
        curves=[_threshold_chart(runs)],
        classes=[_class_forest(at, runs[0], run, one) for at, (run, one) in enumerate(further, start=1)],
        settings=list(_settings(runs)),
    )


def report_comparison(contenders: Sequence[Contender], comparisons: Sequence[Comparison], path: Path) -> None:
    """Write the page about models that were compared; folders are made.

    Args:
        contenders: the models; the first is the one that the others are compared with.
        comparisons: of all but the first.
        path: of the HTML file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    runs = [
        ComparedRun(
            one.name,
            one.spec,
            read_metrics(one.source) if one.source.is_dir() else (),
            analyse(one.results, one.spec.operating_point),
        )
        for one in contenders
    ]
    write_comparison_page(path, runs, comparisons)


def _headline_forest(at: int, first: ComparedRun, run: ComparedRun, comparison: Comparison) -> Chart:
    rows = [_estimate(HEADLINE[one.figure], one) for one in comparison.figures]
    return forest(f"chart-difference-{at}", f"{run.name} against {first.name}", "difference", rows)


def _estimate(name: str, one: Difference) -> Estimate:
    return Estimate(name, one.difference, (one.interval.low, one.interval.high), one.stands)


def _training(runs: Sequence[ComparedRun]) -> Iterator[Chart]:
    curves = [(run.name, curves_by_epoch(run.epochs)) for run in runs]
    wanted = (
        ("chart-loss", "Training loss", "loss", "train/loss", None),
        ("chart-map", "mAP on valid", "mAP", "val/map", 1.0),
        ("chart-f2", "F2 on valid, at its best threshold", "F2", "val/f2", 1.0),
    )
    for id_, title, label, key, top in wanted:
        chart = epoch_chart(id_, title, label, [Line(name, one.get(key, {})) for name, one in curves], top=top)
        if chart is not None:
            yield chart


def _threshold_chart(runs: Sequence[ComparedRun]) -> Chart:
    series = [
        Series(run.name, [run.analysis.curve.at(threshold) for threshold in THRESHOLDS], index)
        for index, run in enumerate(runs)
    ]
    shared = [is_shared(run.spec.operating_point, run.spec.class_names) for run in runs]
    dots = [_dot(run, index) for index, run in enumerate(runs) if shared[index]]
    x, y = share_axis("score threshold"), share_axis("F2")
    note = "Pooled over the classes, one threshold for all; dots are the operating points."
    note += "" if all(shared) else " A run with a threshold for each class has no dot."
    return line_chart("chart-threshold", "F2 by score threshold", Plot(x, y, THRESHOLDS, series, dots=dots), note)


def _dot(run: ComparedRun, index: int) -> Dot:
    at = float(run.analysis.thresholds[0])
    return Dot(at, run.analysis.curve.at(at), index)


def _class_forest(at: int, first: ComparedRun, run: ComparedRun, comparison: Comparison) -> Chart:
    differences = [average for average, _ in comparison.per_class if math.isfinite(average.difference)]
    differences.sort(key=lambda one: one.difference)
    names = first.spec.class_names
    rows = [_estimate(names[one.label], one) for one in differences if one.label is not None]
    note = "With many classes, one in twenty is significant by chance." if len(rows) > 1 else ""
    return forest(f"chart-classes-{at}", f"AP by class: {run.name} against {first.name}", "difference", rows, note=note)


def _settings(runs: Sequence[ComparedRun]) -> Iterator[tuple[str, list[str]]]:
    """The settings that differ, each with its value in every run."""
    recorded = [{**_facts(run.spec), **_trained(run)} for run in runs]
    for key in dict.fromkeys(key for facts in recorded for key in facts):
        values = [text_of(facts.get(key)) for facts in recorded]
        if len(set(values)) > 1:
            yield key, values


def _trained(run: ComparedRun) -> dict[str, int]:
    """How many epochs there were; of a training by the minutes, the setting is a plan."""
    epochs = {line["epoch"] for line in run.epochs if "val/map" in line}
    return {"epochs": len(epochs)} if epochs else {}


def _facts(spec: ModelSpec | ResultsSpec) -> dict[str, Any]:
    if isinstance(spec, ResultsSpec):
        point = in_words(spec.operating_point, spec.class_names)
        return {"architecture": spec.architecture, "operating point": point}
    settings, versions = (spec.provenance.get(key) for key in ("settings", "versions"))
    return {
        "architecture": spec.architecture,
        **(settings if isinstance(settings, Mapping) else {}),
        "weights": spec.provenance.get("weights"),
        "data fingerprint": spec.provenance.get("data_fingerprint"),
        "operating point": in_words(spec.operating_point, spec.class_names),
        **({f"version of {name}": one for name, one in versions.items()} if isinstance(versions, Mapping) else {}),
    }

"""``boxwright evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import boxwright
from boxwright.host.console import make_console, progress
from boxwright.host.places import as_given

from .options import (
    AnySource,
    DeviceOption,
    HtmlOption,
    JsonOption,
    MeasuredDataOption,
    SplitOption,
    next_line,
    print_written,
    require_file_names,
    require_not_read,
    write_json,
)
from .tables import make_table, show, show_interval

if TYPE_CHECKING:
    from rich.console import Console

    from boxwright import EndpointEvaluation, Evaluation

__all__ = ["evaluate"]


def evaluate(
    source: AnySource,
    data: MeasuredDataOption = None,
    split: SplitOption = "valid",
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Lowest score; by default the operating point, of results where F2 is highest."
        ),
    ] = None,
    boxes: Annotated[
        str | None, typer.Option(help="Of results: what the numbers of a box are; xywh by default, xyxy, cxcywh, ….")
    ] = None,
    device: DeviceOption = "cpu",
    json_file: JsonOption = None,
    html: HtmlOption = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Post the pictures to this endpoint, and compare with the model's figures."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="For --endpoint: largest difference of mAP and F2; 0.0005 for fp32."),
    ] = None,
) -> None:
    """Measure a run, an archive or the results of any tool on a split, with intervals; or an endpoint."""
    from boxwright.evaluation.run import seen_in_training
    from boxwright.inputs.stores import local_place
    from boxwright.runtime import ModelSpec

    require_file_names(json=json_file, html=html)
    _require_fitting(endpoint, {"--threshold": threshold, "--boxes": boxes, "--html": html}, {"--tolerance": tolerance})
    require_not_read([source, *([data] if data else [])], json=json_file, html=html)
    console = make_console()
    model = local_place(source)  # once: remote storage is asked what has changed
    folder = _data_of(model, data, console)
    require_not_read([folder], json=json_file, html=html)
    if endpoint is not None:
        with progress(console, "post") as advance:
            answered = boxwright.evaluate_endpoint(
                model, folder, split, url=endpoint, tolerance=tolerance, device=device, progress=advance
            )
        if json_file:
            write_json(json_file, answered.to_document())
        _print_endpoint_evaluation(console, answered)
        print_written(console, json=json_file)
        answered.require()
        return
    with progress(console, "evaluate") as advance:
        evaluation = boxwright.evaluate(
            model, folder, split, threshold=threshold, boxes=boxes, device=device, progress=advance
        )
    if json_file:
        write_json(json_file, evaluation.to_document())
    if html:
        from boxwright.reporting import report_evaluation

        report_evaluation(evaluation, folder, html, source)
    _print_evaluation(console, evaluation)
    if seen := seen_in_training(model, folder, split):
        console.print(
            f"Warning: {seen} of these pictures have name and size of one that the run was trained on: the figures are "
            "too good."
        )
    print_written(console, json=json_file, page=html)
    if isinstance(evaluation.spec, ModelSpec) and (line := next_line(source, evaluation.spec)):
        console.print(line, markup=False)


def _data_of(source: Path, data: str | None, console: Console) -> Path:
    """What to measure on; printed if it was not given."""
    from boxwright.evaluation.run import data_for

    found = data_for(source, data)
    if data is None:
        console.print(f"Data: {as_given(str(found))}")
    return found


def _require_fitting(endpoint: str | None, without: Mapping[str, object], only_with: Mapping[str, object]) -> None:
    others, how = (only_with, "needs") if endpoint is None else (without, "does not go with")
    for option, value in others.items():
        if value is not None:
            raise boxwright.ConfigError(f"{option} {how} --endpoint.", "See boxwright evaluate --help.")


def _print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """The headline with its intervals, and one line per class."""
    from boxwright.metrics.figures import HEADLINE
    from boxwright.reporting.words import about_point, measured_at
    from boxwright.runtime import ModelSpec

    document = evaluation.to_document()
    intervals = document["intervals"]
    console.print(f"{evaluation.split}: {document['images']} pictures in {document['seconds']:.1f} s")
    headline = make_table("", "", "95 % interval")
    for key, title in HEADLINE.items():
        headline.add_row(title, show(document[key]), show_interval(intervals.get(key)))
    console.print(headline)
    used = measured_at(evaluation.spec.operating_point, evaluation.spec.class_names)
    best = f"at {document['best_threshold']:.3f}: {show(document['best_f2'])}"
    console.print(f"{used}; with one score for all classes, F2 is highest on these pictures {best}")
    if not isinstance(evaluation.spec, ModelSpec):
        console.print(about_point(evaluation.spec))
        for note in evaluation.spec.notes:
            console.print(f"Note: {note}", markup=False)
    table = make_table("class", "boxes", "mAP", "mAP50", "F2", "precision", "recall")
    for name, row in document["per_class"].items():
        cells = (show(row[key]) for key in ("map", "map_50", "f2", "precision", "recall"))
        table.add_row(name, str(row["boxes"]), *cells)
    console.print(table)


def _print_endpoint_evaluation(console: Console, evaluation: EndpointEvaluation) -> None:
    """Figures of the answers beside the model's."""
    from boxwright.metrics.figures import HEADLINE
    from boxwright.reporting.words import measured_at

    figures, reference = evaluation.figures, evaluation.reference
    used = measured_at(evaluation.spec.operating_point, evaluation.spec.class_names)
    pictures = f"{figures['images']} pictures of {evaluation.split}"
    console.print(f"{evaluation.url}: {pictures} in {evaluation.seconds:.1f} s, {used}")
    table = make_table("of reported detections", "endpoint", "model", "difference")
    for key, title in {"map": "", "map_50": "", "map_75": "mAP75", **HEADLINE}.items():
        one, other = figures.get(key), reference.get(key)
        difference = "-" if one is None or other is None else f"{one - other:+.6f}"
        table.add_row(title, show(one), show(other), difference)
    console.print(table)
    console.print(f"The model's figures are from {evaluation.reference_from}; tolerance {evaluation.tolerance:g}")

"""``boxwright compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import boxwright
from boxwright.host.console import make_console, progress

from .options import (
    DeviceOption,
    HtmlOption,
    JsonOption,
    next_line,
    print_written,
    refuse_typed,
    require_file_names,
    require_not_read,
    write_json,
)
from .tables import make_table, show, show_interval

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from boxwright import Comparison, Contender
    from boxwright.metrics.comparison import Difference

__all__ = ["compare"]


def compare(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...", help="Run folders; with --data also archives and any tool's COCO results (.json)."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Measure on this folder, .zip or URL, not by the kept detections; results also on a COCO file.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="train, valid or test of --data, or of the runs' data; valid by default.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Of results: lowest score for F2; by default all are compared where F2 is highest."
        ),
    ] = None,
    device: DeviceOption = "cpu",
    json_file: JsonOption = None,
    html: HtmlOption = None,
) -> None:
    """Say whether one model is better than the first, on the same pictures."""
    from boxwright.config import data_of_run
    from boxwright.evaluation.results_files import is_results_file

    require_file_names(json=json_file, html=html)
    trained_on = [place for source in sources if (place := data_of_run(Path(source)))]
    require_not_read([*sources, *([data] if data else trained_on)], json=json_file, html=html)
    if data is None and split in (None, "valid"):
        kept = "decides nothing without --data: the detections that the runs keep are compared."
        refuse_typed(context, ["--device"], kept, "Leave it out, or give --data.")
    if all(map(is_results_file, sources)):
        refuse_typed(context, ["--device"], "decides nothing: no model is run for results files.", "Leave it out.")
    console = make_console()
    with progress(console, "evaluate") as advance:
        contenders, comparisons = boxwright.compare(
            sources, data, split, threshold=threshold, device=device, progress=advance
        )
    if json_file:
        write_json(json_file, _document(contenders, comparisons))
    if html:
        from boxwright.reporting import report_comparison

        report_comparison(contenders, comparisons, html)
    _print_comparisons(console, contenders, comparisons)
    print_written(console, json=json_file, page=html)
    if line := _next(sources, contenders, comparisons):
        console.print(line, markup=False)


def _next(sources: Sequence[str], contenders: Sequence[Contender], comparisons: Sequence[Comparison]) -> str | None:
    """What is likely typed next: about the one with the highest F2, if that is a model."""
    from boxwright.runtime import ModelSpec

    ahead = [0.0, *(comparison["f2"].difference for comparison in comparisons)]  # of the first; may be NaN
    best = ahead.index(max(one for one in ahead if one >= 0))
    spec = contenders[best].spec
    return next_line(sources[best], spec) if isinstance(spec, ModelSpec) else None


def _print_comparisons(console: Console, contenders: Sequence[Contender], comparisons: Sequence[Comparison]) -> None:
    """A sentence for every figure that is compared, and a table of the classes."""
    first = contenders[0]
    pictures = len(first.results.file_names)
    console.print(f"On the same {pictures} pictures ({first.results.split}):")
    _print_about_files(console, contenders)
    for other, comparison in zip(contenders[1:], comparisons, strict=True):
        console.print()
        for difference in comparison.figures:
            console.print(difference.sentence(first.name, other.name))
        console.print(_class_table(first, other, comparison))


def _print_about_files(console: Console, contenders: Sequence[Contender]) -> None:
    """What results files are measured at, and how they were read."""
    from boxwright.evaluation.results_files import ResultsSpec
    from boxwright.reporting.words import compared_at

    files = {one.name: one.spec.notes for one in contenders if isinstance(one.spec, ResultsSpec)}
    if not files:
        return
    console.print(compared_at({one.name: one.spec for one in contenders}), markup=False)
    for name, notes in files.items():
        for note in notes:
            console.print(f"Note: {name}: {note}", markup=False)


def _class_table(first: Contender, other: Contender, comparison: Comparison) -> Table:
    table = make_table("AP", first.name, other.name, "difference", "95 % interval", "significant")
    for name, (precision, _) in zip(first.results.class_names, comparison.per_class, strict=True):
        ends = (precision.interval.low, precision.interval.high)
        cells = (precision.first, precision.second, precision.difference)
        table.add_row(name, *map(show, cells), show_interval(ends), "yes" if precision.stands else "no")
    return table


def _document(contenders: Sequence[Contender], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """What ``--json`` writes."""
    first, *others = contenders
    return {
        "split": first.results.split,
        "images": len(first.results.file_names),
        "first": first.name,
        "measured_at": {one.name: _measured_at(one) for one in contenders},
        "comparisons": [
            {"second": other.name, **_differences(first, comparison)}
            for other, comparison in zip(others, comparisons, strict=True)
        ],
    }


def _measured_at(one: Contender) -> dict[str, Any]:
    """The thresholds of a contender by class, and what they were chosen for."""
    from boxwright.evaluation.results_files import ResultsSpec

    spec = one.spec
    thresholds = dict(zip(spec.class_names, spec.operating_point.thresholds(spec.class_names), strict=True))
    notes = list(spec.notes) if isinstance(spec, ResultsSpec) else []
    return {"objective": spec.operating_point.objective, "thresholds": thresholds, "notes": notes}


def _differences(first: Contender, comparison: Comparison) -> dict[str, Any]:
    names = first.results.class_names
    return {
        "figures": {one.figure: _difference(one) for one in comparison.figures},
        "per_class": {
            name: {one.figure: _difference(one) for one in pair}
            for name, pair in zip(names, comparison.per_class, strict=True)
        },
    }


def _difference(one: Difference) -> dict[str, Any]:
    from boxwright.metrics import none_if_nan

    low, high = one.interval.low, one.interval.high
    return {
        **{name: none_if_nan(getattr(one, name)) for name in ("first", "second", "difference")},
        "interval": None if low != low else (low, high),
        "stands": one.stands,
    }

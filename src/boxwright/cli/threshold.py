"""``boxwright threshold``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

import boxwright
from boxwright.host.console import make_console
from boxwright.host.places import in_command

from .options import next_line
from .report import print_missing_pictures
from .tables import make_table, show

if TYPE_CHECKING:
    from rich.console import Console

    from boxwright.runtime import ModelSpec, OperatingPoint

__all__ = ["threshold"]


def threshold(
    run: Annotated[str, typer.Argument(metavar="RUN_OR_MAR", help="Run folder, or its URL; to show, also an archive.")],
    objective: Annotated[
        str | None, typer.Option(help="Choose anew: f2, f1, precision>=0.95, recall>=0.9 and the like.")
    ] = None,
    by_class: Annotated[
        bool | None,
        typer.Option("--by-class/--global", help="A threshold for each class, or one for all."),
    ] = None,
) -> None:
    """Show a run's operating point, or choose another from its validation detections."""
    from boxwright.host.places import shown_place
    from boxwright.inputs.stores import local_place
    from boxwright.runtime import open_bundle
    from boxwright.runtime.bundle import RUN_SPEC

    chosen = objective is not None or by_class is not None
    spec = boxwright.choose_threshold(run, objective, by_class) if chosen else open_bundle(local_place(run)).spec
    console = make_console()
    _print_operating_point(console, spec)
    if chosen:
        shown = shown_place(run)
        anew = f"boxwright archive {in_command(shown)}"
        console.print(f"Written to {shown.rstrip('/')}/{RUN_SPEC}. Archives made earlier keep theirs: {anew}")
        print_missing_pictures(run)
    elif line := next_line(run, spec):
        console.print(line, markup=False)


def _print_operating_point(console: Console, spec: ModelSpec) -> None:
    """Where it is, how certain that is, and the thresholds of single classes."""
    from boxwright.reporting.words import in_words

    point = spec.operating_point
    measured = f"{point.value_of}{show(point.value)} on {point.split}" if point.split else "never measured"
    console.print(f"{spec.name}: {in_words(point, spec.class_names)}, for {point.objective}: {measured}")
    if point.interval:
        what = f"one score for all, {point.threshold:.3f}: " if point.by_class else ""
        low, high = (f"{end:.3f}" for end in point.interval)  # digits as of the threshold itself
        console.print(f"{what}95 % of resampled validation sets would choose {low} to {high}")
    if not point.per_class and not point.by_class:
        return
    table = make_table("class", "boxes", "own threshold", "in use")
    for name, used in zip(spec.class_names, point.thresholds(spec.class_names), strict=True):
        boxes = _boxes(spec, name)
        table.add_row(name, "-" if boxes is None else str(boxes), _own(point, name, boxes), f"{used:.3f}")
    console.print(table)


def _boxes(spec: ModelSpec, name: str) -> int | None:
    """Of how many boxes the class's threshold was chosen; None if that is not recorded."""
    measured = spec.measured.get(spec.operating_point.split or "", {})
    boxes = measured.get("per_class", {}).get(name, {}).get("boxes")
    return boxes if isinstance(boxes, int) else None


def _own(point: OperatingPoint, name: str, boxes: int | None) -> str:
    """A class's own threshold, or why it has none."""
    from boxwright.metrics.objective import MIN_BOXES

    if name in point.per_class:
        return f"{point.per_class[name]:.3f}"
    if boxes is None:
        return "-"
    if boxes < MIN_BOXES:
        return f"none: fewer than {MIN_BOXES} boxes"
    return "none: nothing detected" if point.objective.startswith("f") else f"none: {point.objective} not attained"

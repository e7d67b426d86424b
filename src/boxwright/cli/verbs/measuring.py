"""``boxwright evaluate``, ``compare``, ``threshold`` and ``report``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxwright.host.console import make_console, progress

from .options import DataOption, DeviceOption, JsonOption, Source, ThresholdOption, require_file_name, write_json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["compare", "evaluate", "report", "threshold"]

SplitOption = Annotated[str, typer.Option(help="train, valid or test.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Also write a page with charts and pictures.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]


def evaluate(
    source: Source,
    data: DataOption,
    split: SplitOption = "valid",
    threshold: ThresholdOption = None,
    device: DeviceOption = "cpu",
    json_file: JsonOption = None,
    html: HtmlOption = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Post the pictures to this endpoint, and hold it to the model's figures."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="For --endpoint: largest difference of mAP and F2; 0.0005 for fp32."),
    ] = None,
) -> None:
    """Measure a run or an archive on a split, with intervals; or an endpoint against it."""
    from boxwright import api
    from boxwright.cli.figures import print_evaluation

    require_file_name("--json", json_file)
    require_file_name("--html", html)
    _require_fitting(endpoint, {"--threshold": threshold, "--html": html}, {"--tolerance": tolerance})
    console = make_console()
    if endpoint is not None:
        _evaluate_endpoint(console, source, data, split, endpoint, tolerance, device, json_file)
        return
    with progress(console, "evaluate") as advance:
        evaluation = api.evaluate(source, data, split, threshold=threshold, device=device, progress=advance)
    if json_file:
        write_json(json_file, evaluation.to_document())
    if html:
        from boxwright.reporting.run_report import report_evaluation

        report_evaluation(evaluation, data, html, source)
    print_evaluation(console, evaluation)


def _require_fitting(endpoint: str | None, without: Mapping[str, object], only_with: Mapping[str, object]) -> None:
    from boxwright.runtime import ConfigError

    others, how = (only_with, "needs") if endpoint is None else (without, "does not go with")
    for option, value in others.items():
        if value is not None:
            raise ConfigError(f"{option} {how} --endpoint.", "See boxwright evaluate --help.")


def _evaluate_endpoint(
    console: Console,
    source: Path,
    data: Path,
    split: str,
    url: str,
    tolerance: float | None,
    device: str,
    json_file: Path | None,
) -> None:
    from boxwright import api
    from boxwright.cli.figures import print_endpoint_evaluation

    with progress(console, "post") as advance:
        evaluation = api.evaluate_endpoint(
            source, data, split, url=url, tolerance=tolerance, device=device, progress=advance
        )
    if json_file:
        write_json(json_file, evaluation.to_document())
    print_endpoint_evaluation(console, evaluation)
    evaluation.require()


def compare(
    sources: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders; archives with --data.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Measure on this folder, not by the kept validation detections.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="train, valid or test; valid by default; needs --data.")] = None,
    device: DeviceOption = "cpu",
    json_file: JsonOption = None,
    html: HtmlOption = None,
) -> None:
    """Say whether one model is better than the first, on the same pictures."""
    from boxwright import api
    from boxwright.cli.figures import comparison_document, print_comparisons

    require_file_name("--json", json_file)
    require_file_name("--html", html)
    console = make_console()
    with progress(console, "evaluate") as advance:
        contenders, comparisons = api.compare(sources, data, split, device=device, progress=advance)
    if json_file:
        write_json(json_file, comparison_document(contenders, comparisons))
    if html:
        from boxwright.reporting.run_report import report_comparison

        report_comparison(contenders, comparisons, html)
    print_comparisons(console, contenders, comparisons)


def threshold(
    run: Run,
    objective: Annotated[
        str | None, typer.Option(help="Choose anew: f2, f1, precision>=0.95, recall>=0.9 and the like.")
    ] = None,
    by_class: Annotated[
        bool | None,
        typer.Option("--by-class/--global", help="A threshold for each class, or one for all."),
    ] = None,
) -> None:
    """Show a run's operating point, or choose another from its validation detections."""
    from boxwright import api
    from boxwright.cli.figures import print_operating_point
    from boxwright.runtime import ModelSpec
    from boxwright.runtime.bundle import RUN_SPEC

    chosen = objective is not None or by_class is not None
    spec = api.choose_threshold(run, objective, by_class) if chosen else ModelSpec.load(run / RUN_SPEC)
    console = make_console()
    print_operating_point(console, spec)
    if chosen:
        anew = f"boxwright archive {shlex.quote(str(run))}"
        console.print(f"Written to {run / RUN_SPEC}. Archives made earlier keep theirs: {anew}")
        _say_missing_pictures(run)


def report(
    run: Run,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with the pictures, if it has moved since training.")
    ] = None,
) -> None:
    """Write a run's report.html anew."""
    from boxwright import api

    typer.echo(f"Report: {api.report(run, data)}")
    if data is None:
        _say_missing_pictures(run)


def _say_missing_pictures(run: Path) -> None:
    from boxwright.reporting.run_report import missing_pictures

    missing = missing_pictures(run)
    if missing:
        typer.echo(missing)

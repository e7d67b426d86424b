"""``boxwright train``, ``boxwright models`` and ``boxwright demo``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxwright.host.console import make_console

from .options import shown_with_interval

if TYPE_CHECKING:
    from boxwright.runtime import ModelSpec

__all__ = ["demo", "models", "train"]

_INTERRUPTED = 130


def train(
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG.yaml]", help="Settings.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with train/, valid/ and optionally test/.")] = None,
    model: Annotated[str | None, typer.Option(help="Architecture; see 'boxwright models'.")] = None,
    weights: Annotated[str | None, typer.Option(help="auto, none, imagenet, coco, or a file.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder that holds the runs.")] = None,
    cache: Annotated[str | None, typer.Option(help="Keep resized pictures: off, ram or disk.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be repeated.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Continue this run with its settings.")] = None,
) -> None:
    """Train a detector; Ctrl-C leaves a run that --resume continues."""
    from boxwright import api
    from boxwright.config import parse_assignment
    from boxwright.runtime import ConfigError

    settings: dict[str, Any] = {
        "data": data, "model": model, "weights": weights, "epochs": epochs, "name": name, "out": out,
        "cache": cache,
    }  # fmt: skip
    given = {key: value for key, value in settings.items() if value is not None}
    given |= dict(parse_assignment(text) for text in assignments or [])
    if resume and (given or config):
        raise ConfigError("--resume takes the run's own settings.", "Leave the others out, or start a new run.")
    result = api.resume(resume) if resume else api.train(config, **given)
    _report_training(result.folder, result.spec, result.interrupted)


def _report_training(folder: Path, spec: ModelSpec | None, interrupted: bool) -> None:
    if spec is not None:
        from boxwright.reporting.operating_point import measured_at

        figures, used = spec.measured["valid"], measured_at(spec.operating_point, spec.class_names)
        best = int(spec.provenance["best_epoch"]) + 1
        typer.echo(
            f"Best epoch {best}: mAP {shown_with_interval(figures, 'map')}, F2 {shown_with_interval(figures, 'f2')} "
            f"{used} (valid)"
        )
        typer.echo(f"Report: {folder / 'report.html'}")
    elif not interrupted:
        typer.echo("Fast dev run: one batch of training and validation went through; nothing was kept.")
        return
    typer.echo(f"Run: {folder}")
    if interrupted:
        typer.echo(f"Interrupted. To continue: boxwright train --resume {shlex.quote(str(folder))}")
        raise typer.Exit(_INTERRUPTED)


def models() -> None:
    """List the architectures."""
    from rich.table import Table

    from boxwright.models import CATALOGUE

    table = Table("name", "canvas", "weights", "for", box=None)
    for column in table.columns[:3]:
        column.no_wrap = True
    for name, row in CATALOGUE.items():
        offered = {"imagenet": row.backbone_weights, "coco": row.coco_weights}
        weights = ", ".join(["none", *(key for key, member in offered.items() if member)])
        table.add_row(name, f"{row.image_size[0]} x {row.image_size[1]}", weights, row.summary)
    make_console().print(table)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("boxwright-demo"),
) -> None:
    """Draw a small data set, train on it, measure, pack, serve and ask: the whole path in two minutes."""
    from boxwright import api

    api.require_train_extra()
    from boxwright.cli.demo import run_demo

    run_demo(out, typer.echo)

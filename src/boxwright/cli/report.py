"""``boxwright report``."""

from __future__ import annotations

from pathlib import Path

import typer

import boxwright

from .options import MovedDataOption, Run

__all__ = ["print_missing_pictures", "report"]


def report(run: Run, data: MovedDataOption = None) -> None:
    """Write a run's report.html anew."""
    typer.echo(f"Report: {boxwright.report(run, data)}")
    if data is None:
        print_missing_pictures(run)


def print_missing_pictures(run: Path) -> None:
    """Print why a report has no pictures, if it has none."""
    from boxwright.reporting import missing_pictures

    if missing := missing_pictures(run):
        typer.echo(missing)

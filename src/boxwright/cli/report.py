"""``boxwright report``."""

from __future__ import annotations

import typer

import boxwright

from .options import MovedDataOption, Run

__all__ = ["print_missing_pictures", "report"]


def report(run: Run, data: MovedDataOption = None) -> None:
    """Write a run's report.html anew."""
    from boxwright.host.places import is_url, shown_place

    page = boxwright.report(run, data)
    where = f"{shown_place(run).rstrip('/')}/{page.name}" if is_url(run) else page
    typer.echo(f"Report: {where}")
    if data is None:
        print_missing_pictures(run)


def print_missing_pictures(run: str) -> None:
    """Print why a report has no pictures, if it has none."""
    from boxwright.reporting import missing_pictures

    if missing := missing_pictures(run):
        typer.echo(missing)

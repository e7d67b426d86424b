"""The command line: every verb under one name."""

from __future__ import annotations

from typing import Annotated

import typer

from .verbs import archives, data, measuring, serving, speed, training

__all__ = ["app"]

app = typer.Typer(
    name="boxwright",
    help="A folder of COCO annotations goes in; a detector behind an HTTP endpoint comes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        from boxwright import __version__

        typer.echo(f"boxwright {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A folder of COCO annotations goes in; a detector behind an HTTP endpoint comes out."""


for verb in (
    data.check,
    data.convert,
    training.train,
    measuring.evaluate,
    measuring.compare,
    measuring.threshold,
    measuring.report,
    archives.export,
    archives.archive,
    archives.adopt,
    serving.predict,
    serving.serve,
    speed.bench,
    training.models,
    training.demo,
):
    app.command()(verb)

"""``boxwright tune``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

import boxwright
from boxwright.host.places import in_command

from .options import settings_of

if TYPE_CHECKING:
    from boxwright import TuneResult

__all__ = ["tune"]

_INTERRUPTED = 130


def tune(
    minutes: Annotated[float, typer.Option(help="In all; half of them search, the rest trains default and best.")],
    place: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Folder, .zip or URL with train/, valid/ and perhaps test/.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="The same as an option.")] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="Search among these; by default the one chosen for the data.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="Of the search's folder; an interrupted one of this name goes on.")
    ] = "tune",
    out: Annotated[str, typer.Option(help="Folder that holds it.")] = "runs",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting that is not searched.")
    ] = None,
    on: Annotated[
        str | None, typer.Option("--on", metavar="CLUSTER", help="On Ray: ray, HOST:PORT or ray://HOST:PORT.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="With --on, so many trainings at once; as the cluster has devices.")
    ] = None,
) -> None:
    """Search for settings that train better, and say whether they do."""
    given = settings_of({}, assignments or [])
    found = _data(place, data)
    if given.keys() & {"data", "minutes", "models", "name", "out", "run_trial", "run_final", "at_once", "console"}:
        raise boxwright.ConfigError("--set is for settings of a training.", "Give the others as options of tune.")
    try:
        with _runner(on, devices) as runner:
            result = boxwright.tune(found, minutes, models=models or (), name=name, out=out, **runner, **given)
    except KeyboardInterrupt:
        typer.echo("Interrupted. The same command lets it go on.")
        raise typer.Exit(_INTERRUPTED) from None
    _print_result(result)


def _data(place: str | None, option: str | None) -> str:
    """What is searched for, however it is named."""
    named = {one for one in (place, option) if one is not None}
    if len(named) == 1:
        return named.pop()
    if named:
        raise boxwright.ConfigError(f"The data is given twice, as {place} and {option}.", "Keep one.")
    raise boxwright.ConfigError("There is no data to search with.", "Type: boxwright tune DATA --minutes N")


@contextmanager
def _runner(on: str | None, devices: int | None) -> Iterator[dict[str, Any]]:
    """What ``tune`` is told of where its trainings run."""
    if on is None:
        if devices is not None:
            raise boxwright.ConfigError("--devices is for a search on a cluster.", "Add --on ray, or leave it out.")
        yield {}
        return
    from boxwright.scale import connected
    from boxwright.scale.search import on_cluster

    with connected(on, partial(typer.echo, err=True)):
        yield on_cluster(devices)


def _print_result(result: TuneResult) -> None:
    tried = len(result.trials)
    ended = sum(one.state == "pruned" for one in result.trials)
    typer.echo(f"{tried} trials, {ended} of them ended early.")
    if result.best is None or result.comparison is None:
        typer.echo(f"None was better than the default settings. Run: {result.default}")
        return
    first, second = result.contenders
    typer.echo(f"Trained equally long, on {len(first.results.file_names)} pictures ({first.results.split}):")
    for difference in result.comparison.figures:
        typer.echo(difference.sentence(first.name, second.name))
    if first.results.split == "valid":
        typer.echo("The settings were chosen on these pictures, which flatters them: a test/ split would not.")
    typer.echo(f"Page: {result.folder / 'comparison.html'}")
    f2 = result.comparison["f2"]
    if f2.stands and f2.difference < 0:
        typer.echo(f"The default settings are better. Run: {result.default}")
        return
    typer.echo(f"Run: {result.best}")
    settings = in_command(result.folder / "settings.yaml")
    typer.echo(f"To train longer with these settings: boxwright train {settings} --name NAME --minutes N")

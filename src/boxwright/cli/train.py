"""``boxwright train``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import boxwright
from boxwright.host.places import in_command

from .options import settings_of
from .tables import show_with_interval

if TYPE_CHECKING:
    from boxwright import RunResult

__all__ = ["train"]

_INTERRUPTED = 130


def train(
    config: Annotated[
        str | None,
        typer.Argument(metavar="DATA or CONFIG.yaml", help="Folder, .zip or URL of the data, or a file of settings."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Folder, .zip or URL with train/, valid/ and optionally test/.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Architecture; see 'boxwright models'. By default chosen.")] = None,
    weights: Annotated[str | None, typer.Option(help="auto, none, imagenet, coco, a file, or a run folder.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split, at most.")] = None,
    minutes: Annotated[float | None, typer.Option(help="End in about this time; plans the epochs.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder or URL that holds the runs.")] = None,
    devices: Annotated[str | None, typer.Option(help="Train on so many at once: a number, or auto.")] = None,
    on: Annotated[
        str | None, typer.Option("--on", metavar="CLUSTER", help="Train on Ray: ray, HOST:PORT or ray://HOST:PORT.")
    ] = None,
    tile: Annotated[int | None, typer.Option(help="See larger pictures in windows of so many pixels.")] = None,
    overlap: Annotated[float | None, typer.Option(help="Share that neighbouring windows have in common.")] = None,
    cache: Annotated[str | None, typer.Option(help="Keep resized pictures: off, ram or disk.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting; also as --key VALUE.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Continue this run with its settings; with --data, --devices, --on at most."),
    ] = None,
) -> None:
    """Train a detector; Ctrl-C leaves a run that --resume continues."""
    settings: dict[str, Any] = {
        "data": data, "model": model, "weights": weights, "epochs": epochs, "minutes": minutes, "name": name,
        "out": out, "cache": cache, "devices": devices, "tile": tile, "overlap": overlap,
    }  # fmt: skip
    given = settings_of(settings, assignments or [])
    if resume and (config or set(given) - {"data", "devices"}):
        remedy = (
            "With it, only --data (if the data has moved), --devices and --on can be given. Change other settings in "
            "the run's config.yaml, or start a new run."
        )
        raise boxwright.ConfigError("--resume takes the run's own settings.", remedy)
    if on:
        from boxwright.scale.cluster import require_cluster
        from boxwright.scale.training import launcher

        require_cluster(on)
        given["launch"] = launcher(on, partial(typer.echo, err=True))
    result = boxwright.resume(resume, **given) if resume else boxwright.train(config, **given)
    _print_result(result, f" --on {in_command(on)}" if on else "")


def _print_result(result: RunResult, where: str) -> None:
    """Print what a training found, and what to type next.

    Args:
        result: of it.
        where: options that say where it ran, for the commands that train on.
    """
    from lightning.pytorch.utilities import rank_zero_only

    spec, folder = result.spec, result.store or str(result.folder)
    again = f"boxwright train --resume {in_command(folder)}{where}"
    if cast(Any, rank_zero_only).rank:  # torchrun or Slurm started several, and the first one speaks
        if result.interrupted:
            raise typer.Exit(_INTERRUPTED)
        return
    if spec is not None:
        from boxwright.reporting.words import measured_at

        figures, used = spec.measured["valid"], measured_at(spec.operating_point, spec.class_names)
        best = int(spec.provenance["best_epoch"]) + 1
        both = ", ".join(f"{name} {show_with_interval(figures, key)}" for name, key in (("mAP", "map"), ("F2", "f2")))
        typer.echo(f"Best epoch {best}: {both} {used} (valid)")
        typer.echo(f"Report: {folder}/report.html")
    elif not result.interrupted:
        typer.echo("Fast dev run: one batch of training and validation was run; nothing was kept, no folder either.")
        return
    if result.interrupted and not result.folder.exists() and result.store is None:
        typer.echo("Interrupted; of a fast dev run nothing is kept, no folder either.")
        raise typer.Exit(_INTERRUPTED)
    typer.echo(f"Run: {folder}")
    if result.interrupted and spec is None:
        typer.echo(f"Interrupted in the first epoch, so there is no model yet. To start it again: {again}")
        raise typer.Exit(_INTERRUPTED)
    if result.interrupted:
        typer.echo(f"Interrupted. To continue: {again}")
        raise typer.Exit(_INTERRUPTED)
    if spec is not None:
        typer.echo(_next(folder, result.folder, spec.finds_hardly_anything, where))


def _next(run: str, folder: Path, poor: bool, where: str) -> str:
    """What to type after a training."""
    from boxwright.config import CONFIG_FILE, data_of_run, load_config
    from boxwright.training.world import started_by_another

    if poor:
        data, config = in_command(data_of_run(folder)), load_config(folder / CONFIG_FILE)
        size = config.image_size
        canvas = ""
        if isinstance(size, tuple):
            canvas = f" --image-size {size[0]}" if size[0] == size[1] else f" --set 'image_size=[{size[0]}, {size[1]}]'"
        tile = f" --tile {config.tile}" if config.tile else ""
        weights = in_command(folder)  # also of a run in remote storage: its copy here
        if config.devices not in (None, 1) and not started_by_another():
            where = f" --devices {config.devices}{where}"
        longer = f"boxwright train --data {data} --model {config.model}{canvas}{tile} --weights {weights} --minutes 60"
        return f"It finds hardly anything yet. To go on training from here: {longer}{where}"
    return f"Next: boxwright archive {in_command(run)}"

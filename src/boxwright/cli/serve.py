"""``boxwright serve``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import boxwright

from .options import BackendOption, DeviceOption, PrecisionOption

if TYPE_CHECKING:
    from boxwright.serving.engine import Engine

__all__ = ["serve"]


def serve(
    archives: Annotated[list[Path], typer.Argument(metavar="MAR...", help="Archives to serve.")],
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "auto",
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Processors that one picture may use.")] = None,
    sessions: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Pictures at the same time, each with its own network.")
    ] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Serve archives at TorchServe's URLs until Ctrl-C, as 'boxwright bench' found best here."""
    asked = boxwright.Execution(backend, precision, device, threads, sessions)
    boxwright.serve(archives, host, port, asked, on_ready=_announce)


def _announce(engine: Engine, base: str) -> None:
    for name, model in engine.models.items():
        for note in model.choice.notes:
            typer.echo(note, err=True)
        spec = model.predictor.spec
        typer.echo(f"{name} {model.version}: {base}/predictions/{name}")
        typer.echo(f"  {model.choice.execution}: {model.choice.reason}.")
        typer.echo(f"  {', '.join(spec.class_names)}; reports from score {_scores(model.predictor.thresholds)}")
    typer.echo(f"Try: curl -T picture.jpg {base}/predictions/{next(iter(engine.models))}")


def _scores(thresholds: Sequence[float]) -> str:
    low, high = min(thresholds), max(thresholds)
    return f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}, by class"

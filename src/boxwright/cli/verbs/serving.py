"""``boxwright archive``, ``boxwright predict`` and ``boxwright serve``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxwright.terminal import make_console, progress

from .options import DeviceOption, JsonOption, Source, ThresholdOption, require_file_name, write_json

if TYPE_CHECKING:
    from boxwright.serving.engine import Engine

__all__ = ["archive", "predict", "serve"]


def archive(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    name: Annotated[str | None, typer.Option(help="Model name in the URL; the run's by default.")] = None,
    version: Annotated[str, typer.Option(help="Model version.")] = "1.0",
    store: Annotated[Path, typer.Option(help="Folder for the archive.")] = Path("model-store"),
    gate: Annotated[
        bool, typer.Option("--gate", help="Serve it first, and release it only if it answers as in training.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="For --gate: the folder with valid/, if it has moved since training.")
    ] = None,
) -> None:
    """Pack a run into a .mar for 'boxwright serve' and for TorchServe."""
    from boxwright import api
    from boxwright.runtime import ConfigError

    if data is not None and not gate:
        raise ConfigError("--data is for --gate.", "Give both, or neither.")
    with progress(make_console(), "gate") as advance:
        mar = api.archive(
            run, name=name, version=version, store=store, gate=gate, data=data, say=typer.echo, progress=advance
        )
    typer.echo(f"Archive: {mar}")


def predict(
    source: Source,
    pictures: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Pictures, or folders of them.")],
    threshold: ThresholdOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures with their boxes drawn.")] = None,
    device: DeviceOption = "cpu",
    json_file: JsonOption = None,
) -> None:
    """Detect on pictures."""
    from boxwright.cli.prediction import predict_files
    from boxwright.runtime import Predictor

    require_file_name("--json", json_file)
    predictor = Predictor(source, threshold=threshold, device=device)
    results, failed = predict_files(predictor, pictures, out, typer.echo)
    if json_file:
        write_json(json_file, results)
    for error in failed:
        typer.echo(f"Error: {error}", err=True)
    if failed:
        raise typer.Exit(2)


def serve(
    archives: Annotated[list[Path], typer.Argument(metavar="MAR...", help="Archives to serve.")],
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    device: DeviceOption = "cpu",
) -> None:
    """Serve archives at TorchServe's URLs until Ctrl-C."""
    from boxwright.serving.server import serve as run_server

    run_server(archives, host, port, device, on_ready=_announce)


def _announce(engine: Engine, base: str) -> None:
    for name, model in engine.models.items():
        spec = model.predictor.spec
        typer.echo(f"{name} {model.version}: {base}/predictions/{name}")
        typer.echo(f"  {', '.join(spec.class_names)}; reports from score {_scores(model.predictor.thresholds)}")
    typer.echo(f"Try: curl -T picture.jpg {base}/predictions/{next(iter(engine.models))}")


def _scores(thresholds: Sequence[float]) -> str:
    low, high = min(thresholds), max(thresholds)
    return f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}, by class"

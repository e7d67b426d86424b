"""``boxwright predict`` and ``boxwright serve``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxwright.host.console import make_console, progress

from .options import (
    BackendOption,
    DeviceOption,
    JsonOption,
    PrecisionOption,
    Source,
    ThresholdOption,
    require_file_name,
    write_json,
)

if TYPE_CHECKING:
    from boxwright.serving.engine import Engine

__all__ = ["predict", "serve"]


def predict(
    source: Source,
    pictures: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Pictures, folders of them, videos; URLs with --urls.")
    ],
    threshold: ThresholdOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures and videos with their boxes drawn.")] = None,
    urls: Annotated[bool, typer.Option("--urls", help="Fetch pictures given as http:// or https://.")] = False,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Of a video, take each Nth frame.")] = 1,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "auto",
    device: DeviceOption = "cpu",
    json_file: JsonOption = None,
) -> None:
    """Detect on pictures and videos."""
    from boxwright.cli.prediction import plan, predict_all, quiet_video_library
    from boxwright.inputs import Predictor

    require_file_name("--json", json_file)
    quiet_video_library()
    tasks = plan(pictures, out, urls=urls)
    predictor = Predictor(source, threshold=threshold, backend=backend, precision=precision, device=device)
    typer.echo(f"Backend {predictor.execution.variant}", err=True)
    console = make_console()
    with progress(console, "predict") as advance:
        results, failed = predict_all(
            predictor, tasks, console.out, advance, urls=urls, every=every, keep=json_file is not None
        )
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
    backend: BackendOption = "auto",
    precision: PrecisionOption = "auto",
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Processors one picture may use.")] = None,
    sessions: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Pictures at the same time, each with a network of its own.")
    ] = None,
    device: DeviceOption = "cpu",
) -> None:
    """Serve archives at TorchServe's URLs until Ctrl-C, as 'boxwright bench' found best here."""
    from boxwright.runtime import Execution
    from boxwright.serving.server import serve as run_server

    asked = Execution(backend, precision, device, threads, sessions)
    run_server(archives, host, port, asked, on_ready=_announce)


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

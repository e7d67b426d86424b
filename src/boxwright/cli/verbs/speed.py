"""``boxwright bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from boxwright.host.console import make_console, progress

from .options import BackendOption, DeviceOption, JsonOption, PrecisionOption, require_file_name, write_json

__all__ = ["bench"]


def bench(
    archive: Annotated[Path, typer.Argument(metavar="MAR", help="Archive.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of pictures to measure on; made-up ones by default.")
    ] = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "auto",
    batch: Annotated[str, typer.Option(metavar="N,N...", help="Pictures a call.")] = "1,4",
    seconds: Annotated[float, typer.Option(help="Measured for each setting and batch size.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, help="In so many parts, alternating with the other settings.")] = 3,
    device: DeviceOption = "cpu",
    json_file: JsonOption = None,
) -> None:
    """Measure how fast an archive runs on this machine, in each way it can; 'serve' then takes the best."""
    from boxwright import api
    from boxwright.cli.speed import print_bench

    require_file_name("--json", json_file)
    console = make_console()
    with progress(console, "bench") as advance:
        result = api.bench(
            archive,
            data,
            backend=backend,
            precision=precision,
            batches=_batches(batch),
            seconds=seconds,
            rounds=rounds,
            device=device,
            advance=advance,
        )
    if json_file:
        write_json(json_file, result.to_document())
    print_bench(console, result)
    if not result.runs:
        raise typer.Exit(2)


def _batches(text: str) -> list[int]:
    from boxwright.runtime import ConfigError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise ConfigError(f"--batch {text!r} does not fit.", "Give numbers of pictures, as in 1,4.")
    return [int(part) for part in parts]

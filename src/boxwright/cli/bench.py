"""``boxwright bench``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

import boxwright
from boxwright.host.console import make_console, progress, spoken

from .options import (
    BackendOption,
    DeviceOption,
    JsonOption,
    PrecisionOption,
    print_written,
    require_file_names,
    require_not_read,
    write_json,
)

if TYPE_CHECKING:
    from rich.console import Console

    from boxwright.host.machine import Machine
    from boxwright.tuning.bench import Bench

__all__ = ["bench"]


def bench(
    archive: Annotated[str, typer.Argument(metavar="MAR_OR_RUN", help="Archive, or its URL; of a run PyTorch alone.")],
    data: Annotated[
        str | None,
        typer.Option("--data", help="Folder, .zip or URL of pictures to measure on; else made-up ones."),
    ] = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = "auto",
    batch: Annotated[str, typer.Option(metavar="N,N...", help="Pictures per call.")] = "1,4",
    seconds: Annotated[float, typer.Option(help="Measured for each execution and batch size.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, help="In so many parts, alternating with the other executions.")] = 3,
    device: DeviceOption = "cpu",
    json_file: JsonOption = None,
) -> None:
    """Measure how fast an archive runs on this machine, in each way it can; 'serve' then takes the best."""
    from boxwright.host.places import in_command, shown_place
    from boxwright.inputs.stores import local_place
    from boxwright.runtime import open_bundle

    require_file_names(json=json_file)
    require_not_read([archive, *([data] if data else [])], json=json_file)
    console = make_console()
    model = local_place(archive)  # once: remote storage is asked what has changed
    with progress(console, "bench") as advance:
        result = boxwright.bench(
            model, data, backend=backend, precision=precision, batches=_batches(batch), seconds=seconds,
            rounds=rounds, device=device, advance=advance, begin=partial(_announce, console),
        )  # fmt: skip
    if json_file:
        write_json(json_file, result.to_document())
    print_written(console, json=json_file)
    _print_bench(console, result)
    tile = open_bundle(model).spec.input.tile
    if tile is not None:
        console.print(f"This model sees pictures over {tile} pixels in windows; each 'picture' above is one window.")
    if not result.runs:
        raise typer.Exit(2)
    console.print(f"Next: boxwright serve {in_command(shown_place(archive))}", markup=False)


def _announce(console: Console, processes: int, seconds: float) -> None:
    console.print(
        f"Measuring in {processes} processes, about {spoken(seconds)}; --seconds, --backend and --batch shorten it"
    )


def _batches(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise boxwright.ConfigError(f"--batch {text!r} does not fit.", "Give numbers of pictures, as in 1,4.")
    return [int(part) for part in parts]


def _print_bench(console: Console, bench: Bench) -> None:
    """The machine, one line per execution, the best first, what failed, and what ``serve`` will do."""
    from rich.table import Table

    from boxwright.tuning.store import execution_of

    console.print(_machine(bench.machine))
    console.print(_pictures(bench))
    if bench.runs:
        figures = ("pictures/s", "lowest to highest", "ms p50", "ms p99", "page faults", "peak MiB")
        table = Table("backend", "precision", "threads", "sessions", "batch", *figures, box=None)
        for run in bench.runs:
            names = (str(run[key]) for key in ("backend", "precision", "threads", "sessions", "batch"))
            spread = f"{run['images_per_s_low']:.2f} to {run['images_per_s_high']:.2f}"
            latencies = (f"{run[key]:.1f}" for key in ("latency_ms_p50", "latency_ms_p99"))
            memory = (_show(run["page_faults_per_image"]), _show(run["peak_rss_mib"]))
            table.add_row(*names, f"{run['images_per_s']:.2f}", spread, *latencies, *memory)
        console.print(table)
        console.print("ms: time of one call while all sessions are busy. page faults: per picture.")
    for run in bench.failed:
        console.print(f"Not measured: {execution_of(run)}, batch {run['batch']}: {run['reason']}")
    for note in bench.stored.notes:
        console.print(note)
    console.print(_stored(bench))


def _machine(machine: Machine) -> str:
    extras = ", ".join(machine.instruction_sets) or "instruction sets unknown"
    runtimes = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    processor = f"{machine.processor}, cores: {machine.cores} ({extras})"
    return f"{machine.gpu or processor}; {runtimes}; machine fingerprint {machine.fingerprint}"


def _pictures(bench: Bench) -> str:
    pictures = bench.pictures
    unusable = f" Not usable: {len(pictures.unusable)}, first: {pictures.unusable[0]}" if pictures.unusable else ""
    if pictures.preprocess_ms is None:
        before = "for the time that decoding takes, give your own with --data."
    else:
        before = f"decoding and resizing one takes {pictures.preprocess_ms:.1f} ms, not counted below."
    return f"Pictures: {len(pictures.canvases)} of {pictures.source}; {before}{unusable}"


def _stored(bench: Bench) -> str:
    from boxwright.tuning.store import execution_of

    if not bench.runs:
        return "Nothing could be measured."
    if bench.stored.path is None:
        return "Not stored: boxwright serve will not know of it."
    if bench.best is None:
        return f"Stored in {bench.stored.path}; boxwright serve uses none of it: not proved, or only batches."
    return f"Stored in {bench.stored.path}; boxwright serve will run {execution_of(bench.best)}."


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"

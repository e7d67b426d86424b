"""What ``boxwright bench`` found, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boxwright.host.machine import Machine
from boxwright.tuning.bench import Bench
from boxwright.tuning.store import execution_of

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_bench"]


def print_bench(console: Console, bench: Bench) -> None:
    """The machine, a line a setting, best first, what failed, and what ``serve`` will do."""
    from rich.table import Table

    console.print(_machine(bench.machine))
    console.print(_pictures(bench))
    if bench.runs:
        figures = ("pictures/s", "lowest to highest", "ms p50", "ms p99", "page faults", "peak MiB")
        table = Table("backend", "precision", "threads", "sessions", "batch", *figures, box=None)
        for run in bench.runs:
            names = (str(run[key]) for key in ("backend", "precision", "threads", "sessions", "batch"))
            spread = f"{run['images_per_s_low']:.2f} to {run['images_per_s_high']:.2f}"
            latencies = (f"{run[key]:.1f}" for key in ("latency_ms_p50", "latency_ms_p99"))
            memory = (_shown(run["page_faults_per_image"]), _shown(run["peak_rss_mib"]))
            table.add_row(*names, f"{run['images_per_s']:.2f}", spread, *latencies, *memory)
        console.print(table)
        console.print("ms: of one call, all sessions busy; page faults: a picture.")
    for run in bench.failed:
        console.print(f"Not measured: {execution_of(run)}, batch {run['batch']}: {run['reason']}")
    _print_stored(console, bench)


def _machine(machine: Machine) -> str:
    extras = ", ".join(machine.instruction_sets) or "instruction sets unknown"
    runtimes = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    processor = f"{machine.processor}, cores: {machine.cores} ({extras})"
    return f"{machine.gpu or processor}; {runtimes}; fingerprint {machine.fingerprint}"


def _pictures(bench: Bench) -> str:
    pictures = bench.pictures
    unusable = f" Not usable: {len(pictures.unusable)}, first: {pictures.unusable[0]}" if pictures.unusable else ""
    if pictures.preprocess_ms is None:
        before = "for the time that decoding takes, give your own with --data."
    else:
        before = f"decoding and resizing one takes {pictures.preprocess_ms:.1f} ms, not counted below."
    return f"Pictures: {len(pictures.canvases)} of {pictures.source}; {before}{unusable}"


def _print_stored(console: Console, bench: Bench) -> None:
    for note in bench.stored.notes:
        console.print(note)
    if not bench.runs:
        console.print("Nothing could be measured.")
    elif bench.stored.path is None:
        console.print("Not stored: boxwright serve will not know of it.")
    elif bench.best is None:
        console.print(f"Stored in {bench.stored.path}; boxwright serve uses none of it: not proved, or batches alone.")
    else:
        console.print(f"Stored in {bench.stored.path}; boxwright serve will run {execution_of(bench.best)}.")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"

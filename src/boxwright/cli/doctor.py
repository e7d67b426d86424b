"""``boxwright doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from boxwright.host.console import make_console, stages

from .options import JsonOption, require_file_names, write_json
from .tables import make_table

if TYPE_CHECKING:
    from rich.console import Console

    from boxwright.tuning.doctor import Diagnosis

__all__ = ["USES", "doctor"]

USES = {
    "train": "train, tune, archive, export",
    "hf": "RT-DETRv2, D-FINE, DEIMv2, RF-DETR",
    "grpc": "serve --grpc-port",
    "openvino": "a backend, the fastest on many processors",
    "video": "predict on videos",
    "tensorboard": "figures in TensorBoard",
    "mlflow": "figures in MLflow",
    "tune": "search for settings",
    "ray": "--on ray: a cluster",
    "torchserve": "TorchServe itself, to compare with",
    "urls": "data and runs at s3:// and other URLs",
}
"""What each extra is for, in a few words."""

_GIB = 2**30


def doctor(json_file: JsonOption = None) -> None:
    """Say what is installed, what runs here and how fast, and what is missing. Exit code 1 if no model can run."""
    from boxwright.tuning.doctor import examine

    require_file_names(json=json_file)
    console = make_console()
    with stages(console) as advance:
        found = examine(advance)
    if json_file:
        document = {**asdict(found), "machine": found.machine.to_document()}
        document["folders"] = [{**one, "path": one["path"] and str(one["path"])} for one in document["folders"]]
        write_json(json_file, document)
    _print(console, found)
    if all(one.problem for one in found.backends):
        raise typer.Exit(1)


def _print(console: Console, found: Diagnosis) -> None:
    machine = found.machine
    console.print(f"boxwright {found.boxwright}, Python {machine.python}, {machine.system}")
    extras = f" ({', '.join(machine.instruction_sets)})" if machine.instruction_sets else ""
    console.print(f"Processor: {machine.processor}, cores: {machine.cores}{extras}")
    console.print(f"Memory: {_gib(machine.memory_bytes)}, free: {_gib(found.free_memory)}")
    console.print(f"GPU: {', '.join(found.gpus) or 'none that PyTorch can use'}\n")
    backends = make_table("backend", "version", "fp32, GFLOP/s", "ready after", "")
    for one in found.backends:
        speed = "-" if one.gflops is None else f"{one.gflops:.0f}"
        ready = "-" if one.load_s is None else f"{one.load_s:.1f} s"
        why = "" if one.problem is None else f"{one.problem}: {one.remedy}" if one.remedy else one.problem
        backends.add_row(one.name, one.version or "-", speed, ready, why)
    console.print(backends)
    console.print("A matrix product of 1024 x 1024, the best of seven. Of your model: boxwright bench MODEL.mar\n")
    parts = make_table("part", "for", "")
    for extra in found.extras:
        there = ", ".join(f"{name} {version}" for name, version in extra.installed.items())
        missing = f"pip install 'boxwright[{extra.name}]'"
        parts.add_row(extra.name, USES.get(extra.name, ""), missing if extra.missing else there)
    console.print(parts)
    console.print()
    for folder in found.folders:
        state = folder.problem or f"{_gib(folder.free)} free"
        console.print(f"Folder for {folder.use}: {folder.path or '-'} ({state})")
    for sentence in found.advice:
        console.print(f"Note: {sentence}")


def _gib(count: int | None) -> str:
    return "unknown" if count is None else f"{count / _GIB:.1f} GiB"

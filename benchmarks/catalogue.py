"""Every architecture on the same drawn data: how fast it learns, what it is served with, and how equal its exports are.

    python benchmarks/catalogue.py --out FOLDER [--minutes 5] [--canvas 256] [--rounds 3]
    [--model NAME ...] [--prepare-only]

Each architecture in a process of its own, from scratch, with ``minutes`` on the demo's data; then its archive with ONNX
proved on the validation pictures, and ``bench`` of every backend on one picture at a time. All on the same canvas (the
nearest multiple of the architecture's stride), so that the rows can be compared; their own canvases differ. ``!`` marks
exports whose mAP or F2 is further from the trained network's than ``boxwright archive`` accepts by itself. What is
there already in FOLDER is not measured again. With ``--prepare-only`` nothing is timed but the trainings' epochs: two
such commands with other names of ``--model`` may share a machine, each pinned to its own half, before one without it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boxwright
from boxwright.data import draw_demo_data
from boxwright.models import CATALOGUE
from boxwright.parity.agreement import COMPARED, TOLERANCES
from boxwright.runtime import Execution, ModelSpec, OutOfTolerance
from boxwright.runtime.bundle import RUN_SPEC

_HEADS = (
    *("model", "parameters, M", "s per epoch", "epochs", "mAP", "mAP50", "F2"),
    *("exports differ, px", "archive, MiB", "latency, ms, by backend"),
)
LARGER = {"rfdetr_nano": 288, "rfdetr_small": 288, "rfdetr_medium": 288}
"""Canvases of those that have more queries than 256 x 256 has places."""


def main() -> None:
    """Measure what is missing, then print the table."""
    options = _options()
    if options.one:
        _archived(options, _trained(options)[0]) if options.prepare_only else _measure(options)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    if not (options.out / "data").is_dir():
        draw_demo_data(options.out / "data")
    for name in options.model or CATALOGUE:
        if not (options.out / f"{name}.json").is_file():
            command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
            if subprocess.run(command).returncode:
                print(f"{name}: failed", file=sys.stderr)
    _print([json.loads(file.read_text()) for file in sorted(options.out.glob("*.json"))])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--canvas", type=int, default=256)
    parser.add_argument("--model", nargs="*")
    parser.add_argument("--rounds", type=int, default=3, help="of bench")
    parser.add_argument("--prepare-only", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


def _trained(options: argparse.Namespace) -> tuple[Path, ModelSpec]:
    """The run of ``options.one`` and what was measured, trained unless it is there."""
    folder, stride = options.out / "runs" / options.one, CATALOGUE[options.one].stride
    if not (folder / RUN_SPEC).is_file():
        boxwright.train(
            data=options.out / "data",
            name=options.one,
            out=folder.parent,
            model=options.one,
            weights="none",
            image_size=LARGER.get(options.one, round(options.canvas / stride) * stride),
            minutes=options.minutes,
            wandb="off",
        )
    return folder, ModelSpec.load(folder / RUN_SPEC)


def _archived(options: argparse.Namespace, folder: Path) -> Path:
    """The archive of a run, made unless it is there."""
    archive = options.out / "store" / f"{options.one}.mar"
    if not archive.is_file():
        try:
            boxwright.archive(folder, store=archive.parent, precisions=("fp32", "int8"))
        except OutOfTolerance as error:  # of a network that has hardly learned; the table marks it
            print(f"{options.one}: {error}", file=sys.stderr)
            boxwright.archive(folder, store=archive.parent, precisions=("fp32", "int8"), tolerance=1.0)
    return archive


def _measure(options: argparse.Namespace) -> None:
    import torch

    from boxwright.tracking.metrics_file import read_metrics

    name, (folder, spec) = options.one, _trained(options)
    epochs = [line for line in read_metrics(folder) if "train/images_per_s" in line]
    speed = statistics.median(line["train/images_per_s"] for line in epochs)
    weights = torch.load(folder / "model_state_dict.pth", weights_only=True)
    figures = spec.measured["valid"]
    row: dict[str, Any] = {
        "model": name,
        "parameters": sum(one.numel() for one in weights.values()) / 1e6,
        "epoch": spec.provenance["data"]["train"]["pictures"] / speed,
        "epochs": len(epochs),
        **{key: figures[key] for key in ("map", "map_50", "f2")},
    }
    archive = _archived(options, folder)
    exports = boxwright.inspect(archive).spec.exports
    measured = boxwright.bench(archive, options.out / "data" / "valid", batches=(1,), seconds=2, rounds=options.rounds)
    row["exports"] = {variant: export["largest_box_difference"] for variant, export in exports.items()}
    row["beyond"] = [variant for variant, export in exports.items() if _is_beyond(variant, export)]
    row["size"] = archive.stat().st_size / 2**20
    row["latency"] = {}
    for one in measured.runs:
        variant = f"{one['backend']}-{one['precision']}"
        row["latency"][variant] = min(one["latency_ms_p50"], row["latency"].get(variant, one["latency_ms_p50"]))
    (options.out / f"{name}.json").write_text(json.dumps(row, indent=1))


def _is_beyond(variant: str, export: Mapping[str, Any]) -> bool:
    """Whether mAP or F2 differ from the trained network's by more than an archive accepts by itself."""
    largest = max(abs(export[key] - export[f"{key}_before"]) for key in COMPARED)
    return bool(largest > TOLERANCES[Execution.of_variant(variant).precision].figures)


def _print(rows: list[dict[str, Any]]) -> None:
    print(f"| {' | '.join(_HEADS)} |")
    print(f"| {' | '.join('---' for _ in _HEADS)} |")
    for row in rows:
        marks = {name: " !" if name in row["beyond"] else "" for name in row["exports"]}
        exports = ", ".join(f"{name} {value:.2g}{marks[name]}" for name, value in row["exports"].items())
        latency = ", ".join(f"{name} {value:.1f}" for name, value in row["latency"].items())
        cells = [row["model"], f"{row['parameters']:.1f}", f"{row['epoch']:.0f}", str(row["epochs"])]
        cells += [f"{row[key]:.3f}" for key in ("map", "map_50", "f2")]
        cells += [exports, f"{row['size']:.0f}", latency]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

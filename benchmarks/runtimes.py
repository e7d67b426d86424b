"""One picture through every runtime and precision, side by side: how long, and how far from what the processor can do.

    python benchmarks/runtimes.py --archive MAR --pictures FOLDER [--count 6] [--rounds 3]

"plain" is torchvision's model as a user gets it: eager fp32, torchvision's own transform, the C library's memory
settings untouched; the same weights, the same canvases. Each measurement is a process of its own, which sees every
picture once before it counts: a runtime's memory grows until it has seen the picture that needs most. They take turns.
The floor is the network's FLOPs on these pictures (how many boxes it pools depends on them) over the processor's peak,
measured by a convolution of 256 channels in the same run.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.host.memory import keep_freed_memory
from boxwright.parity.agreement import TOLERANCES
from boxwright.runtime import Bundle, Variant, open_bundle, preprocess
from boxwright.runtime.backends import open_backend

PLAIN = "plain"


def main() -> None:
    """Measure in turns and print a table."""
    options = _options()
    if options.variant:
        print(json.dumps(_measure(options)))
        return
    variants = [PLAIN, "torch-fp32", "torch-bf16", *_exported(open_bundle(options.archive))]
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in dict.fromkeys(variants)}
    for number in range(options.rounds):
        for name in rounds if number % 2 == 0 else reversed(rounds):
            rounds[name].append(_in_a_process(options, name))
            print(f"round {number + 1}, {name}: {rounds[name][-1]}", file=sys.stderr, flush=True)
    peaks = _in_a_process(options, "peak")
    _report(rounds, peaks, open_bundle(options.archive).spec.exports)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    return parser.parse_args()


def _exported(bundle: Bundle) -> list[str]:
    return [name for name in bundle.spec.exports if not name.startswith("torch")]


def _in_a_process(options: argparse.Namespace, variant: str) -> dict[str, float]:
    given = ["--archive", options.archive, "--pictures", options.pictures, "--count", options.count]
    command = [sys.executable, __file__, *map(str, given), "--variant", variant]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _measure(options: argparse.Namespace) -> dict[str, float]:
    bundle = open_bundle(options.archive)
    paths = sorted(options.pictures.glob("*.jpg"))[: options.count]
    canvases = [preprocess(path, bundle.spec.input)[0][None] for path in paths]
    if options.variant == "peak":
        return _peaks(bundle, canvases)
    detect = _plain(bundle) if options.variant == PLAIN else _backend(bundle, Variant.parse(options.variant))
    for canvas in canvases:
        detect(canvas)
    times, faults = [], _faults()
    for canvas in canvases:
        started = time.perf_counter()
        detect(canvas)
        times.append(1000 * (time.perf_counter() - started))
    return {
        "ms": round(statistics.median(times), 2),
        "faults": round((_faults() - faults) / len(canvases)),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _backend(bundle: Bundle, variant: Variant) -> Callable[[np.ndarray], object]:
    keep_freed_memory()
    return open_backend(bundle, variant.backend, variant.precision).backend.detect


def _plain(bundle: Bundle) -> Callable[[np.ndarray], object]:
    import torch
    from torchvision.models import detection as tv

    spec = bundle.spec
    sizes: dict[str, Any] = {"min_size": spec.input.height, "max_size": spec.input.width}
    if spec.architecture.startswith("ssd"):
        sizes = {}
    builder = getattr(tv, spec.architecture)
    model = builder(weights=None, weights_backbone=None, num_classes=len(spec.classes) + 1, **sizes).eval()
    model.load_state_dict(torch.load(io.BytesIO(bundle.weights), weights_only=True))

    def detect(canvas: np.ndarray) -> object:
        with torch.no_grad():
            return model([torch.from_numpy(canvas[0]).float() / 255])

    return detect


def _peaks(bundle: Bundle, canvases: Sequence[np.ndarray]) -> dict[str, float]:
    """GFLOP of a picture, on average, and GFLOP/s of a convolution in fp32 and bf16."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from boxwright.runtime.backends.torch import load_network

    network = load_network(bundle).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        for canvas in canvases:
            network(torch.from_numpy(canvas))
    measured = {"gflop": counter.get_total_flops() / len(canvases) / 1e9}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        layer = torch.nn.Conv2d(256, 256, 3, padding=1, bias=False).to(kind).to(memory_format=torch.channels_last)
        image = torch.randn(1, 256, 160, 160).to(kind).to(memory_format=torch.channels_last)
        times = []
        with torch.inference_mode():
            for _ in range(20):
                started = time.perf_counter()
                layer(image)
                times.append(time.perf_counter() - started)
        measured[name] = 2 * 256 * 256 * 9 * 160 * 160 / min(times) / 1e9
    return measured


def _report(rounds: dict[str, list[dict[str, float]]], peaks: dict[str, float], proofs: Mapping[str, Any]) -> None:
    floors = {name: 1000 * peaks["gflop"] / peaks[name] for name in ("fp32", "bf16")}
    print(f"{peaks['gflop']:.1f} GFLOP; convolution peak fp32 {peaks['fp32']:.0f}, bf16 {peaks['bf16']:.0f} GFLOP/s; "
          f"floors {floors['fp32']:.1f} and {floors['bf16']:.1f} ms")  # fmt: skip
    heads = (
        "runtime",
        "ms, median (min to max)",
        "against plain, pair by pair",
        "of the floor",
        "faults",
        "peak MiB",
        "mAP",
        "F2",
        "in budget",
    )
    print(f"| {' | '.join(heads)} |\n| {' | '.join('---' for _ in heads)} |")
    plain = [one["ms"] for one in rounds[PLAIN]]
    for name, measured in rounds.items():
        times = [one["ms"] for one in measured]
        ratios = [other / own for own, other in zip(times, plain, strict=True)]
        floor = floors.get("fp32" if name == PLAIN else name.rpartition("-")[2])
        share = f"{100 * floor / statistics.median(times):.0f} %" if floor else "-"
        print(
            f"| {name} | {statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f}) "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {share} "
            f"| {max(one['faults'] for one in measured):.0f} | {max(one['peak_mib'] for one in measured):.0f} "
            f"| {_accuracy(name, proofs.get(name))} |"
        )


def _accuracy(name: str, proof: Mapping[str, Any] | None) -> str:
    """By how much mAP and F2 changed on validation, by the archive's proof, and whether that is little enough."""
    if proof is None:
        return " | | "
    changes = [proof[key] - proof[f"{key}_before"] for key in ("map", "f2")]
    kept = max(map(abs, changes)) <= TOLERANCES[name.rpartition("-")[2]].figures
    return f"{changes[0]:+.4f} | {changes[1]:+.4f} | {'yes' if kept else 'no'}"


if __name__ == "__main__":
    main()

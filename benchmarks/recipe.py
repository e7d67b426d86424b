"""What each part of a recipe brings: the recipe without it, on part of a data set, with several seeds.

    python benchmarks/recipe.py --data DATA/aquarium --weights WEIGHTS --out FOLDER [--seeds 2] [--only NAME ...]

Every run differs from the recipe in one setting. The table gives mAP and F2 of each on validation, and the mean
difference from the recipe over the seeds, each seed against its own: a difference smaller than the spread of the
recipe's own seeds says nothing. What is in FOLDER already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from devices import subset

RECIPE: dict[str, Any] = {
    "model": "fasterrcnn_mobilenet_v2_fpn_v2",
    "epochs": 10,
    "image_size": [320, 256],
    "batch_size": 2,
    "learning_rate": 1.5e-4,
    "ema": 0.998,
    "multi_scale": 0.25,
    "wandb": "off",
}
CHANGES: dict[str, dict[str, Any]] = {
    "recipe": {},
    "without the moving average": {"ema": 0.0},
    "without multi-scale": {"multi_scale": 0.0},
    "mosaic, off for the last two epochs": {"augmentation": "strong", "close_mosaic": 2},
    "mosaic to the end": {"augmentation": "strong", "close_mosaic": 0},
    "rare classes repeated": {"repeat_threshold": 0.3},
    "two stages trained": {"trainable_stages": 2},
    "all stages trained": {"trainable_stages": 6},
    "twice the rate": {"learning_rate": 3e-4},
    "the older network": {"model": "fasterrcnn_mobilenet_v2_fpn"},
    "one stage on the same pictures": {"model": "ssdlite320_mobilenet_v3_large", "weights": "none"},
    "more pixels": {"image_size": [448, 352]},
}
PICTURES = {"train": 150, "valid": 60}


def main() -> None:
    """Train what is missing, then print the table."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    data = subset(options.data, options.out / "data", PICTURES)
    names = options.only or list(CHANGES)
    found = {name: [_run(options, data, name, seed) for seed in range(options.seeds)] for name in names}
    _print(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=list(CHANGES))
    return parser.parse_args()


def _run(options: argparse.Namespace, data: Path, name: str, seed: int) -> dict[str, float]:
    """Figures of one training, in a process of its own."""
    run = f"{list(CHANGES).index(name):02d}-{seed}"
    told = options.out / f"{run}.json"
    if not told.is_file():
        settings = {**RECIPE, "weights": options.weights, **CHANGES[name], "seed": seed}
        assignments = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
        command = [sys.executable, "-m", "boxwright", "train", "--data", data, "--name", run, "--out", options.out]
        subprocess.run([*map(str, command), *assignments], check=True)
        spec = json.loads((options.out / run / "spec.json").read_text())
        told.write_text(json.dumps({key: spec["measured"]["valid"][key] for key in ("map", "f2")}))
    document: dict[str, float] = json.loads(told.read_text())
    return document


def _print(found: dict[str, list[dict[str, float]]]) -> None:
    print("| | mAP by seed | F2 by seed | mAP, difference | F2, difference |")
    print("| --- | --- | --- | --- | --- |")
    for name, runs in found.items():
        cells = [" ".join(f"{run[key]:.3f}" for run in runs) for key in ("map", "f2")]
        cells += [_difference(runs, found.get("recipe", []), key) for key in ("map", "f2")]
        print(f"| {name} | {' | '.join(cells)} |")


def _difference(runs: list[dict[str, float]], recipe: list[dict[str, float]], key: str) -> str:
    if runs is recipe or not recipe:
        return ""
    each = [run[key] - other[key] for run, other in zip(runs, recipe, strict=True)]
    return f"{statistics.mean(each):+.3f} ({min(each):+.3f} to {max(each):+.3f})"


if __name__ == "__main__":
    main()

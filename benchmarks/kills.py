"""Kill trainings at random moments, resume them, and compare what they learned with a training that was not killed.

    python benchmarks/kills.py --data DEMO [--kills 20] [--seed 0]

Each family is trained once without interruption. Then trainings with the same settings are killed (SIGKILL) after a
random time, again and again, and resumed until they end. Prints one line per kill; ends with 1 if a bit differs.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

FAMILIES = {
    "fasterrcnn_tiny_fpn": ["image_size=96", "augmentation=strong", "ema=0.9"],
    "ssdlite320_mobilenet_v3_large": ["image_size=320", "multi_scale=0.2"],
    "deimv2_atto": ["image_size=320", "total_batch=8", "ema=0.99"],
}
COMMON = ["weights=none", "epochs=3", "wandb=off", "checkpoint_minutes=0.02", "workers=1", "batch_size=4"]
DONE = 2  # exit code of a resumption of a finished run, among others
LEARNED = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "global_step")


def main() -> None:
    """See the module."""
    options = _options()
    luck = random.Random(options.seed)
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, family in enumerate(FAMILIES):
            began = time.monotonic()
            whole = _train(_new(options.data, Path(folder), f"{family}-whole", family), None)
            assert whole == 0, f"{family} could not be trained: {whole}"
            seconds = time.monotonic() - began
            expected = _learned(Path(folder) / f"{family}-whole")
            kills = options.kills // len(FAMILIES) + (number < options.kills % len(FAMILIES))
            different += _kill(family, kills, seconds, options.data, Path(folder), expected, luck)
    print(f"{options.kills} kills, {different} runs that differ")
    sys.exit(1 if different else 0)


def _kill(
    family: str, kills: int, seconds: float, data: Path, folder: Path, expected: dict[str, Any], luck: random.Random
) -> int:
    """Kill so often, in as many runs as that takes; returns how many ended differently."""
    different = number = 0
    while kills:
        name = f"{family}-{number}"
        number += 1
        call = _new(data, folder, name, family)
        while True:
            after = luck.uniform(0.3, 1.0) * seconds if kills else None
            code = _train(call, after)
            if code == 0 or (code == DONE and (folder / name / "spec.json").is_file()):  # killed after its end
                break
            assert code == -signal.SIGKILL, f"{name} ended with {code}"
            kills -= 1
            print(f"{name}: killed after {after:.1f} s of {seconds:.1f}", flush=True)
            if (folder / name / "config.yaml").is_file():
                call = _command("--resume", folder / name)
        equal = _same(_learned(folder / name), expected)
        different += not equal
        print(f"{name}: {'the same bits' if equal else 'DIFFERENT'}", flush=True)
    return different


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "boxwright", "train", *map(str, arguments)]


def _new(data: Path, out: Path, name: str, family: str) -> list[str]:
    settings = [f"--set={one}" for one in (*COMMON, *FAMILIES[family])]
    return _command("--data", data, "--out", out, "--name", name, "--model", family, *settings)


def _train(call: list[str], kill_after: float | None) -> int:
    """Run a command; returns its exit status, which is minus 9 if it was killed."""
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return process.wait(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _learned(run: Path) -> dict[str, Any]:
    checkpoints = {}
    for name in ("best", "last"):
        checkpoint = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        checkpoints[name] = {key: checkpoint[key] for key in LEARNED if key in checkpoint}
        checkpoints[name]["figures"] = checkpoint["boxwright"]["figures"]
    return checkpoints


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


if __name__ == "__main__":
    main()

"""The whole data check against merely decoding every picture with Pillow.

Every measurement is a process of its own, started, run and ended; the variants take turns, round
after round, with the same number of processes or threads. A first round fills the disk cache and is
not counted.

    python benchmarks/check.py --data AQUARIUM [--rounds 9] [--workers 2]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}

DECODE = """
import sys
from concurrent.futures import {pool}
from PIL import Image

def decode(path):
    Image.open(path).load()

if __name__ == "__main__":
    workers, paths = int(sys.argv[1]), sys.stdin.read().splitlines()
    with {pool}(workers) as pool:
        list(pool.map(decode, paths{chunks}))
"""
CHECK = """
import sys
from pathlib import Path
from boxwright.data import inspect_folder

sys.stdin.read()
inspect_folder(Path(sys.argv[2]), workers=int(sys.argv[1]))
"""
COMMAND = "import sys; sys.argv = ['boxwright', 'check', sys.argv[2]]; from boxwright.cli import main; main()"
VARIANTS = {
    "Pillow, processes": DECODE.format(pool="ProcessPoolExecutor", chunks=", chunksize=16"),
    "Pillow, threads": DECODE.format(pool="ThreadPoolExecutor", chunks=""),
    "inspect_folder": CHECK,
    "boxwright check": COMMAND,
}


def main() -> None:
    """Measure every variant in turn and print the medians and the spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    paths = sorted(path for path in options.data.glob("*/*") if path.suffix.lower() in SUFFIXES)
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for number in range(options.rounds + 1):
        for name, code in VARIANTS.items():
            took = _time(code, options.workers, options.data, paths)
            if number:
                seconds[name].append(took)
    _report(seconds, len(paths))


def _time(code: str, workers: int, data: Path, paths: list[Path]) -> float:
    command = [sys.executable, "-c", code, str(workers), str(data)]
    started = time.perf_counter()
    subprocess.run(command, input="\n".join(map(str, paths)), text=True, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def _report(seconds: dict[str, list[float]], pictures: int) -> None:
    plain = seconds["Pillow, processes"]
    print(f"{pictures} pictures")
    print("| variant | seconds, median (min to max) | against Pillow in processes, pair by pair |")
    print("| --- | --- | --- |")
    for name, rounds in seconds.items():
        ratios = [own / other for own, other in zip(rounds, plain, strict=True)]
        print(
            f"| {name} | {statistics.median(rounds):.3f} ({min(rounds):.3f} to {max(rounds):.3f}) "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )


if __name__ == "__main__":
    main()

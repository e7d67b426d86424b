"""How often 95 % intervals hold the truth, on made-up detectors whose true figures are known.

The figures are those of infinitely many pictures; the detectors are ``tests/support/simulation.py``.
``usual``: scores tell good boxes from bad. ``flat``: they do not, and precision follows noise
everywhere. ``strong``: almost no mistakes. The last column is the kind of interval that is in use.

    python benchmarks/coverage.py [--repetitions 500] [--pictures 100 300] [--resamples 500]
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.metrics.bootstrap import bootstrap_fbeta, bootstrap_figures, with_all_once
from boxwright.metrics.interval import Interval, corrected_interval, percentile_interval
from boxwright.metrics.objective import Objective, choose

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.simulation import Kind, World

THRESHOLD = 0.35
USUAL = World()
STRONG = (Kind(0.6, 0.7, 0.995, 6.0, 2.5, 0.5, 0.9), Kind(0.4, 1.45, 0.97, 4.0, 1.8, 1.75, 0.85))
WORLDS = {
    "usual": USUAL,
    "flat": replace(USUAL, kinds=tuple(replace(kind, harmony=0.0) for kind in USUAL.kinds)),
    "strong": replace(USUAL, kinds=STRONG, strays=(0.3, 0.3, 0.2)),
}
Samples = dict[str, NDArray[np.float64]]
Held = dict[tuple[str, str], bool]


def percentile(samples: NDArray[np.float64], _: int) -> Interval:
    """The middle 95 %."""
    return percentile_interval(samples[1:])


def basic(samples: NDArray[np.float64], _: int) -> Interval:
    """The percentile interval mirrored at the estimate."""
    middle = percentile_interval(samples[1:])
    return Interval(2 * samples[0] - middle.high, 2 * samples[0] - middle.low)


def bias_corrected(samples: NDArray[np.float64], _: int) -> Interval:
    """Efron's BC: other percentiles, by how many samples lie below the estimate."""
    normal, count = NormalDist(), len(samples) - 1
    below = np.sum(samples[1:] < samples[0]) + np.sum(samples[1:] == samples[0]) / 2
    shift = 2 * normal.inv_cdf(min(max(below, 1), count - 1) / count)
    ends = np.quantile(samples[1:], [normal.cdf(shift - 1.96), normal.cdf(shift + 1.96)])
    return Interval(*ends.tolist())


def uncorrected(samples: NDArray[np.float64], pictures: int) -> Interval:
    """The estimate and t times its standard error."""
    centred = samples[1:] - samples[1:].mean() + samples[0]
    return corrected_interval(samples[0], centred, pictures, -1.0)


def corrected(samples: NDArray[np.float64], pictures: int) -> Interval:
    """The same with the bias subtracted."""
    return corrected_interval(samples[0], samples[1:], pictures, -1.0)


KINDS: dict[str, Callable[[NDArray[np.float64], int], Interval]] = {
    "percentile": percentile,
    "basic": basic,
    "BC": bias_corrected,
    "t": uncorrected,
    "t, bias taken off": corrected,
}


def truths(world: World) -> dict[str, float]:
    """The figures of infinitely many pictures, and how much lower those of a weaker detector are."""
    weaker, classes = replace(world, skill=0.95), range(len(world.boxes))
    known = {
        "mAP": world.true_map(),
        "mAP50": world.true_map((0.5,)),
        "F2": world.true_fbeta(THRESHOLD),
        "macro F2": float(np.mean([world.true_fbeta(THRESHOLD, [label]) for label in classes])),
        "AP of the rarest class": world.true_ap(classes[-1]),
        "F2 of the rarest class": world.true_fbeta(THRESHOLD, [classes[-1]]),
        "threshold chosen for F2": world.best_threshold(),
    }
    known["difference of mAP"] = weaker.true_map() - known["mAP"]
    known["difference of F2"] = weaker.true_fbeta(THRESHOLD) - known["F2"]
    return known


def one_repetition(world: World, known: dict[str, float], pictures: int, resamples: int, seed: int) -> Held:
    """Draw pictures, resample them, and see which intervals hold the truth."""
    scene = world.scene(pictures, seed)
    matches = world.detect(scene, seed + 1_000_000)
    other = replace(world, skill=0.95).detect(scene, seed + 2_000_000)
    counts = with_all_once(pictures, resamples, seed)
    first, second = (bootstrap_figures(one, THRESHOLD, counts) for one in (matches, other))
    samples: Samples = {
        "mAP": first.figures["map"],
        "mAP50": first.figures["map_50"],
        "F2": first.figures["f2"],
        "macro F2": first.figures["f2_macro"],
        "AP of the rarest class": first.by_class["map"][:, -1],
        "F2 of the rarest class": first.by_class["f2"][:, -1],
        "difference of mAP": second.figures["map"] - first.figures["map"],
        "difference of F2": second.figures["f2"] - first.figures["f2"],
    }
    held = {
        (figure, kind): known[figure] in make(column, pictures)
        for figure, column in samples.items()
        for kind, make in KINDS.items()
    }
    choice = choose(matches, Objective.parse("f2"), resamples, seed)
    chosen = bootstrap_fbeta(matches, choice.threshold, counts).figures["f2"]
    there = world.true_fbeta(choice.threshold)
    held |= {("F2 at the threshold chosen", kind): there in make(chosen, pictures) for kind, make in KINDS.items()}
    held["threshold chosen for F2", "percentile"] = known["threshold chosen for F2"] in choice.interval
    return held


def main() -> None:
    """Print a table for each detector and number of pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--pictures", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with ProcessPoolExecutor(options.workers) as pool:
        for name, world in WORLDS.items():
            known = truths(world)
            for pictures in options.pictures:
                work = partial(one_repetition, world, known, pictures, options.resamples)
                repetitions = list(pool.map(work, range(options.repetitions), chunksize=10))
                print(f"\n{name}, {pictures} pictures, {options.repetitions} repetitions of {options.resamples}\n")
                _report(known, repetitions)


def _report(known: dict[str, float], repetitions: list[Held]) -> None:
    shares: dict[str, dict[str, Any]] = defaultdict(dict)
    for figure, kind in repetitions[0]:
        shares[figure][kind] = f"{100 * np.mean([held[figure, kind] for held in repetitions]):.1f} %"
    print(f"| figure | truth | {' | '.join(KINDS)} |")
    print("| --- " * (2 + len(KINDS)) + "|")
    for figure, by_kind in shares.items():
        truth = f"{known[figure]:.4f}" if figure in known else ""
        print(f"| {figure} | {truth} | {' | '.join(by_kind.get(kind, '') for kind in KINDS)} |")


if __name__ == "__main__":
    main()

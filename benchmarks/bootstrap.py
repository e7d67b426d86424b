"""A thousand paired resamples of two detectors against one AP of pycocotools, at the size of COCO val2017.

The resamples give mAP, mAP50 and F2 of both, all and by class, with the intervals of the differences.
Every measurement is a process of its own; the variants take turns, round after round. A process makes
the data of ``benchmarks/metrics.py``, reads its own clock before and after the work, and its greatest
memory.

    python benchmarks/bootstrap.py [--rounds 3] [--pictures 5000] [--boxes 36000] [--resamples 1000]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from boxwright.metrics import GroundTruth, Matches, match_detections
from boxwright.runtime import Detections
from metrics import CLASSES, PER_PICTURE, pycocotools_ap, synthetic

THRESHOLD = 0.3


def pycocotools_once(truths: list[GroundTruth], detections: list[Detections], _: int) -> Callable[[], float]:
    """One AP of one detector."""
    return pycocotools_ap(truths, detections)


def paired(truths: list[GroundTruth], detections: list[Detections], resamples: int) -> Callable[[], float]:
    """The whole comparison of two detectors, both already matched."""
    from boxwright.metrics.comparison import compare

    first, second = _matched(truths, detections), _matched(truths, _worse(detections))
    return lambda: compare(first, second, THRESHOLD, THRESHOLD, resamples)["map"].first


def alone(truths: list[GroundTruth], detections: list[Detections], resamples: int) -> Callable[[], float]:
    """All intervals of one detector, already matched."""
    from boxwright.metrics.bootstrap import intervals

    matches = _matched(truths, detections)
    return lambda: intervals(matches, THRESHOLD, resamples).figures["map"].low


def operating_point(truths: list[GroundTruth], detections: list[Detections], resamples: int) -> Callable[[], float]:
    """The thresholds of one detector with their intervals, already matched."""
    from boxwright.metrics.objective import Objective, choose

    matches = _matched(truths, detections)
    return lambda: choose(matches, Objective.parse("f2"), resamples).threshold


def _matched(truths: list[GroundTruth], detections: list[Detections]) -> Matches:
    return match_detections(truths, detections, CLASSES)


def _worse(detections: list[Detections]) -> list[Detections]:
    """The same boxes with scores that say less."""
    generator = np.random.default_rng(1)
    return [Detections(one.boxes, (one.scores + generator.random(len(one))) / 2, one.labels) for one in detections]


VARIANTS = {
    "pycocotools, one AP of one detector": pycocotools_once,
    "boxwright, paired resamples of two": paired,
    "boxwright, resamples of one": alone,
    "boxwright, operating point": operating_point,
}


def main() -> None:
    """Measure every variant in turn and print the medians and the spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--boxes", type=int, default=36000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(_measure(options)))
        return
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(options.rounds):
        for name in VARIANTS:
            rounds[name].append(_apart(name, options))
    _report(rounds)


def _apart(name: str, options: argparse.Namespace) -> dict[str, float]:
    sizes = [f"--{size}={getattr(options, size)}" for size in ("pictures", "boxes", "resamples")]
    command = [sys.executable, __file__, "--variant", name, *sizes]
    measured: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return measured


def _measure(options: argparse.Namespace) -> dict[str, float]:
    truths, detections = synthetic(options.pictures, options.boxes, CLASSES, PER_PICTURE)
    work = VARIANTS[options.variant](truths, detections, options.resamples)
    before, started = _peak(), time.perf_counter()
    value = work()
    return {"seconds": time.perf_counter() - started, "value": value, "peak": _peak(), "before": before}


def _peak() -> float:
    """Greatest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _report(rounds: dict[str, list[dict[str, float]]]) -> None:
    base = [one["seconds"] for one in rounds["pycocotools, one AP of one detector"]]
    print("| variant | seconds, median (min to max) | of pycocotools' time, pair by pair | peak MB (before the work) |")
    print("| --- | --- | --- | --- |")
    for name, measured in rounds.items():
        seconds = [one["seconds"] for one in measured]
        ratios = [own / other for own, other in zip(seconds, base, strict=True)]
        print(
            f"| {name} | {statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f}) "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {max(one['peak'] for one in measured):.0f} ({max(one['before'] for one in measured):.0f}) |"
        )


if __name__ == "__main__":
    main()

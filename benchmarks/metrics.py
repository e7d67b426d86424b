"""All figures of one evaluation against pycocotools' AP alone, at the size of COCO val2017.

The detections are made up: boxes detected with some error, duplicates, wrong classes, strays, scores that
fall from one to the next of these. Every measurement is a process of its own; the variants take
turns, round after round. A process makes the data, hands them over, and then times the work; for
pycocotools and hotcoco the handing over (reading into their own structures) is not counted. Peak
memory is of the whole process, that after making the data stands beside it.

    python benchmarks/metrics.py [--rounds 5] [--pictures 5000] [--boxes 36000]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.metrics import GroundTruth
from boxwright.runtime import Detections

WIDTH, HEIGHT = 640, 480
CLASSES, PER_PICTURE = 80, 100


def synthetic(
    pictures: int, boxes: int, classes: int, per_picture: int, seed: int = 0
) -> tuple[list[GroundTruth], list[Detections]]:
    """Ground truth and detections of made-up pictures, in float32-exact coordinates.

    Args:
        pictures: how many.
        boxes: in all; one in a hundred is a crowd region.
        classes: K; each less frequent than the one before.
        per_picture: detections of each picture.
        seed: the same data for the same seed.
    """
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(boxes, generator.dirichlet(np.ones(pictures)))
    frequency = 1.0 / np.arange(2, classes + 2)
    corners = _random_boxes(generator, boxes)
    labels = generator.choice(classes, boxes, p=frequency / frequency.sum())
    crowd = generator.random(boxes) < 0.01
    ends = np.cumsum(counts)
    truths = [
        GroundTruth.of(corners[start:end], labels[start:end], crowd[start:end])
        for start, end in zip(ends - counts, ends, strict=True)
    ]
    detections = _detections(generator, corners, labels, counts, per_picture, frequency / frequency.sum())
    return truths, detections


def _random_boxes(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    side = np.exp(generator.uniform(np.log(8), np.log(400), (count, 1)))
    size = np.minimum(side * generator.uniform(0.6, 1.6, (count, 2)), (WIDTH, HEIGHT))
    corner = generator.random((count, 2)) * ((WIDTH, HEIGHT) - size)
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32).astype(np.float64)


def _detections(
    generator: np.random.Generator,
    corners: NDArray[np.float64],
    labels: NDArray[np.int64],
    counts: NDArray[np.int64],
    per_picture: int,
    frequency: NDArray[np.float64],
) -> list[Detections]:
    """One for each box, then two duplicates of each, then half on boxes and half anywhere, all classes mixed up."""
    total = len(counts) * per_picture
    place = np.tile(np.arange(per_picture), len(counts))
    here, first = (np.repeat(column, per_picture) for column in (counts, np.cumsum(counts) - counts))
    kind = np.where(place < here, 0, np.where(place < 3 * here, 1, 2 + generator.integers(0, 2, total)))
    kind[here == 0] = 3
    source = first + place % np.maximum(here, 1)
    stray = kind == 3
    source[stray] = 0
    size = np.tile(corners[source, 2:] - corners[source, :2], 2)
    boxes = corners[source] + size * generator.normal(0, 1, (total, 4)) * np.array([0.05, 0.12, 0.3, 0])[kind, None]
    boxes[stray] = _random_boxes(generator, int(stray.sum()))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    right = generator.random(total) < np.array([0.85, 0.7, 0.5, 0])[kind]
    classes = np.where(right, labels[source], generator.choice(len(frequency), total, p=frequency))
    scores = generator.beta(np.array([5, 1.5, 1, 1])[kind], np.array([2, 6, 20, 20])[kind])
    split = range(0, total, per_picture)
    return [Detections(*(part[at : at + per_picture] for part in (boxes, scores, classes))) for at in split]


def pycocotools_ap(truths: list[GroundTruth], detections: list[Detections]) -> Callable[[], float]:
    """AP as pycocotools computes it; reading the data is not counted."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = _annotations(truths)
        coco.createIndex()
        detected = coco.loadRes(_results(detections))
    return lambda: _evaluated(COCOeval(coco, detected, "bbox"))


def hotcoco_ap(truths: list[GroundTruth], detections: list[Detections]) -> Callable[[], float]:
    """AP as hotcoco computes it; reading the data is not counted."""
    import hotcoco

    coco = hotcoco.COCO(_annotations(truths))
    detected = coco.load_res(_results(detections))
    return lambda: _evaluated(hotcoco.COCOeval(coco, detected, "bbox"))


def own_ap(truths: list[GroundTruth], detections: list[Detections]) -> Callable[[], float]:
    """Matching and AP, with all that is done to the arrays as they come from a detector."""
    from boxwright.metrics import average_precision, match_detections

    return lambda: average_precision(match_detections(truths, detections, CLASSES)).map


def own_everything(truths: list[GroundTruth], detections: list[Detections]) -> Callable[[], float]:
    """Matching and every figure and curve a report shows."""
    from boxwright import metrics

    def work() -> float:
        matches = metrics.match_detections(truths, detections, CLASSES)
        figures = metrics.figures_of(matches)
        metrics.fbeta_curve(matches)
        metrics.macro_fbeta_curve(matches)
        metrics.class_fbeta_curves(matches)
        for label in [None, *range(CLASSES)]:
            metrics.precision_recall(matches, label)
        metrics.confusion_matrix(matches, figures.threshold)
        metrics.error_types(matches)
        metrics.calibration(matches)
        return figures.map

    return work


VARIANTS = {
    "pycocotools, AP": pycocotools_ap,
    "hotcoco, AP": hotcoco_ap,
    "boxwright, AP": own_ap,
    "boxwright, everything": own_everything,
}


def main() -> None:
    """Measure every variant in turn and print the medians and the spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--boxes", type=int, default=36000)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(_measure(VARIANTS[options.variant], options.pictures, options.boxes)))
        return
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(options.rounds):
        for name in VARIANTS:
            rounds[name].append(_apart(name, options))
    _report(rounds)


def _apart(name: str, options: argparse.Namespace) -> dict[str, float]:
    sizes = ["--pictures", str(options.pictures), "--boxes", str(options.boxes)]
    command = [sys.executable, __file__, "--variant", name, *sizes]
    measured: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return measured


def _measure(variant: Callable[..., Callable[[], float]], pictures: int, boxes: int) -> dict[str, float]:
    truths, detections = synthetic(pictures, boxes, CLASSES, PER_PICTURE)
    before = _peak()
    work = variant(truths, detections)
    started = time.perf_counter()
    value = work()
    return {"seconds": time.perf_counter() - started, "map": value, "peak": _peak(), "before": before}


def _peak() -> float:
    """Greatest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _report(rounds: dict[str, list[dict[str, float]]]) -> None:
    base = [one["seconds"] for one in rounds["pycocotools, AP"]]
    print("| variant | mAP | seconds, median (min to max) | pycocotools takes times as long, pair by pair | peak MB |")
    print("| --- | --- | --- | --- | --- |")
    for name, measured in rounds.items():
        seconds = [one["seconds"] for one in measured]
        ratios = [other / own for own, other in zip(seconds, base, strict=True)]
        print(
            f"| {name} | {measured[0]['map']:.10f} "
            f"| {statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f}) "
            f"| {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) "
            f"| {max(one['peak'] for one in measured):.0f} (data alone {measured[0]['before']:.0f}) |"
        )


def _evaluated(evaluation: Any) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def _annotations(truths: list[GroundTruth]) -> dict[str, Any]:
    rows = [
        (picture, int(label), _xywh(box), float(area), int(crowd))
        for picture, truth in enumerate(truths)
        for label, box, area, crowd in zip(truth.labels, truth.boxes, truth.area, truth.crowd, strict=True)
    ]
    keys = ("image_id", "category_id", "bbox", "area", "iscrowd")
    return {
        "images": [{"id": picture} for picture in range(len(truths))],
        "categories": [{"id": label, "name": str(label)} for label in range(CLASSES)],
        "annotations": [{"id": number, **dict(zip(keys, row, strict=True))} for number, row in enumerate(rows, 1)],
    }


def _results(detections: list[Detections]) -> NDArray[np.float64]:
    """Rows of [picture, x, y, w, h, score, class]."""
    boxes = np.concatenate([one.boxes for one in detections]).astype(np.float64)
    pictures = np.repeat(np.arange(len(detections)), [len(one) for one in detections])
    boxes[:, 2:] -= boxes[:, :2]
    scores, labels = (np.concatenate([getattr(one, name) for one in detections]) for name in ("scores", "labels"))
    return np.column_stack([pictures, boxes, scores, labels])


def _xywh(box: NDArray[np.float64]) -> list[float]:
    left, top, right, bottom = (float(edge) for edge in box)
    return [left, top, right - left, bottom - top]


if __name__ == "__main__":
    main()

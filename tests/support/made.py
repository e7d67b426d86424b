"""Finished runs made by hand: the detections of a model, without a model."""

import numpy as np

from boxwright.evaluation import SplitResults
from boxwright.evaluation.operating import measured_spec
from boxwright.evaluation.results import RESULTS
from boxwright.metrics import GroundTruth
from boxwright.metrics.objective import Objective
from boxwright.runtime import ClassEntry, Detections, InputSpec, ModelSpec

CLASSES = (ClassEntry(1, "cat"), ClassEntry(2, "dog"))


def made_results(found_share, pictures=60, seed=0, noise=2.0):
    """Two boxes per picture, of which a share is detected, and a false alarm in every other picture."""
    generator = np.random.default_rng(seed)
    truths, detections = [], []
    for number in range(pictures):
        boxes = np.array([[10, 10, 60, 60], [80, 20, 150, 100]]) + generator.uniform(0, 20, (2, 1))
        labels = np.array([number % 2, 1 - number % 2])
        truths.append(GroundTruth.of(boxes, labels))
        seen = (
            np.random.default_rng(number).random(2) < found_share
        )  # a model with a larger share detects these as well
        strays = np.array([[0, 0, 9, 9]] * (number % 2), dtype=float).reshape(-1, 4)
        near = boxes[seen] + generator.normal(0, noise, (seen.sum(), 4))
        scores = np.concatenate([generator.uniform(0.4, 1.0, seen.sum()), generator.uniform(0.0, 0.6, len(strays))])
        detections.append(Detections(np.concatenate([near, strays]), scores, [*labels[seen], *[0] * len(strays)]))
    names = tuple(f"{number}.jpg" for number in range(pictures))
    sizes = np.full((pictures, 2), 200)
    return SplitResults("valid", ("cat", "dog"), names, sizes, tuple(truths), tuple(detections))


def made_run(folder, results, name):
    """A run folder with these results and an operating point chosen from them."""
    folder.mkdir(parents=True)
    classes = tuple(ClassEntry(number, text) for number, text in enumerate(results.class_names, start=1))
    spec = ModelSpec(name, "fasterrcnn_tiny_fpn", classes, InputSpec(96, 96))
    results.save(folder / RESULTS)
    (folder / "spec.json").write_text(measured_spec(spec, results, Objective.parse("f2")).to_json())
    return folder

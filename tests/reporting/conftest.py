"""A real browser to look at pages with, and evaluations to fill them."""

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageDraw

from boxwright.evaluation.analysis import analyse
from boxwright.evaluation.results import SplitResults
from boxwright.metrics import GroundTruth
from boxwright.metrics.bootstrap import intervals
from boxwright.runtime import ClassEntry, Detections, InputSpec, ModelSpec, OperatingPoint
from support.browser import Visit, browser

SIZE = (240, 160)


@pytest.fixture(scope="module")
def visit():
    """A function that opens a page: see ``Visit``. One browser a module; playwright keeps the event loop meanwhile."""
    with browser() as chromium:
        yield lambda path, **look: Visit(chromium, path.as_uri(), **look)


@dataclasses.dataclass
class Case:
    """What the pages are made of."""

    spec: ModelSpec
    results: SplitResults
    analysis: object
    epochs: list
    pictures: object


@pytest.fixture(scope="session")
def make_case(tmp_path_factory):
    """A function that makes one: some pictures with boxes, and what a so-so detector says of them."""

    def make(names=("fish", "shark", "star"), pictures=10, seed=0, skill=0.8, files="picture-{}.jpg", **spec):
        folder = tmp_path_factory.mktemp("valid")
        generator = np.random.default_rng(seed)
        truths = tuple(_truth(generator, len(names), number % 5) for number in range(pictures))
        found = tuple(_found(np.random.default_rng(seed + 1), truth, len(names), skill) for truth in truths)
        file_names = tuple(files.format(number) for number in range(pictures))
        for name, truth in zip(file_names, truths, strict=True):
            _draw(truth, folder / name)
        sizes = np.array([SIZE] * pictures, np.int64).reshape(-1, 2)
        results = SplitResults("valid", tuple(names), file_names, sizes, truths, found)
        model = specification(names, **spec)
        return Case(model, results, quickly_analysed(results, model.operating_point), epoch_lines(skill), folder)

    return make


def quickly_analysed(results, point):
    thresholds = np.array(point.thresholds(results.class_names))
    return analyse(results, point, intervals(results.matches(), thresholds, resamples=50))


def specification(names, name="run-1", point=None, **provenance):
    measured = OperatingPoint(0.4, "f2", 0.71, "valid", (0.35, 0.48), (0.66, 0.75), {names[0]: 0.5} if names else {})
    return ModelSpec(
        name=name,
        architecture="fasterrcnn_tiny_fpn",
        classes=tuple(ClassEntry(number, one) for number, one in enumerate(names, start=1)),
        input=InputSpec(160, 224),
        operating_point=point or measured,
        provenance={
            "created": "2026-01-02T03:04:05+00:00",
            "best_epoch": 2,
            "weights": "imagenet",
            "weights_licence": "BSD-3-Clause",
            "settings": {"epochs": 4, "learning_rate": 0.001, "image_size": [160, 224], **provenance},
            "versions": {"torch": "2.9.0"},
        },
    )


def epoch_lines(skill):
    lines = []
    for epoch in range(4):
        rise = skill * (1 - 0.5**epoch)
        lines.append(
            {
                "epoch": epoch,
                "step": 9,
                "val/map": rise * 0.6,
                "val/map_50": rise * 0.9,
                "val/f2": rise,
                "val/f2_macro": None,
            }
        )
        lines.append(
            {
                "epoch": epoch,
                "step": 9,
                "train/loss": 2 - rise,
                "train/loss_classifier": 1 - rise,
                "train/images_per_s": 12.5,
            }
        )
    return lines


def _truth(generator, classes, count):
    corner = generator.uniform(0, 90, (count, 2)).round()
    boxes = np.concatenate([corner, corner + generator.uniform(20, 60, (count, 2)).round()], axis=1)
    crowd = np.arange(count) == 3  # the fourth box of a picture
    return GroundTruth.of(boxes, generator.integers(0, max(classes, 1), count), crowd)


def _found(generator, truth, classes, skill):
    """Some boxes found, some with another class, some strays; down to low scores."""
    seen = generator.random(len(truth.labels)) < skill
    boxes, labels = truth.boxes[seen] + generator.normal(0, 2, (seen.sum(), 4)), truth.labels[seen]
    labels = np.where(generator.random(len(labels)) < 0.2, (labels + 1) % classes, labels)
    corner = generator.uniform(0, 100, (4, 2))
    strays = np.concatenate([corner, corner + 35], axis=1)
    scores = np.concatenate([generator.uniform(0.3, 1, len(labels)), generator.uniform(0.01, 0.7, 4)])
    every = np.concatenate([labels, generator.integers(0, classes, 4)])
    return Detections(np.concatenate([boxes, strays]), scores, every)


def _draw(truth, path):
    image = Image.new("RGB", SIZE, "#204060")
    pen = ImageDraw.Draw(image)
    for box, label in zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True):
        pen.ellipse(box, fill=("#d0a040", "#60a080", "#c06070")[label % 3])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)

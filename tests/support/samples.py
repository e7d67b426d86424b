"""Small examples of what training passes to trackers."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from boxwright.runtime import ClassEntry, Detections, InputSpec, ModelSpec, OperatingPoint
from boxwright.tracking.media import BestModel, ClassRow, Curve, Gallery, TrackedPicture

NAMES = ("cat", "dog")
SPEC = ModelSpec(
    name="tracked",
    architecture="fasterrcnn_tiny_fpn",
    classes=(ClassEntry(1, "cat"), ClassEntry(2, "dog")),
    input=InputSpec(64, 64),
    operating_point=OperatingPoint(0.4, "f2", 0.8, "valid"),
    measured={"valid": {"map": 0.5}},
    provenance={"data_fingerprint": "f" * 64, "best_epoch": 1},
)


def gallery(epoch: int = 0, step: int = 3) -> Gallery:
    """Two pictures, the first of 1280 x 960 pixels: a dog at (100, 200, 300, 400) with score .93, and a cat of .2."""
    detections = Detections(
        np.array([[100, 200, 300, 400], [0, 0, 64, 64], [0, 0, 9, 9]]), np.array([0.93, 0.2, 0.01]), np.array([1, 0, 0])
    )
    boxes = np.array([[100.0, 200.0, 300.0, 400.0]])
    image = Image.new("RGB", (1280, 960), "green")
    large = TrackedPicture(4, "large.jpg", image, boxes, np.array([1]), detections).shrunk()
    nothing = np.zeros((0, 4))
    image = Image.new("RGB", (64, 48))
    small = TrackedPicture(7, "small.jpg", image, nothing, np.zeros(0, int), Detections.empty())
    return Gallery((large, small), NAMES, 0.4, epoch, step)


def best_model(folder: Path, weights: bool = False) -> BestModel:
    """With files of a megabyte and a half."""
    (folder / "spec.json").write_text(SPEC.to_json())
    (folder / "report.html").write_text("<p>report</p>")
    (folder / "model_state_dict.pth").write_bytes(os.urandom(1_500_000))
    scores = np.linspace(0.99, 0.01, 500)
    curve = Curve("dog", scores, 1 - np.linspace(0, 0.5, 500), np.linspace(0.1, 1, 500), 10)
    return BestModel(
        spec=SPEC,
        figures={"best/map": 0.5, "best/f2": 0.8, "best/epoch": 1.0},
        classes=(
            ClassRow("cat", 0, *[float("nan")] * 5),
            ClassRow("dog", 10, 0.5, 0.7, 0.8, 0.9, 0.75),
        ),
        curves=(curve,),
        files=(folder / "spec.json", folder / "report.html"),
        weights=(folder / "model_state_dict.pth", folder / "spec.json") if weights else (),
    )

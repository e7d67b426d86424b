"""Random scenes for the metrics: ground truth and detections, in float32-exact coordinates."""

import numpy as np
from hypothesis import strategies as st

from boxwright.metrics import GroundTruth
from boxwright.runtime import Detections

CLASSES = 3


@st.composite
def scenes(draw, crowds=True, tied_scores=True, crowded=False):
    """A few pictures: boxes jittered into detections, strays, empty pictures, crowds, tied scores.

    Half of them have boxes on whole pixels (so that IoUs are equal) and a third class without boxes. Areas differ
    from those of the boxes, as the areas of outlines do. A crowded scene has up to 150 detections
    of a class in a picture.
    """
    seed = draw(st.integers(0, 2**32 - 1))
    pictures = draw(st.integers(1, 6))
    generator = np.random.default_rng(seed)
    steps = draw(st.sampled_from([3, 1000])) if tied_scores else 10**6
    rounded, most = draw(st.booleans()), 450 if crowded else 9
    pairs = [_picture(generator, crowds, steps, rounded, most) for _ in range(pictures)]
    return [truth for truth, _ in pairs], [detections for _, detections in pairs]


def _picture(generator, crowds, steps, rounded, most):
    boxes = _boxes(generator, int(generator.integers(0, 6)), rounded)
    labels = generator.integers(0, CLASSES - rounded, len(boxes))
    crowd = (generator.random(len(boxes)) < 0.2) & crowds
    own = GroundTruth.of(boxes, labels, crowd)
    truth = GroundTruth(boxes, labels, crowd, own.area * generator.choice([1.0, 0.7], len(boxes)))
    near = boxes[generator.integers(0, len(boxes), int(generator.integers(0, most)))] if len(boxes) else boxes
    jittered = near + generator.normal(0, 4, near.shape)
    stray = _boxes(generator, int(generator.integers(0, 4)), rounded)
    detected = np.concatenate([np.round(jittered) if rounded else jittered, stray])
    detected = np.concatenate([np.minimum(detected[:, :2], detected[:, 2:] - 1), detected[:, 2:]], axis=1).astype(
        np.float32
    )
    scores = generator.integers(0, steps, len(detected)) / steps
    return truth, Detections(detected, scores, generator.integers(0, CLASSES, len(detected)))


def _boxes(generator, count, rounded):
    corner = generator.uniform(0, 200, (count, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(4, 120, (count, 2))], axis=1)
    return (np.round(boxes) if rounded else boxes).astype(np.float32).astype(np.float64)


def annotations(truths, ids_from=1):
    """Ground truth as a COCO document."""
    boxes = [
        {
            "image_id": picture,
            "category_id": int(truth.labels[i]),
            "bbox": xywh(truth.boxes[i]),
            "area": float(truth.area[i]),
            "iscrowd": int(truth.crowd[i]),
        }
        for picture, truth in enumerate(truths)
        for i in range(len(truth.labels))
    ]
    return {
        "images": [{"id": picture} for picture in range(len(truths))],
        "categories": [{"id": label, "name": str(label)} for label in range(CLASSES)],
        "annotations": [{**one, "id": number} for number, one in enumerate(boxes, start=ids_from)],
    }


def results(detections):
    """Detections as COCO results."""
    return [
        {"image_id": picture, "category_id": int(label), "bbox": xywh(box.astype(np.float64)), "score": float(score)}
        for picture, one in enumerate(detections)
        for box, score, label in zip(one.boxes, one.scores, one.labels, strict=True)
    ]


def coco_oracle(truths, detections, ids_from, iou_thresholds=None, max_detections=None):
    """pycocotools' evaluation of a scene, quiet; ids renumbered from ``ids_from``."""
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = annotations(truths, ids_from)
        coco.createIndex()
        rows = results(detections)
        detected = coco.loadRes(rows) if rows else COCO()
        evaluation = COCOeval(coco, detected, "bbox")
        if not rows:  # loadRes refuses an empty list
            evaluation.cocoDt.dataset, evaluation.cocoDt.imgToAnns = {"annotations": []}, {}
            evaluation.cocoDt.getAnnIds = lambda **_: []
        if iou_thresholds is not None:
            evaluation.params.iouThrs = np.asarray(iou_thresholds)
        if max_detections is not None:
            evaluation.params.maxDets = [1, 10, max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
        if iou_thresholds is None:
            evaluation.summarize()
    return evaluation


def xywh(box):
    left, top, right, bottom = (float(edge) for edge in box)
    return [left, top, right - left, bottom - top]

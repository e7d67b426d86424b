"""Made-up detectors whose true figures are known: those of infinitely many pictures.

Pictures are easy or hard. The numbers of boxes and of false alarms ("strays") of each class in a picture are
Poisson distributed. A hard picture has more boxes; fewer of them are detected, with lower scores and a worse fit;
and it has more strays. So the boxes of one picture depend on each other: the independent unit is the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from boxwright.metrics.matching import AREAS, COCO_IOUS, FBETA_IOUS, IOUS, Matches, Pairs, SizedMatches

LOOSEST = 0.25
"""The lowest IoU of a detection with its box."""
GRID = np.linspace(0, 1, 4001)
"""Scores that integrals run over."""


@dataclass(frozen=True)
class Kind:
    """One kind of picture.

    Attributes:
        share: of all pictures.
        boxes: factor on the number of boxes.
        detected: probability that a box is detected at all.
        confidence: a; the score S of a detected box has P(S < s) = s ** a.
        fit: k; its IoU is 1 - (1 - LOOSEST) * (1 - harmony * S) * U ** k with U uniform.
        strays: factor on the number of strays.
        harmony: how much a high score means a good fit, in [0, 1).
    """

    share: float
    boxes: float
    detected: float
    confidence: float
    fit: float
    strays: float
    harmony: float

    def fitting(self, scores, iou):
        """P(score >= each of ``scores`` and IoU >= iou) of a detected box, by quadrature over the score."""
        below = GRID**self.confidence
        room = (1 - LOOSEST) * (1 - self.harmony * GRID)
        density = np.minimum(1.0, (1 - iou) / room) ** (1 / self.fit)
        mass = np.diff(below) * (density[1:] + density[:-1]) / 2
        return np.interp(scores, GRID, np.append(np.cumsum(mass[::-1])[::-1], 0.0))


@dataclass(frozen=True)
class World:
    """A detector and its pictures.

    Attributes:
        boxes: expected boxes per picture, by class.
        strays: expected strays per picture, by class; the score S of one has P(S >= s) = (1 - s) ** 4.
        kinds: of pictures.
        skill: factor on the probability of detecting a box.
    """

    boxes: tuple[float, ...] = (2.5, 1.5, 0.8)
    strays: tuple[float, ...] = (2.0, 2.0, 1.5)
    kinds: tuple[Kind, ...] = (
        Kind(0.6, 0.7, 0.95, 3.0, 1.6, 0.5, 0.7),
        Kind(0.4, 1.45, 0.75, 1.5, 0.9, 1.75, 0.7),
    )
    skill: float = 1.0

    def expected(self, label, scores, iou):
        """Hits and detections per picture with a score of at least each of ``scores``, and boxes per picture."""
        hits = detections = boxes = 0.0
        for kind in self.kinds:
            there = kind.share * kind.boxes * self.boxes[label]
            detected = there * kind.detected * self.skill
            hits = hits + detected * kind.fitting(scores, iou)
            detections = (
                detections
                + detected * (1 - scores**kind.confidence)
                + kind.share * kind.strays * self.strays[label] * (1 - scores) ** 4
            )
            boxes = boxes + there
        return hits, detections, boxes

    def true_fbeta(self, threshold, labels=None, beta=2.0):
        """F-beta at a threshold, pooled over ``labels`` (all by default)."""
        values = []
        for iou in FBETA_IOUS:
            parts = [self.expected(label, np.float64(threshold), iou) for label in labels or range(len(self.boxes))]
            hits, detections, boxes = np.sum(parts, axis=0)
            values.append((1 + beta**2) * hits / (beta**2 * boxes + detections))
        return float(np.mean(values))

    def true_ap(self, label, ious=COCO_IOUS):
        """Area under the interpolated precision-recall curve at COCO's 101 recalls, mean over ``ious``."""
        scores = 1 - np.linspace(0, 1, 40_001)[1:] ** 2  # falling, dense near 1
        values = []
        for iou in ious:
            hits, detections, boxes = self.expected(label, scores, iou)
            envelope = np.maximum.accumulate((hits / detections)[::-1])[::-1]
            at = np.searchsorted(hits / boxes, np.linspace(0, 1, 101))
            values.append(np.append(envelope, 0.0)[np.minimum(at, len(scores))].mean())
        return float(np.mean(values))

    def true_map(self, ious=COCO_IOUS):
        """Mean of ``true_ap`` over the classes."""
        return float(np.mean([self.true_ap(label, ious) for label in range(len(self.boxes))]))

    def best_threshold(self, beta=2.0):
        """Where ``true_fbeta`` is highest."""
        scores = np.linspace(0, 1, 2001)
        return float(scores[np.argmax([self.true_fbeta(score, beta=beta) for score in scores])])

    def scene(self, pictures, seed):
        """The ground truth: kind [P] of each picture, and picture and class [G] of each box."""
        generator = np.random.default_rng(seed)
        kinds = generator.choice(len(self.kinds), pictures, p=[kind.share for kind in self.kinds])
        factors = np.array([kind.boxes for kind in self.kinds])[kinds]
        number = generator.poisson(factors[:, None] * self.boxes)
        places = np.repeat(np.arange(number.size), number.ravel())
        return kinds, places // len(self.boxes), places % len(self.boxes)

    def detect(self, scene, seed):
        """The detections there, already matched."""
        generator = np.random.default_rng(seed)
        kinds, box_pictures, box_labels = scene
        of_box = kinds[box_pictures]
        detected = generator.random(len(of_box)) < np.array([kind.detected for kind in self.kinds])[of_box] * self.skill
        boxes = np.flatnonzero(detected)
        traits = np.array([(kind.confidence, kind.fit, kind.harmony) for kind in self.kinds])
        confidence, fit, harmony = traits[of_box[boxes]].T
        scores = generator.random(len(boxes)) ** (1 / confidence)
        ious = 1 - (1 - LOOSEST) * (1 - harmony * scores) * generator.random(len(boxes)) ** fit
        factors = np.array([kind.strays for kind in self.kinds])[kinds]
        number = generator.poisson(factors[:, None] * self.strays)
        strays = np.repeat(np.arange(number.size), number.ravel())
        return matches_of(
            (len(kinds), len(self.boxes)),
            (box_pictures, box_labels),
            pictures=np.append(box_pictures[boxes], strays // len(self.boxes)),
            labels=np.append(box_labels[boxes], strays % len(self.boxes)),
            scores=np.append(scores, 1 - generator.random(len(strays)) ** 0.25),
            ious=np.append(ious, np.zeros(len(strays))),
            truth=np.append(boxes, np.full(len(strays), -1)),
        )

    def draw(self, pictures, seed):
        """Pictures and their detections, already matched."""
        return self.detect(self.scene(pictures, seed), seed + 1_000_000)


def matches_of(sizes, boxes, *, pictures, labels, scores, ious, truth):
    """``Matches`` of detections with a known box and a known IoU."""
    order = np.lexsort((pictures, -scores, labels))
    pictures, labels, scores, truth = pictures[order], labels[order], scores[order], truth[order]
    hit = ious[order] >= np.asarray(IOUS)[:, None]
    rows, nothing = np.flatnonzero(hit.any(axis=0)), np.zeros(0, np.int64)
    unsized = np.zeros((len(AREAS), len(COCO_IOUS), len(rows)), bool)
    return Matches(
        num_pictures=sizes[0],
        num_classes=sizes[1],
        pictures=pictures,
        labels=labels,
        scores=scores,
        positions=np.arange(len(labels)),
        ranks=np.zeros(len(labels), np.int64),
        truth=np.where(hit, truth, -1).astype(np.int32),
        hit=hit,
        ignored=np.zeros_like(hit),
        truth_pictures=boxes[0],
        truth_labels=boxes[1],
        truth_positions=np.arange(len(boxes[0])),
        truth_crowd=np.zeros(len(boxes[0]), bool),
        pairs=Pairs(nothing, nothing, np.zeros(0)),
        by_area=SizedMatches(
            rows,
            unsized,
            unsized,
            np.zeros((len(AREAS), len(labels)), bool),
            np.zeros((len(AREAS), sizes[1]), np.int64),
            np.zeros((len(AREAS), len(boxes[0])), bool),
        ),
    )


def repeated(pictures, counts):
    """A resample: each of the pictures as often as it is drawn."""
    return [one for one, count in zip(pictures, counts, strict=True) for _ in range(count)]

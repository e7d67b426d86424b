"""Slow, simple references: one box after the other."""

from support.scenes import CLASSES


def plain_iou(box, other, crowd):
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    area = (box[2] - box[0]) * (box[3] - box[1])
    union = area if crowd else area + (other[2] - other[0]) * (other[3] - other[1]) - width * height
    return width * height / union if union > 0 else 0.0


def plain_matches(truth, detections, label, score, iou_threshold):
    """Which box each detection of a class at or above a score gets in a picture: {place: (box or None, ignored)}."""
    mine = [i for i in range(len(detections)) if detections.labels[i] == label and float(detections.scores[i]) >= score]
    mine.sort(key=lambda i: -detections.scores[i])  # stable: earlier first among equals
    boxes = [j for j in range(len(truth.labels)) if truth.labels[j] == label]
    used, outcome = set(), {}
    for i in mine:
        best, chosen, crowd_best, crowd_chosen = -1.0, None, -1.0, None
        for j in boxes:
            overlap = plain_iou(detections.boxes[i].astype(float), truth.boxes[j], truth.crowd[j])
            if overlap < iou_threshold:
                continue
            if truth.crowd[j]:
                if overlap >= crowd_best:
                    crowd_best, crowd_chosen = overlap, j
            elif j not in used and overlap >= best:
                best, chosen = overlap, j
        used.add(chosen)
        outcome[i] = (chosen, False) if chosen is not None else (crowd_chosen, crowd_chosen is not None)
    return outcome


def plain_counts(truths, detections, thresholds, iou_threshold, labels=range(CLASSES)):
    """Hits and false alarms of a data set, with one threshold per class."""
    hits = false = 0
    for truth, one in zip(truths, detections, strict=True):
        for label in labels:
            for box, ignored in plain_matches(truth, one, label, thresholds[label], iou_threshold).values():
                hits += box is not None and not ignored
                false += box is None
    return hits, false

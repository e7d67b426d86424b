"""Large pictures in parts: the windows that a network sees one by one, and their detections as those of one picture.

A window is laid on the canvas as a whole picture is. Neighbours overlap, so that an object no larger than the overlap
is whole in one of them at least; larger ones are seen in the whole picture, which is a window, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from .detections import Detections
from .picture import MAX_PIXELS, PictureSource, decode
from .preprocess import Placement, Window, lay, postprocess
from .spec import InputSpec

__all__ = ["Prepared", "prepare", "together", "windows"]

_SAME = 0.5
"""IoU, within what two windows both see, from which two boxes are of one object."""

_AT_EDGE = 2.0  # canvas pixels from a window's edge within which a box may go on beyond it


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture as a network sees it.

    Attributes:
        canvases: uint8 [T, 3, H, W], RGB; T is 1 unless the picture is seen in parts.
        placements: T, one per canvas.
    """

    canvases: np.ndarray
    placements: Tuple[Placement, ...]


def prepare(source: PictureSource, spec: InputSpec, max_pixels: int = MAX_PIXELS) -> Prepared:
    """Decode a picture and lay it on its canvases: one, or with ``spec.tile`` one per window.

    Raises:
        PictureError: see ``decode``.
    """
    image = decode(source, max_pixels)
    parts = windows(image.width, image.height, spec)
    canvases = np.empty((len(parts), 3, spec.height, spec.width), dtype=np.uint8)
    return Prepared(canvases, tuple(lay(image, spec, canvas, part) for canvas, part in zip(canvases, parts)))


def windows(width: int, height: int, spec: InputSpec) -> List[Optional[Window]]:
    """The parts in which a picture is seen: the whole one (None), then rows of windows if it is larger than one.

    Args:
        width: of the upright picture, pixels.
        height: of the same.
        spec: with the side of a window, and by which share of it neighbours overlap at least.
    """
    whole: List[Optional[Window]] = [None]
    if spec.tile is None or max(width, height) <= spec.tile:
        return whole
    columns, rows = (_starts(side, spec.tile, spec.overlap) for side in (width, height))
    sides = (min(spec.tile, width), min(spec.tile, height))
    return whole + [Window(left, top, *sides) for top in rows for left in columns]


def _starts(side: int, tile: int, overlap: float) -> List[int]:
    """Where windows begin along one side: evenly spread, the first and the last at the picture's edges."""
    room = side - tile
    if room <= 0:
        return [0]
    steps = int(np.ceil(room / max(tile * (1.0 - overlap), 1.0)))
    return [round(room * number / steps) for number in range(steps + 1)]


def together(found: Sequence[Detections], placements: Sequence[Placement], spec: InputSpec) -> Detections:
    """The detections of a picture, from those on its canvases: each object once.

    Two detections of two windows are of one object if their boxes coincide within what both windows see. One that no
    window's edge cuts is taken; if all are cut, the box around them. The whole picture's count only for boxes that are
    longer than the overlap: no window may show those whole.

    Args:
        found: per canvas, in canvas pixels.
        placements: of the canvases; the first is the whole picture's.
        spec: what the windows were made by.

    Returns:
        In pixels of the upright original picture.
    """
    placed = [postprocess(one, placement) for one, placement in zip(found, placements)]
    if len(placed) == 1:
        return placed[0]
    assert spec.tile is not None, "several canvases are windows"
    edges = placed[0].boxes
    longest = np.maximum(edges[:, 2] - edges[:, 0], edges[:, 3] - edges[:, 1])
    placed[0] = placed[0].select(longest >= spec.overlap * spec.tile)
    return _grouped(placed, placements)


def _grouped(placed: Sequence[Detections], placements: Sequence[Placement]) -> Detections:
    """One detection per object, from those of all windows, in picture pixels."""
    boxes = np.concatenate([one.boxes for one in placed]).astype(np.float64)
    scores = np.concatenate([one.scores for one in placed])
    labels = np.concatenate([one.labels for one in placed])
    origins = np.repeat(np.arange(len(placed)), [len(one) for one in placed])
    seen = np.array([one.edges() for one in placements])[origins]  # what the window of each shows, xyxy
    cut = np.concatenate([_cut(one.boxes, place, placements[0]) for one, place in zip(placed, placements)])
    groups: Dict[int, List[List[int]]] = {}
    for one in np.argsort(-scores, kind="stable"):
        known = groups.setdefault(int(labels[one]), [])
        joined = _joined(int(one), _coinciding(int(one), known, boxes, seen), origins)
        mine = sorted(joined, key=lambda member: -scores[member])
        groups[int(labels[one])] = [group for group in known if not set(group) & set(mine)] + [mine]
    return _merged([group for known in groups.values() for group in known], boxes, scores, labels, cut)


def _coinciding(one: int, groups: Sequence[List[int]], boxes: np.ndarray, seen: np.ndarray) -> List[List[int]]:
    """The groups with a member that coincides with a detection within what both windows see, the nearest first."""
    members = [(member, number) for number, group in enumerate(groups) for member in group]
    if not members:
        return []
    numbers = np.array([member for member, _ in members])
    shared = np.hstack([np.maximum(seen[numbers, :2], seen[one, :2]), np.minimum(seen[numbers, 2:], seen[one, 2:])])
    overlaps = _ious(_clipped(boxes[numbers], shared), _clipped(np.tile(boxes[one], (len(numbers), 1)), shared))
    nearest = [members[at][1] for at in np.argsort(-overlaps, kind="stable") if overlaps[at] >= _SAME]
    return [groups[number] for number in dict.fromkeys(nearest)]


def _joined(one: int, groups: Sequence[List[int]], origins: np.ndarray) -> List[int]:
    """A detection with the groups that may be of its object: a window sees an object once."""
    joined, taken = [one], {origins[one]}
    for group in groups:
        if not taken & {origins[member] for member in group}:
            taken |= {origins[member] for member in group}
            joined += group
    return joined


def _clipped(boxes: np.ndarray, to: np.ndarray) -> np.ndarray:
    low, high = np.maximum(boxes[:, :2], to[:, :2]), np.minimum(boxes[:, 2:], to[:, 2:])
    return np.hstack([low, np.maximum(low, high)])


def _ious(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """IoU of pairs of boxes, [n]; 0 for two without an area."""
    low, high = np.maximum(left[:, :2], right[:, :2]), np.minimum(left[:, 2:], right[:, 2:])
    inner = np.prod(np.maximum(high - low, 0.0), axis=1)
    areas = np.prod(left[:, 2:] - left[:, :2], axis=1) + np.prod(right[:, 2:] - right[:, :2], axis=1)
    result: np.ndarray = inner / np.maximum(areas - inner, 1e-9)
    return result


def _cut(boxes: np.ndarray, window: Placement, whole: Placement) -> np.ndarray:
    """Which boxes reach an edge of their window that is not the picture's: bool [n]."""
    inner, outer = np.array(window.edges()), np.array(whole.edges())
    near = _AT_EDGE / np.array([window.scale_x, window.scale_y] * 2)
    reaches = np.hstack([boxes[:, :2] <= (inner + near)[:2], boxes[:, 2:] >= (inner - near)[2:]])
    result: np.ndarray = (reaches & (inner != outer)).any(axis=1)
    return result


def _merged(
    groups: Sequence[Sequence[int]], boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, cut: np.ndarray
) -> Detections:
    """One detection per group: its best one that is whole; if there is none, the box around all."""
    taken = np.array([next((one for one in group if not cut[one]), group[0]) for group in groups], dtype=np.int64)
    merged = boxes[taken] if len(taken) else np.zeros((0, 4))
    for number, group in enumerate(groups):
        if cut[taken[number]]:
            merged[number] = [*boxes[list(group), :2].min(axis=0), *boxes[list(group), 2:].max(axis=0)]
    return Detections(merged, scores[taken], labels[taken])

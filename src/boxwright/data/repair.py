"""Writes a repaired copy of a data folder: what needs no guess is repaired, the rest stays as it is.

To add a repair: one function, one row of ``REPAIRS``, and a text in the row of ``findings.CODES``.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from boxwright.host.files import new_folder, require_new_folder
from boxwright.runtime import DataError
from boxwright.runtime.picture import SIDEWAYS

from .checks import Inspection
from .checks.scan import PictureFacts
from .documents import ANNOTATIONS, Box, Document, Entry, clip
from .file_names import stays_inside
from .findings import Finding

__all__ = ["REPAIRS", "repair", "turn_box", "turn_polygons"]

Progress = Callable[[int, int], object]
Point = tuple[float, float]


def repair(inspection: Inspection, out: str | Path, *, advance: Progress | None = None) -> tuple[Finding, ...]:
    """Write a repaired copy; the original is not touched. ``CODES`` says what is repaired, and how.

    Args:
        inspection: of the folder to repair, pixels included.
        out: new or empty folder.
        advance: called with (pictures copied, pictures in all), split by split.

    Returns:
        The findings that were repaired. A finding is left if its repair would be a guess here: an id that several
        pictures have, a picture of another size than the JSON says.

    Raises:
        ConfigError: ``out`` holds files already, or lies in the data folder.
        DataError: a file cannot be read.
    """
    out = Path(out)
    require_new_folder(out, inspection.root)
    unread = [finding for finding in inspection.findings if finding.code in ("json-broken", "json-incomplete")]
    if unread:
        raise DataError(f"{inspection.root}: {unread[0]}.", "What cannot be read cannot be repaired; export it again.")
    done: list[Finding] = []
    with new_folder(out) as folder:
        for split, document in inspection.documents.items():
            draft = _Draft(document, inspection.facts[split], inspection.findings)
            done += draft.repair()
            _write(draft.document(), inspection.root / split, folder / split, advance)
    return tuple(done)


class _Draft:
    """One split's JSON document during the repair. A removed entry becomes None, so that positions stay valid."""

    def __init__(self, document: Document, facts: Mapping[str, PictureFacts], findings: Sequence[Finding]) -> None:
        self._raw = document.raw
        self.facts = facts
        self.entries = document.images
        self.images: list[Entry | None] = [{**image} for image in document.raw["images"]]
        self.annotations: list[Entry | None] = [{**annotation} for annotation in document.raw["annotations"]]
        self.boxes = {entry.position: entry for entry in document.annotations}
        self.of_picture: dict[int, list[int]] = defaultdict(list)
        for entry in document.annotations:
            self.of_picture[entry.image_id].append(entry.position)
        used = Counter(entry.id for entry in document.images)
        self.by_id = {entry.id: entry for entry in document.images if used[entry.id] == 1}
        ids = (annotation.get("id") for annotation in document.raw["annotations"])
        self._largest_id = max((number for number in ids if isinstance(number, int)), default=0)
        self._findings: dict[str, list[Finding]] = defaultdict(list)
        for finding in findings:
            if finding.split == document.split:
                self._findings[finding.code].append(finding)
        self.wrong_sizes = {finding.image_id for finding in self._findings["picture-size"]}

    def repair(self) -> Iterator[Finding]:
        """Apply ``REPAIRS``; yields the findings that were repaired."""
        for code, repair_finding in REPAIRS.items():
            yield from (finding for finding in self._findings[code] if repair_finding(self, finding))

    def free_id(self) -> int:
        """An annotation id that is not used."""
        self._largest_id += 1
        return self._largest_id

    def document(self) -> Entry:
        """The JSON document as it is now."""
        images = [image for image in self.images if image is not None]
        annotations = [annotation for annotation in self.annotations if annotation is not None]
        return {**self._raw, "images": images, "annotations": annotations}


def _position(finding: Finding) -> int:
    assert finding.position is not None, "findings about entries have a position"
    return finding.position


def _drop_picture(draft: _Draft, finding: Finding) -> bool:
    """Remove the entry; its annotations too, unless another picture has the same id."""
    draft.images[_position(finding)] = None
    entry = draft.by_id.get(finding.image_id) if finding.image_id is not None else None
    for position in draft.of_picture[entry.id] if entry else ():
        draft.annotations[position] = None
    return True


def _drop_annotation(draft: _Draft, finding: Finding) -> bool:
    exists = draft.annotations[_position(finding)] is not None
    draft.annotations[_position(finding)] = None
    return exists


def _clip(draft: _Draft, finding: Finding) -> bool:
    """Clip a box to its picture; the area of a mask is kept."""
    annotation, entry = draft.annotations[_position(finding)], draft.boxes[_position(finding)]
    picture = draft.by_id.get(entry.image_id)
    size = picture.size if picture and picture.id not in draft.wrong_sizes else None
    clipped = clip(entry.box, size) if size else None
    if annotation is None or clipped is None:
        return False
    left, top, right, bottom = clipped
    annotation["bbox"] = [left, top, right - left, bottom - top]
    if not annotation.get("segmentation"):
        annotation["area"] = (right - left) * (bottom - top)
    return True


def _turn(draft: _Draft, finding: Finding) -> bool:
    """Move boxes and polygons drawn on the stored picture to where they lie on the upright one."""
    image, picture = draft.images[_position(finding)], draft.by_id.get(finding.image_id or 0)
    own = [draft.annotations[position] for position in draft.of_picture[finding.image_id or 0]]
    annotations = [annotation for annotation in own if annotation is not None]
    if image is None or picture is None or not all(_can_be_turned(annotation) for annotation in annotations):
        return False
    facts = draft.facts[picture.file_name]
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = list(turn_box((x, y, width, height), facts.stored, facts.turn))
        if annotation.get("segmentation"):
            annotation["segmentation"] = turn_polygons(annotation["segmentation"], facts.stored, facts.turn)
    image["width"], image["height"] = facts.size
    return True


def _can_be_turned(annotation: Entry) -> bool:
    return not isinstance(annotation.get("segmentation"), dict) and "keypoints" not in annotation


def _merge(draft: _Draft, finding: Finding) -> bool:
    """Give the annotations of a file's later entries to its first; not if another file has one of their ids."""
    mine = [entry for entry in draft.entries if entry.file_name == finding.file]
    mine = [entry for entry in mine if draft.images[entry.position] is not None]
    ids = {entry.id for entry in mine}
    if not mine or any(entry.id in ids and entry.file_name != finding.file for entry in draft.entries):
        return False
    for number in ids:
        for annotation in (draft.annotations[position] for position in draft.of_picture[number]):
            if annotation is not None:
                annotation["image_id"] = mine[0].id
    for entry in mine[1:]:
        draft.images[entry.position] = None
    return True


def _renumber(draft: _Draft, finding: Finding) -> bool:
    annotation = draft.annotations[_position(finding)]
    if annotation is not None:
        annotation["id"] = draft.free_id()
    return annotation is not None


def _fill_size(draft: _Draft, finding: Finding) -> bool:
    """Write the size; not if the boxes may have been drawn on the picture as stored."""
    image, facts = draft.images[_position(finding)], draft.facts.get(finding.file or "")
    if image is None or facts is None or facts.error is not None or facts.turn in SIDEWAYS:
        return False
    for key, side in zip(("width", "height"), facts.size, strict=True):
        image[key] = side if image.get(key) is None else image[key]
    return True


def _by_copying(draft: _Draft, finding: Finding) -> bool:
    """Nothing to change: only listed pictures are copied, and links are followed."""
    return True


REPAIRS: dict[str, Callable[[_Draft, Finding], bool]] = {
    "path-traversal": _drop_picture,
    "picture-missing": _drop_picture,
    "picture-unsupported": _drop_picture,
    "picture-broken": _drop_picture,
    "unknown-picture": _drop_annotation,
    "box-empty": _drop_annotation,
    "box-off-picture": _drop_annotation,
    "annotation-twice": _drop_annotation,
    "box-outside": _clip,
    "picture-rotated": _turn,
    "file-name-twice": _merge,
    "annotation-id-missing": _renumber,
    "annotation-id-twice": _renumber,
    "annotation-id-zero": _renumber,
    "size-missing": _fill_size,
    "symbolic-link": _by_copying,
    "picture-unlisted": _by_copying,
    "stray-folder": _by_copying,
}
"""How a finding is repaired, by code, in this order; each function returns whether it repaired the finding."""


def _write(raw: Entry, source: Path, target: Path, advance: Progress | None) -> None:
    target.mkdir(parents=True)
    names = list(dict.fromkeys(_existing(raw["images"], source)))
    for number, name in enumerate(names, start=1):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        _copy(source / name, target / name)
        if advance:
            advance(number, len(names))
    try:
        (target / ANNOTATIONS).write_text(json.dumps(raw, indent=1), encoding="utf-8")
    except RecursionError:
        raise DataError(f"{source / ANNOTATIONS}: nested too deeply to be written.", "Export the file again.") from None


def _copy(source: Path, target: Path) -> None:
    """Copy a file; of a symbolic link, the file it points to."""
    try:
        content = source.read_bytes()
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}.", "Make it readable.") from error
    target.write_bytes(content)


def _existing(images: list[Entry], source: Path) -> Iterator[str]:
    for image in images:
        name: Any = image.get("file_name")
        if isinstance(name, str) and name and "\0" not in name and stays_inside(name) and (source / name).is_file():
            yield name


def turn_box(box: Box, stored: tuple[int, int], orientation: int) -> Box:
    """A box x, y, width, height drawn on the stored picture, on the upright picture.

    Args:
        box: pixels.
        stored: (width, height) of the stored picture.
        orientation: EXIF 2.32, section 4.6.4, tag 274: 1..8.
    """
    x, y, width, height = box
    corners = [_turn_point(corner, stored, orientation) for corner in ((x, y), (x + width, y + height))]
    left, right = sorted(corner[0] for corner in corners)
    top, bottom = sorted(corner[1] for corner in corners)
    return left, top, right - left, bottom - top


def turn_polygons(polygons: list[Any], stored: tuple[int, int], orientation: int) -> list[Any]:
    """COCO polygons [[x1, y1, x2, y2, …], …], see ``turn_box``; anything but a polygon of numbers stays as it is."""
    return [_turn_polygon(polygon, stored, orientation) for polygon in polygons]


def _turn_polygon(polygon: Any, stored: tuple[int, int], orientation: int) -> Any:
    if not isinstance(polygon, list) or len(polygon) % 2 or not all(isinstance(side, int | float) for side in polygon):
        return polygon
    points = zip(polygon[::2], polygon[1::2], strict=True)
    return [side for point in points for side in _turn_point(point, stored, orientation)]


def _turn_point(point: Point, stored: tuple[int, int], orientation: int) -> Point:
    (x, y), (width, height) = point, stored
    if orientation in (2, 3, 7, 8):
        x = width - x
    if orientation in (3, 4, 6, 7):
        y = height - y
    return (y, x) if orientation in (5, 6, 7, 8) else (x, y)

"""Writes a repaired copy of a data folder: what needs no guess is repaired, the rest stays as it is.

To add a repair: one function, one row of ``REPAIRS``, and a text in the row of ``findings.CODES``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from boxwright.host.files import new_folder, require_new_folder
from boxwright.runtime import DataError
from boxwright.runtime.picture import SIDEWAYS

from .box_readings import outline_bounds, turn_of
from .checks import Inspection
from .checks.scan import PictureFacts, boxes_size, is_size_certain
from .documents import (
    ANNOTATIONS,
    Box,
    Document,
    Entry,
    ImageEntry,
    clip,
    fits,
    json_text,
    number_of,
    side_of,
    whole_id,
)
from .file_names import FolderNames, is_file_name, stays_inside
from .findings import Finding

__all__ = ["REPAIRS", "can_be_turned", "repair", "turn_box", "turn_polygons"]

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
        pictures have, the boxes of a picture of another size than the JSON says, what most pictures or boxes of a
        split have in common.

    Raises:
        ConfigError: ``out`` holds files already, or lies in the data folder.
        DataError: a file cannot be read; most pictures of a split are missing.
    """
    out = Path(out)
    require_new_folder(out, inspection.root)
    for code, remedy in _REFUSED.items():
        first = next((finding for finding in inspection.findings if finding.code == code), None)
        if first is not None:
            raise DataError(f"{inspection.root}: {first}.", remedy)
    done: list[Finding] = []
    with new_folder(out) as folder:
        for split, document in inspection.documents.items():
            source = inspection.root / split
            draft = _Draft(document, source, inspection.facts[split], inspection.findings)
            done += draft.repair()
            _write(draft, source, folder / split, advance)
    return tuple(done)


class _Draft:
    """One split's JSON document during the repair. A removed entry becomes None, so that positions stay valid."""

    def __init__(
        self, document: Document, folder: Path, facts: Mapping[str, PictureFacts], findings: Sequence[Finding]
    ) -> None:
        self._raw = document.raw
        self.folder = folder
        self.facts = facts
        self.entries = document.images
        self.images: list[Entry | None] = [{**image} for image in document.raw["images"]]
        self.annotations: list[Entry | None] = [{**annotation} for annotation in document.raw["annotations"]]
        self.boxes = {entry.position: entry for entry in document.annotations}
        self.of_picture: dict[int, list[int]] = defaultdict(list)
        for entry in document.annotations:
            self.of_picture[entry.image_id].append(entry.position)
        self.owned = Counter(whole_id(annotation.get("image_id")) for annotation in document.raw["annotations"])
        self.listed = Counter(document.listed["images"])
        used = Counter(entry.id for entry in document.images)
        self.by_id = {entry.id: entry for entry in document.images if used[entry.id] == 1}
        ids = (annotation.get("id") for annotation in document.raw["annotations"])
        self._largest_id = max((number for one in ids if (number := whole_id(one)) is not None), default=0)
        self._findings: dict[str, list[Finding]] = defaultdict(list)
        for finding in findings:
            if finding.split == document.split:
                self._findings[finding.code].append(finding)
        pictures = [entry for entry in document.images if is_size_certain(entry, facts.get(entry.file_name))]
        self.certain = {entry.id for entry in pictures} & set(self.by_id)
        self.swapped = self._swapped()
        self.unresolved = any(self._findings[code] for code in ("file-name-unclear", "picture-key"))
        self.readable = not (self._findings["boxes-reading"] or self._findings["boxes-disagree"])
        if not self.readable:
            self.certain.clear()  # until they are converted, nothing can be said of any box

    def _swapped(self) -> frozenset[int]:
        """Positions of pictures whose JSON swaps width and height, if the boxes of all such pictures prove it."""
        entries = [entry for entry in self.by_id.values() if self._is_swapped(entry)]
        rows = [(self.boxes[position].box, entry) for entry in entries for position in self.of_picture[entry.id]]
        fit = all(fits(box, self.facts[entry.file_name].size) for box, entry in rows)
        proved = any(not fits(box, entry.size) for box, entry in rows if entry.size)
        return frozenset(entry.position for entry in entries if fit and proved)

    def _is_swapped(self, entry: ImageEntry) -> bool:
        facts = self.facts.get(entry.file_name)
        if facts is None or facts.error is not None or entry.size is None or facts.turn in SIDEWAYS:
            return False
        return entry.size == facts.size[::-1] != facts.size

    def repair(self) -> Iterator[Finding]:
        """Apply ``REPAIRS``; yields the findings that were repaired."""
        for code, repair_finding in REPAIRS.items():
            if not self._would_empty(code):
                yield from (finding for finding in self._findings[code] if repair_finding(self, finding))

    def _would_empty(self, code: str) -> bool:
        """Whether a repair would remove most of the split's pictures or boxes: then the cause is another one."""
        if code == "unknown-picture" and any(self._findings[one] for one in _ODD_PICTURE_IDS):
            return True  # its picture may be the one whose id is wrong
        together = next((codes for codes in _REMOVED_TOGETHER if code in codes), ())
        entries = self.images if together == _REMOVED_TOGETHER[0] else self.annotations
        many = 2 * sum(len(self._findings[one]) for one in together) > len(entries)
        return bool(together) and (many or (together == _REMOVED_TOGETHER[0] and self._would_lose_all_boxes(together)))

    def _would_lose_all_boxes(self, codes: Sequence[str]) -> bool:
        """Whether every box lies in pictures that these findings are about."""
        dropped = {finding.image_id for code in codes for finding in self._findings[code]}
        return bool(self.boxes) and all(entry.image_id in dropped for entry in self.boxes.values())

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
    """Remove the entry; its annotations too, unless another picture that stays has the same id.

    A picture that is there, outside its split, is not removed: it can be moved.
    """
    if finding.code == "path-traversal" and finding.file is not None and _is_there(draft.folder / finding.file):
        return False
    draft.images[_position(finding)] = None
    if finding.image_id is None:
        return True
    draft.listed[finding.image_id] -= 1
    if draft.listed[finding.image_id] == 0:
        for position in draft.of_picture[finding.image_id]:
            draft.annotations[position] = None
    return True


def _drop_box(draft: _Draft, finding: Finding) -> bool:
    """Remove a box that is not in its picture; not if it may have been drawn on another version of the picture."""
    entry = draft.boxes[_position(finding)]
    if min(entry.box[2:]) < 0:
        return False  # drawn from its other end, or something else: it is a box all the same
    certain = entry.image_id in draft.certain or (min(entry.box[2:]) <= 0 and draft.readable)
    return certain and _drop_annotation(draft, finding)


def _drop_annotation(draft: _Draft, finding: Finding) -> bool:
    exists = draft.annotations[_position(finding)] is not None
    draft.annotations[_position(finding)] = None
    return exists


def _clip(draft: _Draft, finding: Finding) -> bool:
    """Clip a box to its picture; the area of a mask is kept."""
    annotation, entry = draft.annotations[_position(finding)], draft.boxes[_position(finding)]
    picture = draft.by_id.get(entry.image_id) if entry.image_id in draft.certain else None
    size = boxes_size(picture, draft.facts.get(picture.file_name)) if picture else None
    clipped = clip(entry.box, size) if size else None
    if annotation is None or clipped is None:
        return False
    left, top, right, bottom = clipped
    annotation["bbox"] = [left, top, right - left, bottom - top]
    if not annotation.get("segmentation"):
        annotation["area"] = (right - left) * (bottom - top)
    return True


def _fill_area(draft: _Draft, finding: Finding) -> bool:
    """Write the box's area, as it is now."""
    annotation = draft.annotations[_position(finding)]
    if annotation is not None:
        width, height = (number_of(side) for side in annotation["bbox"][2:])
        annotation["area"] = width * height
    return annotation is not None


def _turn(draft: _Draft, finding: Finding) -> bool:
    """Move boxes and polygons drawn on the stored picture to where they lie on the upright one."""
    image, picture = draft.images[_position(finding)], draft.by_id.get(finding.image_id or 0)
    own = [draft.annotations[position] for position in draft.of_picture[finding.image_id or 0]]
    annotations = [annotation for annotation in own if annotation is not None]
    unreadable = picture is not None and draft.owned[picture.id] != len(draft.of_picture[picture.id])
    if (
        image is None
        or picture is None
        or unreadable
        or not all(can_be_turned(annotation) for annotation in annotations)
    ):
        return False
    facts = draft.facts[picture.file_name]
    if not all(fits(draft.boxes[position].box, facts.stored) for position in draft.of_picture[picture.id]):
        return False  # drawn on something else
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = list(turn_box((x, y, width, height), facts.stored, facts.turn))
        if annotation.get("segmentation"):
            annotation["segmentation"] = turn_polygons(annotation["segmentation"], facts.stored, facts.turn)
    image["width"], image["height"] = facts.size
    return True


def can_be_turned(annotation: Entry) -> bool:
    """Whether everything in it that has a place is a box or polygons; masks, keypoints and angles would stay behind."""
    outline = annotation.get("segmentation")
    known = not outline or outline_bounds(outline) is not None
    return known and "keypoints" not in annotation and not turn_of(annotation)


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
        image[key] = side if side_of(image.get(key)) is None else image[key]
    return True


def _swap_size(draft: _Draft, finding: Finding) -> bool:
    """Write the picture's own size if the boxes prove that the JSON has its sides swapped."""
    image, facts = draft.images[_position(finding)], draft.facts.get(finding.file or "")
    if image is None or facts is None or finding.position not in draft.swapped:
        return False
    image["width"], image["height"] = facts.size
    if finding.image_id is not None:
        draft.certain.add(finding.image_id)
    return True


def _write_name(draft: _Draft, finding: Finding) -> bool:
    image = draft.images[_position(finding)]
    if image is not None:
        image["file_name"] = finding.file
    return image is not None


def _by_copying(draft: _Draft, finding: Finding) -> bool:
    """Nothing to change: only listed pictures are copied, and links are followed."""
    return finding.code == "symbolic-link" or not draft.unresolved


REPAIRS: dict[str, Callable[[_Draft, Finding], bool]] = {
    "picture-size": _swap_size,
    "file-name-guessed": _write_name,
    "path-traversal": _drop_picture,
    "picture-missing": _drop_picture,
    "picture-unsupported": _drop_picture,
    "picture-broken": _drop_picture,
    "unknown-picture": _drop_annotation,
    "box-empty": _drop_box,
    "box-off-picture": _drop_box,
    "annotation-twice": _drop_annotation,
    "box-outside": _clip,
    "picture-rotated": _turn,
    "area-wrong": _fill_area,
    "file-name-twice": _merge,
    "annotation-id-missing": _renumber,
    "annotation-id-twice": _renumber,
    "annotation-id-zero": _renumber,
    "size-missing": _fill_size,
    "symbolic-link": _by_copying,
    "picture-unlisted": _by_copying,
    "picture-format": _by_copying,
    "stray-folder": _by_copying,
}
"""How a finding is repaired, by code, in this order; each function returns whether it repaired the finding."""

_REMOVED_TOGETHER = (
    ("path-traversal", "picture-missing", "picture-unsupported", "picture-broken"),
    ("box-empty", "box-off-picture", "box-outside", "box-larger"),
    ("unknown-picture",),
    ("annotation-twice",),
)
"""What most pictures or boxes of a split have in common is counted together; such a repair is not made."""

_ODD_PICTURE_IDS = ("picture-key", "picture-id-twice", "id-text")

_REFUSED = {
    "json-broken": "What cannot be read cannot be repaired; export it again.",
    "json-incomplete": "What cannot be read cannot be repaired; export it again.",
    "pictures-absent": "Put the pictures there first; a copy without them would be nothing.",
}
"""Findings that leave nothing to repair, and what to do."""


def _write(draft: _Draft, source: Path, target: Path, advance: Progress | None) -> None:
    """Write a split; where a name may mean any of several files, all of its files are copied."""
    target.mkdir(parents=True)
    raw, others = draft.document(), FolderNames(source).files if draft.unresolved else ()
    names = list(dict.fromkeys([*_existing(raw["images"], source), *(name for name in others if name != ANNOTATIONS)]))
    for number, name in enumerate(names, start=1):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        _copy(source / name, target / name)
        if advance:
            advance(number, len(names))
    try:
        (target / ANNOTATIONS).write_text(json_text(raw, indent=1), encoding="utf-8")
    except RecursionError:
        raise DataError(f"{source / ANNOTATIONS}: nested too deeply to be written.", "Export the file again.") from None


def _copy(source: Path, target: Path) -> None:
    """Copy a file; of a symbolic link, the file it points to."""
    try:
        content = source.read_bytes()
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}.", "Make it readable.") from error
    target.write_bytes(content)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _existing(images: list[Entry], source: Path) -> Iterator[str]:
    for image in images:
        name: Any = image.get("file_name")
        if is_file_name(name) and stays_inside(name) and (source / name).is_file():
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
    """COCO polygons, [[x1, y1, x2, y2, …], …] or one of them alone, see ``turn_box``; anything else stays as it is."""
    if all(isinstance(polygon, list) for polygon in polygons):
        return [_turn_polygon(polygon, stored, orientation) for polygon in polygons]
    turned: list[Any] = _turn_polygon(polygons, stored, orientation)
    return turned


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

"""Writes a repaired copy of a data folder: what needs no guess is repaired, the rest stays as it is."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from boxwright.data.checks.annotations import clip
from boxwright.data.checks.scan import PictureFacts
from boxwright.runtime import DataError
from boxwright.runtime.picture import SIDEWAYS

from .checks import Inspection
from .documents import ANNOTATIONS, Document, Entry, stays_inside
from .findings import Finding
from .new_folder import new_folder, require_new_folder
from .turning import turn_box, turn_polygons

__all__ = ["REPAIRS", "repair", "repair_folder"]

Progress = Callable[[int, int], object]


def repair_folder(inspection: Inspection, out: Path, advance: Progress | None = None) -> tuple[Finding, ...]:
    """Write a repaired copy; the original is not touched. ``CODES`` says what is repaired, and how.

    Args:
        inspection: of the folder to repair, pixels included.
        out: new or empty folder.
        advance: called with (pictures copied, pictures in all), split by split.

    Returns:
        The findings that were repaired. What is repairable in general is left alone where it would
        be a guess here: an id that several pictures have, a picture of another size than the JSON says.

    Raises:
        ConfigError: ``out`` holds files already, or lies in the data folder.
        DataError: a file that cannot be read.
    """
    require_new_folder(out, inspection.root)
    unread = [one for one in inspection.findings if one.code in ("json-broken", "json-incomplete")]
    if unread:
        raise DataError(f"{inspection.root}: {unread[0]}.", "What cannot be read cannot be repaired; export it again.")
    done: list[Finding] = []
    with new_folder(out) as folder:
        for split, document in inspection.documents.items():
            draft = _Draft(document, inspection.facts[split], inspection.findings)
            done += draft.repair()
            _write(draft.document(), inspection.root / split, folder / split, advance)
    return tuple(done)


def repair(inspection: Inspection, out: str | Path, *, advance: Progress | None = None) -> tuple[Finding, ...]:
    """See ``repair_folder``."""
    return repair_folder(inspection, Path(out), advance)


class _Draft:
    """One split's JSON document while it is repaired. What is taken out becomes None, so that positions hold."""

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
        numbers = [one["id"] for one in document.raw["annotations"] if isinstance(one.get("id"), int)]
        self._free = max(numbers, default=0)
        self._found: dict[str, list[Finding]] = defaultdict(list)
        for finding in findings:
            if finding.split == document.split:
                self._found[finding.code].append(finding)
        self.misfits = {finding.image_id for finding in self._found["picture-size"]}

    def repair(self) -> Iterator[Finding]:
        """Repair what can be; yields the findings that were."""
        for code, repair in REPAIRS.items():
            yield from (finding for finding in self._found[code] if repair(self, finding))

    def free_id(self) -> int:
        """An annotation id that none has."""
        self._free += 1
        return self._free

    def document(self) -> Entry:
        """The JSON document as it is now."""
        images = [image for image in self.images if image is not None]
        return {**self._raw, "images": images, "annotations": [one for one in self.annotations if one is not None]}


def _drop_picture(draft: _Draft, finding: Finding) -> bool:
    """Take out the entry; its annotations too, unless another picture has the same id."""
    assert finding.position is not None, "findings about entries have a position"
    draft.images[finding.position] = None
    entry = draft.by_id.get(finding.image_id) if finding.image_id is not None else None
    for position in draft.of_picture[entry.id] if entry else ():
        draft.annotations[position] = None
    return True


def _drop_annotation(draft: _Draft, finding: Finding) -> bool:
    assert finding.position is not None, "findings about entries have a position"
    there = draft.annotations[finding.position] is not None
    draft.annotations[finding.position] = None
    return there


def _clip(draft: _Draft, finding: Finding) -> bool:
    """Clip a box to its picture; the area stays that of a mask, where there is one."""
    assert finding.position is not None, "findings about entries have a position"
    annotation, entry = draft.annotations[finding.position], draft.boxes[finding.position]
    picture = draft.by_id.get(entry.image_id)
    size = picture.size if picture and picture.id not in draft.misfits else None
    clipped = clip(entry.box, size) if size else None
    if annotation is None or clipped is None:
        return False
    left, top, right, bottom = clipped
    annotation["bbox"] = [left, top, right - left, bottom - top]
    if not annotation.get("segmentation"):
        annotation["area"] = (right - left) * (bottom - top)
    return True


def _turn(draft: _Draft, finding: Finding) -> bool:
    """Boxes and polygons drawn on the stored picture, moved to where they lie on the upright one."""
    assert finding.position is not None, "findings about entries have a position"
    image, picture = draft.images[finding.position], draft.by_id.get(finding.image_id or 0)
    owned = [draft.annotations[position] for position in draft.of_picture[finding.image_id or 0]]
    annotations = [one for one in owned if one is not None]
    if image is None or picture is None or not all(_can_be_turned(one) for one in annotations):
        return False
    seen = draft.facts[picture.file_name]
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        annotation["bbox"] = list(turn_box((x, y, width, height), seen.stored, seen.turn))
        if annotation.get("segmentation"):
            annotation["segmentation"] = turn_polygons(annotation["segmentation"], seen.stored, seen.turn)
    image["width"], image["height"] = seen.size
    return True


def _can_be_turned(annotation: Entry) -> bool:
    return not isinstance(annotation.get("segmentation"), dict) and "keypoints" not in annotation


def _merge(draft: _Draft, finding: Finding) -> bool:
    """Give the annotations of later entries of a file to its first; not where another file has one of their ids."""
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
    assert finding.position is not None, "findings about entries have a position"
    annotation = draft.annotations[finding.position]
    if annotation is not None:
        annotation["id"] = draft.free_id()
    return annotation is not None


def _fill_size(draft: _Draft, finding: Finding) -> bool:
    """Write the size; not where the boxes may have been drawn on the picture as stored."""
    assert finding.position is not None, "findings about entries have a position"
    image, seen = draft.images[finding.position], draft.facts.get(finding.file or "")
    if image is None or seen is None or seen.error is not None or seen.turn in SIDEWAYS:
        return False
    for key, side in zip(("width", "height"), seen.size, strict=True):
        image[key] = side if image.get(key) is None else image[key]
    return True


def _by_copying(draft: _Draft, finding: Finding) -> bool:
    """Only what is listed is copied, and through links."""
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
"""How a finding is repaired, by code, in this order; each says whether it did."""


def _write(raw: Entry, source: Path, target: Path, advance: Progress | None) -> None:
    target.mkdir(parents=True)
    names = list(dict.fromkeys(_present(raw["images"], source)))
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
    """Through a symbolic link: the file itself."""
    try:
        content = source.read_bytes()
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}.", "Make it readable.") from error
    target.write_bytes(content)


def _present(images: list[Entry], source: Path) -> Iterator[str]:
    for image in images:
        name: Any = image.get("file_name")
        if isinstance(name, str) and name and "\0" not in name and stays_inside(name) and (source / name).is_file():
            yield name

"""``boxwright check --html``: one self-contained page about a data folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.data import CODES, Finding, Inspection
from boxwright.data.documents import AnnotationEntry
from boxwright.host.places import as_given
from boxwright.runtime import PictureError, decode
from boxwright.runtime.picture import LARGEST_PIXELS

from .page import write_page
from .pictures import Marked, data_uri, heat_map, thumbnail

__all__ = ["write_check_page"]

_MOST_OF_A_CODE = 200  # rows per code on the page; --json has them all
_MOST_PICTURES = 24
_PICTURES_OF_A_CODE = 4
_SIDES = (0, 8, 16, 32, 64, 96, 128, 256, 512, np.inf)  # pixels; COCO's small and medium end at 32 and 96


def write_check_page(inspection: Inspection, path: Path) -> None:
    """Write the page: findings, pictures of the worst ones, classes, box sizes, and where boxes lie.

    Args:
        inspection: of the data folder.
        path: of the HTML file; an existing one is replaced.
    """
    write_page(
        path,
        "check.html.j2",
        data=as_given(str(inspection.root)),
        document=inspection.to_document(),
        groups=list(_groups(inspection)),
        classes=list(_classes(inspection)),
        sizes=_sizes(inspection),
        pictures=list(_worst(inspection)),
        splits=list(inspection.documents),
    )


def _groups(inspection: Inspection) -> Iterator[dict[str, Any]]:
    """Findings by code, in the order of the codes' first findings."""
    by_code: dict[str, list[Finding]] = defaultdict(list)
    for finding in inspection.findings:
        by_code[finding.code].append(finding)
    for code, findings in by_code.items():
        shown = findings[:_MOST_OF_A_CODE]
        yield {"code": code, "row": CODES[code], "findings": shown, "more": len(findings) - len(shown)}


def _classes(inspection: Inspection) -> Iterator[dict[str, Any]]:
    """Each class with its boxes by split, in numbers and relative to the most frequent class, and its heat map."""
    statistics = inspection.statistics()
    counts = {one.name: [split["classes"][one.name] for split in statistics.values()] for one in inspection.classes}
    most = max((sum(numbers) for numbers in counts.values()), default=0) or 1
    places = _places(inspection)
    for one in inspection.classes:
        picture = data_uri(heat_map(np.array(places[one.id]).reshape(-1, 4)), "PNG") if places[one.id] else None
        numbers = counts[one.name]
        yield {"name": one.name, "counts": numbers, "bars": [100 * number / most for number in numbers], "map": picture}


def _places(inspection: Inspection) -> dict[int, list[list[float]]]:
    """Boxes xyxy in shares of their pictures' sides, by category id."""
    places: dict[int, list[list[float]]] = defaultdict(list)
    for entry, (width, height) in _boxes(inspection):
        x, y, across, down = entry.box
        if across > 0 and down > 0:
            places[entry.category_id].append([x / width, y / height, (x + across) / width, (y + down) / height])
    return places


def _boxes(inspection: Inspection) -> Iterator[tuple[AnnotationEntry, tuple[int, int]]]:
    """Every box whose picture could be opened, with the picture's (width, height)."""
    for split, document in inspection.documents.items():
        seen = {image.id: inspection.facts[split].get(image.file_name) for image in document.images}
        for entry in document.annotations:
            facts = seen.get(entry.image_id)
            if facts is not None and facts.error is None:
                yield entry, facts.size


def _sizes(inspection: Inspection) -> list[dict[str, Any]]:
    """Histogram of the boxes' sides: the square root of their areas, in pixels."""
    areas = [max(entry.box[2] * entry.box[3], 0.0) for entry, _ in _boxes(inspection)]
    sides: NDArray[np.float64] = np.sqrt(np.array(areas, dtype=np.float64))
    counts, _ = np.histogram(sides, bins=_SIDES)
    most = max(int(counts.max()), 1)
    return [
        {"from": low, "to": None if high == np.inf else high, "count": int(count), "bar": 100 * int(count) / most}
        for low, high, count in zip(_SIDES[:-1], _SIDES[1:], counts, strict=True)
    ]


def _worst(inspection: Inspection) -> Iterator[dict[str, Any]]:
    """Pictures of the first findings of each code, with their boxes drawn, if the finding has a picture."""
    shown: dict[str, int] = defaultdict(int)
    seen: set[tuple[str | None, str | None]] = set()
    for finding in inspection.findings:
        place = (finding.split, finding.file)
        if shown[finding.code] >= _PICTURES_OF_A_CODE or sum(shown.values()) >= _MOST_PICTURES or place in seen:
            continue
        uri = _drawn(finding, inspection)
        if uri is not None:
            shown[finding.code] += 1
            seen.add(place)
            yield {"finding": finding, "uri": uri}


def _drawn(finding: Finding, inspection: Inspection) -> str | None:
    """The finding's picture; None if it has none that can be decoded."""
    document = inspection.documents.get(finding.split or "")
    if document is None or finding.level == "note" or finding.file is None:
        return None
    path = inspection.root / document.split / finding.file
    facts = inspection.facts[document.split].get(finding.file)
    owners = [image.id for image in document.images if image.file_name == finding.file]
    if facts is None or facts.error is not None or not owners:
        return None
    try:
        image = decode(path, LARGEST_PIXELS)
    except PictureError:  # only its header had been read
        return None
    boxes = [entry for entry in document.annotations if entry.image_id in owners]
    return data_uri(thumbnail(image, _marked(boxes, finding)))


def _marked(entries: Sequence[AnnotationEntry], finding: Finding) -> list[Marked]:
    return [
        Marked((x, y, x + width, y + height), finding.annotation_id is not None and entry.id == finding.annotation_id)
        for entry in entries
        for x, y, width, height in (entry.box,)
    ]

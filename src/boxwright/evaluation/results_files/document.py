"""A COCO results file of any tool becomes columns; what is no results file, or holds a number that is none, is named.

A results file is a JSON list with one object for each detection: ``image_id``, ``category_id``, ``bbox`` and ``score``.
Some tools write a whole COCO document instead, with a ``score`` in each annotation, and some add names to the ids.
To take the key of another tool for a name, add it to ``_PICTURE_NAMES`` or ``_CATEGORY_NAMES``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.data.documents import is_list_of_objects, is_number, name_of
from boxwright.data.text import json_of, text_of
from boxwright.runtime import DataError

__all__ = ["ResultsFile", "is_results_file", "read_results_file"]

_PICTURE_NAMES = ("file_name",)  # Ultralytics; boxwright predict
_CATEGORY_NAMES = ("category_name", "class")  # SAHI; boxwright predict
_WANTED = 'A results file is a JSON list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}.'
_MOST_KEYS = 5  # in one sentence


@dataclass(frozen=True, eq=False)
class ResultsFile:
    """D detections as they are written.

    Attributes:
        path: of the file.
        digest: SHA-256 (hex) of the file.
        numbers: float64 [D, 4], finite, four of each box.
        scores: float64 [D], in [0, 1].
        picture_ids: of any type; None if the file has none.
        picture_names: file names of the pictures; None if not all detections have one.
        category_ids: of any type; None if the file has none.
        category_names: None if not all detections have one.
    """

    path: Path
    digest: str
    numbers: NDArray[np.float64] = field(repr=False)
    scores: NDArray[np.float64] = field(repr=False)
    picture_ids: Sequence[Any] | None = field(repr=False)
    picture_names: Sequence[str] | None = field(repr=False)
    category_ids: Sequence[Any] | None = field(repr=False)
    category_names: Sequence[str] | None = field(repr=False)

    def __len__(self) -> int:
        return len(self.scores)


def is_results_file(source: str | Path) -> bool:
    """Whether a source is meant as a results file, not as a run or an archive."""
    path = Path(source)
    return path.suffix.lower() == ".json" and not path.is_dir()


def read_results_file(path: Path) -> ResultsFile:
    """Read a results file.

    Raises:
        DataError: it is none, or a detection has a number that is none; its place in the list is named, from 0.
    """
    content = _content(path)
    document = _parsed(path, content)
    entries = _entries(path, document)
    picture_ids, category_ids = _ids(path, entries, "image_id"), _ids(path, entries, "category_id")
    picture_names, category_names = _names(entries, _PICTURE_NAMES), _names(entries, _CATEGORY_NAMES)
    if isinstance(document, dict):
        picture_names = picture_names or _names_by_id(document, "images", "file_name", picture_ids)
        category_names = category_names or _names_by_id(document, "categories", "name", category_ids)
    _require(path, "image_id", picture_ids, picture_names)
    _require(path, "category_id", category_ids, category_names)
    return ResultsFile(
        path=path,
        digest=hashlib.sha256(content).hexdigest(),
        numbers=_numbers(path, entries),
        scores=_scores(path, entries),
        picture_ids=picture_ids,
        picture_names=picture_names,
        category_ids=category_ids,
        category_names=category_names,
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.", "Give a results file, a run folder or an archive.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.", "Make it readable.") from error


def _parsed(path: Path, content: bytes) -> Any:
    try:
        return json_of(text_of(content))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: no readable JSON: {str(error).removesuffix('.')}.", _WANTED) from error


def _entries(path: Path, document: Any) -> list[dict[str, Any]]:
    """The objects that are detections."""
    if isinstance(document, dict):
        return _annotations(path, document)
    if not isinstance(document, list):
        raise DataError(f"{path}: holds {_kind(document)}, not a list of detections.", _WANTED)
    wrong = next((at for at, one in enumerate(document) if not isinstance(one, dict)), None)
    if wrong is not None:
        raise DataError(f"{path}: detection {wrong} is {_kind(document[wrong])}, not an object.", _WANTED)
    for at, one in enumerate(document):
        if "frame" in one and "image_id" not in one:
            raise DataError(
                f"{path}: detection {at} is of a frame of a video ({one.get('file_name')!r}, frame {one['frame']!r}).",
                "Only pictures of the data can be measured.",
            )
    return document


def _annotations(path: Path, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The annotations of a COCO document, each with a score."""
    annotations = document.get("annotations")
    if not is_list_of_objects(annotations):
        keys = ", ".join(map(repr, list(document)[:_MOST_KEYS])) or "no keys"
        raise DataError(f"{path}: is no results file, but a JSON object with {keys}.", _WANTED)
    assert isinstance(annotations, list), "just checked"
    without = [at for at, one in enumerate(annotations) if "score" not in one]
    if annotations and len(without) == len(annotations):
        remedy = f"If it is what to measure by, give it as --data. {_WANTED}"
        raise DataError(f"{path}: holds annotations (ground truth), not detections: none has a score.", remedy)
    if without:
        raise DataError(
            f"{path}: annotation {without[0]} has no score{_and_more(len(without))}.",
            "All have one in a file of detections, none in a file of ground truth.",
        )
    return annotations


def _kind(value: Any) -> str:
    kinds = {list: "a list", dict: "an object", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _ids(path: Path, entries: Sequence[Mapping[str, Any]], key: str) -> list[Any] | None:
    """The ids, if any detection has one; then all must be a number or a text."""
    ids = [entry.get(key) for entry in entries]
    if entries and all(one is None for one in ids):
        return None
    _require_all(path, ids, key, lambda one: isinstance(one, str) or is_number(one), "is no id, a whole number or text")
    return ids


def _names(entries: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> list[str] | None:
    """The names under the first key that gives one for every detection."""
    for key in keys:
        names = [entry.get(key) for entry in entries]
        if names and all(isinstance(name, str) for name in names):
            return [str(name) for name in names]
    return None


def _names_by_id(document: Mapping[str, Any], part: str, key: str, ids: Sequence[Any] | None) -> list[str] | None:
    """The names that the document's own list of pictures or categories gives the ids."""
    listed = document.get(part)
    if ids is None or not is_list_of_objects(listed):
        return None
    assert isinstance(listed, list), "just checked"
    hashable = [entry for entry in listed if isinstance(entry.get("id"), int | float | str)]
    own = {entry["id"]: name for entry in hashable if (name := name_of(entry.get(key))) is not None}
    names = [own.get(one) for one in ids]
    return [str(name) for name in names] if names and None not in names else None


def _require(path: Path, key: str, ids: object, names: object) -> None:
    if ids is None and names is None:
        raise DataError(f"{path}: no detection has {key!r}.", _WANTED)


def _numbers(path: Path, entries: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    boxes = [entry.get("bbox") for entry in entries]
    without = [at for at, box in enumerate(boxes) if box is None]
    if without:
        others = [key for key in ("segmentation", "keypoints") if key in entries[without[0]]]
        instead = f", only {others[0]!r}" if others else ""
        raise DataError(f"{path}: detection {without[0]} has no 'bbox'{instead}{_and_more(len(without))}.", _WANTED)
    _require_all(path, boxes, "bbox", _is_box, "is not four finite numbers")
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def _scores(path: Path, entries: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    scores = [entry.get("score") for entry in entries]
    remedy = "A score is a share: 0.5, not 50 per cent and not a logit."
    _require_all(path, scores, "score", _is_share, "is not a number from 0 to 1", remedy)
    return np.array(scores, dtype=np.float64)


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def _require_all(
    path: Path, values: Sequence[Any], key: str, fits: Callable[[Any], bool], problem: str, remedy: str = _WANTED
) -> None:
    wrong = [at for at, value in enumerate(values) if not fits(value)]
    if wrong:
        more = _and_more(len(wrong))
        shown = repr(values[wrong[0]])[:80]
        raise DataError(f"{path}: detection {wrong[0]}: {key} = {shown} {problem}{more}.", remedy)


def _and_more(count: int) -> str:
    return f" (and {count - 1} more like it)" if count > 1 else ""

"""Runs every check over a data folder.

To add a check: write a generator of findings, of one split (in ``pictures.py`` or ``annotations.py``) or of the whole
folder, and add it to ``SPLIT_CHECKS`` or ``FOLDER_CHECKS``. A new kind of finding is a row of ``findings.CODES``.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.data.contract import class_contract
from boxwright.data.documents import ANNOTATIONS, OTHER_NAMES, SPLITS, Document, read_document
from boxwright.data.findings import CODES, LEVELS, Finding, Level, by_kind
from boxwright.data.stored import local_data
from boxwright.host.listing import Listed, Listing
from boxwright.host.places import in_command
from boxwright.inputs.zipped import refuse_packed
from boxwright.runtime import ClassEntry, DataError
from boxwright.runtime.picture import DATA_PIXELS

from .annotations import (
    boxes_by_class,
    check_annotations,
    check_balance,
    check_categories,
    check_category_ids,
    check_class_names,
    check_meaning,
    check_sizes,
    check_turns,
    check_usable_boxes,
)
from .pictures import check_likeness, check_listing, check_pictures
from .scan import FolderContents, PictureFacts, SplitContents, list_split, scan_pictures

__all__ = ["FOLDER_CHECKS", "SPLIT_CHECKS", "Inspection", "check", "inspect_folder", "require_data_folder"]

_GIVE = "Give the folder that holds train/ and valid/, or its .zip."

SPLIT_CHECKS: tuple[Callable[[SplitContents], Iterator[Finding]], ...] = (
    check_listing,
    check_pictures,
    check_category_ids,
    check_annotations,
    check_usable_boxes,
    check_meaning,
    check_turns,
)
FOLDER_CHECKS: tuple[Callable[[FolderContents], Iterator[Finding]], ...] = (
    check_categories,
    check_class_names,
    check_balance,
    check_sizes,
    check_likeness,
)

SCHEMA = 1
_MOST_KINDS = 5  # in one sentence
_ORDER = {code: position for position, code in enumerate(CODES)}
_REQUIRED = ("train", "valid")
_FORMATS = {"yolo": "a YOLO export", "voc": "Pascal VOC", "coco": "COCO in another layout"}


@dataclass(frozen=True, eq=False, repr=False)
class Inspection(Listed):
    """Result of the data check; ``print`` and notebooks show what kinds of findings there are, and how many.

    Attributes:
        root: the folder.
        classes: the class contract by class index; empty without a training split.
        documents: by split, those that could be read.
        facts: of every listed picture that exists, by split and file name.
        findings: errors, then warnings, then notes; of each, by code.
    """

    root: Path
    classes: tuple[ClassEntry, ...]
    documents: Mapping[str, Document]
    facts: Mapping[str, Mapping[str, PictureFacts]]
    findings: tuple[Finding, ...]

    def listing(self) -> Listing:
        """One row per kind of finding, with the first one."""
        counts = Counter(finding.code for finding in self.findings)
        firsts = {finding.code: finding for finding in reversed(self.findings)}
        rows = [
            (code, CODES[code].level, str(counts[code]), str(firsts[code]))
            for code in sorted(counts, key=lambda code: _ORDER[code])
        ]
        by_level = (f"{len(self.of(level))} {level}{'' if len(self.of(level)) == 1 else 's'}" for level in LEVELS)
        return Listing(f"{self.root}: {', '.join(by_level)}", ("finding", "level", "count", "the first one"), rows)

    def of(self, level: Level) -> list[Finding]:
        """Findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    def to_document(self) -> dict[str, Any]:
        """What ``boxwright check --json`` writes; ``docs/check.md`` describes it."""
        return {
            "schema": SCHEMA,
            "data": str(self.root),
            "summary": {f"{level}s": len(self.of(level)) for level in LEVELS},
            "splits": self.statistics(),
            "findings": [finding.to_json() for finding in self.findings],
        }

    def statistics(self) -> dict[str, Any]:
        """Counts by split: pictures, those without objects, boxes, boxes by class."""
        by_class = boxes_by_class(self.documents, self.classes)
        return {split: _statistics(document, by_class[split]) for split, document in self.documents.items()}

    def require_no_errors(self) -> None:
        """Refuse data that cannot be trained on.

        Raises:
            DataError: names the first errors and their number.
        """
        errors = self.of("error")
        if not errors:
            return
        if len(errors) == 1:
            raise DataError(f"{self.root}: {errors[0]}.", errors[0].remedy)
        kinds = by_kind(errors)
        first = "; ".join(kinds[:_MOST_KINDS])
        rest = f"; and {len(kinds) - _MOST_KINDS} more kinds" if len(kinds) > _MOST_KINDS else ""
        raise DataError(
            f"{self.root}: {len(errors)} errors: {first}{rest}.", f"See: boxwright check {in_command(self.root)}"
        )


def _statistics(document: Document, by_class: Mapping[str, int]) -> dict[str, Any]:
    with_objects = {entry.image_id for entry in document.annotations}
    return {
        "pictures": len(document.images),
        "without_objects": sum(entry.id not in with_objects for entry in document.images),
        "boxes": len(document.annotations),
        "classes": dict(by_class),
    }


def check(
    data: str | Path, *, max_pixels: int = DATA_PIXELS, advance: Callable[[int, int], object] | None = None
) -> Inspection:
    """Check a data set: read every split, open every picture, report every finding.

    Args:
        data: folder with ``train/``, ``valid/`` and optionally ``test/``, or its URL.
        max_pixels: largest accepted width x height of a picture.
        advance: called with (pictures done, pictures in all).

    Raises:
        DataError: the folder does not exist, or nothing in it can be checked.
    """
    return inspect_folder(local_data(data), max_pixels=max_pixels, advance=advance)


def inspect_folder(
    root: Path,
    splits: Sequence[str] | None = None,
    *,
    pixels: bool = True,
    max_pixels: int = DATA_PIXELS,
    workers: int | None = None,
    advance: Callable[[int, int], object] | None = None,
) -> Inspection:
    """Check a data folder, or a part of it; see ``check``.

    Args:
        root: holds ``train/``, ``valid/`` and optionally ``test/``.
        splits: check only these; all by default.
        pixels: decode every picture and look for equal and similar ones; else only headers are read.
        max_pixels: largest accepted width x height of a picture.
        workers: threads; one per processor by default.
        advance: called with (pictures done, pictures in all).

    Raises:
        DataError: the folder does not exist, or nothing in it can be checked.
    """
    findings: list[Finding] = []
    documents = _read(root, _splits_of(root, splits), findings)
    listings = {split: list_split(document, root / split) for split, document in documents.items()}
    keys = [
        (split, name)
        for split, document in documents.items()
        for name in dict.fromkeys(entry.file_name for entry in document.images)
        if name in listings[split].files
    ]
    paths = [os.path.join(root, split, name) for split, name in keys]  # noqa: PTH118  # see scan.py
    scanned = scan_pictures(paths, pixels=pixels, max_pixels=max_pixels, workers=workers, advance=advance)
    facts: dict[str, dict[str, PictureFacts]] = {split: {} for split in documents}
    for (split, name), picture in zip(keys, scanned, strict=True):
        facts[split][name] = picture
    classes = class_contract(documents)
    contents = {name: SplitContents(document, listings[name], facts[name]) for name, document in documents.items()}
    folder = FolderContents(contents, classes)
    findings += [finding for part in contents.values() for run in SPLIT_CHECKS for finding in run(part)]
    findings += [finding for run in FOLDER_CHECKS for finding in run(folder)]
    return Inspection(root, classes, documents, facts, tuple(sorted(findings, key=_rank)))


def require_data_folder(root: Path) -> None:
    """Raise unless a folder holds the splits that a training needs; takes no time.

    Raises:
        DataError: it does not.
    """
    _splits_of(root, None)
    for split in _REQUIRED:
        if not (root / split / ANNOTATIONS).is_file():
            found = Finding("split-missing", _missing(root, split), split, ANNOTATIONS)
            raise DataError(f"{root}: {found}.", found.remedy)


def _rank(finding: Finding) -> tuple[int, int]:
    """By level, then by code; the findings of a code keep the order of the data."""
    return LEVELS.index(finding.level), _ORDER[finding.code]


def _splits_of(root: Path, splits: Sequence[str] | None) -> list[str]:
    """Names of the splits to check."""
    if not root.is_dir():
        if root.is_file():
            refuse_packed(root)
            raise DataError(f"{root}: is a file.", _instead_of_file(root))
        raise DataError(f"{root}: no such {_kind_of(root)}.", f"{_close_to(root)}{_GIVE}")
    chosen = list(splits or (name for name in SPLITS if name in _REQUIRED or (root / name).is_dir()))
    if any((root / name / ANNOTATIONS).is_file() for name in chosen):
        return chosen
    there = [name for name in SPLITS if (root / name / ANNOTATIONS).is_file()]
    if not there:
        raise _not_a_data_set(root, chosen[0])
    made = f"boxwright convert {in_command(root)} OUT --split 0.7,0.15,0.15"
    raise DataError(
        f"{root / chosen[0] / ANNOTATIONS}: missing; there is no split {chosen[0]!r}.",
        f"Use --split {' or '.join(there)}; or make splits: {made}",
    )


def _kind_of(path: Path) -> str:
    return "file" if path.suffix.lower() in (".zip", ".yaml", ".yml", ".json") else "folder"


def _instead_of_file(path: Path) -> str:
    """What to give in the place of a file that other trainers take."""
    above = path.absolute().parent
    root = next((one for one in (above, above.parent) if (one / "train" / ANNOTATIONS).is_file()), None)
    if root is not None:
        return f"Give the folder that holds train/ and valid/: {root}"
    if path.suffix.lower() == ".zip":
        return "It is no ZIP archive, whatever its name: download it again."
    if path.suffix.lower() in (".yaml", ".yml"):
        command = f"boxwright convert {in_command(above)} OUT"
        return f"If it describes a data set of YOLO, convert that: {command}, then give OUT."
    return _GIVE


def _close_to(path: Path) -> str:
    """What is there under a name that is nearly the same."""
    try:
        names = [one.name for one in path.absolute().parent.iterdir() if one.is_dir() or one.suffix.lower() == ".zip"]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.parent / close[0]}? " if close else ""


def _single_split(root: Path) -> DataError:
    """A folder that holds an annotation file itself."""
    above = root.resolve().parent
    if any((above / name / ANNOTATIONS).is_file() and above / name != root.resolve() for name in SPLITS):
        remedy = f"Give the folder above: {'.' if above == Path.cwd() else above}"
    else:
        remedy = f"Make splits of it: boxwright convert {in_command(root)} OUT --from coco --split 0.7,0.15,0.15"
    return DataError(f"{root} is one split, not the whole data set.", remedy)


def _what_was_made_of_data(root: Path) -> DataError | None:
    """What to say of a run or an unpacked archive; None if it is not one."""
    given = in_command(root)
    if (root / "checkpoints").is_dir() and (root / "config.yaml").is_file():
        remedy = f"To go on with it: boxwright train --resume {given}. To begin with its weights: --weights {given}"
        return DataError(f"{root} is a run, not a data set.", remedy)
    if (root / "boxwright.json").is_file():
        remedy = f"To begin a training with its weights: --data DATA --weights {given}"
        return DataError(f"{root} is an archive of a model, not a data set.", remedy)
    return None


def _not_a_data_set(root: Path, split: str) -> DataError:
    """The most helpful error for a folder without annotation files; a conversion is only named if it can be read."""
    from boxwright.data.conversion import READERS  # this package is what conversion is made of
    from boxwright.data.conversion.recognise import recognised, seen

    path = root / split / ANNOTATIONS
    if (root / ANNOTATIONS).is_file():
        return _single_split(root)
    if (made := _what_was_made_of_data(root)) is not None:
        return made
    inside = sorted(path.parent.parent.name for path in root.glob(f"*/train/{ANNOTATIONS}"))
    if inside:
        return DataError(f"{root} holds several data sets: {', '.join(inside)}.", f"Give one: {root / inside[0]}.")
    try:
        form = recognised(root)
        if form in READERS:
            READERS[form](root)
            remedy = f"Convert it: boxwright convert {in_command(root)} OUT --from {form}"
            return DataError(f"{path}: missing; this looks like {_FORMATS.get(form, form)}.", remedy)
    except DataError as error:
        return DataError(f"{path}: missing; to convert it: {error.message}", error.remedy)
    zipped = sorted(root.glob("*.zip"))
    if zipped and not form:
        return DataError(
            f"{root}: holds {zipped[0].name!r}, still packed.", f"Unzip it: unzip {in_command(zipped[0])} -d FOLDER."
        )
    held = f"this looks like {form}, which is not read" if form else f"{root} holds {seen(root)}"
    return DataError(f"{path}: missing; {held}.", "Export the data set from Roboflow in the format 'COCO'.")


def _read(root: Path, names: Sequence[str], findings: list[Finding]) -> dict[str, Document]:
    documents: dict[str, Document] = {}
    for split in names:
        path = root / split / ANNOTATIONS
        if not path.is_file():
            code = "split-missing" if split in _REQUIRED else "test-missing"
            findings.append(Finding(code, _missing(root, split), split, ANNOTATIONS))
            continue
        links = [link.name for link in (path.parent, path) if link.is_symlink()]
        findings += [Finding("symbolic-link", "is a symbolic link", split, name) for name in links]
        document = read_document(path, split, findings)
        if document is not None:
            documents[split] = document
    return documents


def _missing(root: Path, split: str) -> str:
    if (root / split).is_dir():
        return f"{root / split} holds no {ANNOTATIONS}"
    others = [name for name in OTHER_NAMES[split] if (root / name).is_dir()]
    hint = f"; is it {others[0]!r}? Then rename that folder" if others else ""
    return f"{root} has no folder {split!r}{hint}"

"""Finds the COCO documents of a folder by what they hold, and their pictures by the names they list."""

from __future__ import annotations

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from boxwright.data.documents import ANNOTATIONS, LISTS, SPLITS, Entry, is_list_of_objects
from boxwright.data.file_names import FolderNames, Found, is_picture_name, split_of, stays_inside
from boxwright.data.text import json_of, text_of
from boxwright.runtime import DataError

from .files import is_file, packed, read_bytes, unzip_command

__all__ = ["Place", "find_documents", "find_pictures", "is_coco", "left_out", "read_json"]

_MISNAMED = "its name says that it is one, but it is a list or another object"
_OBJECTS = "instances_"
_OTHER_TASKS = ("person_keypoints_", "captions_", "stuff_", "panoptic_", "image_info_")
_USUAL_FOLDERS = ("images", "jpegimages", "data", "img", "imgs", "pictures", "photos")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_BESIDE = ("annotations", "annotation", "labels", "json", "coco")
_RENAME = "Give one file, or name them or their folders after their splits: train, valid, test."
_LAST = 3  # of the ranks, see _rank
_MOST_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Place:
    """One document.

    Attributes:
        path: of the JSON file.
        root: the folder in which its pictures may lie.
        split: ``train``, ``valid`` or ``test``; None if neither its name nor its folders tell.
        document: what it holds.
        others: splits that other documents of the data set give; their folders of pictures are not this one's.
        listed_elsewhere: names of files, without folders and in lower case, that those documents list.
    """

    path: Path
    root: Path
    split: str | None
    document: Entry = field(repr=False)
    others: frozenset[str] = frozenset()
    listed_elsewhere: frozenset[str] = field(default=frozenset(), repr=False)


def find_documents(source: Path, notes: list[str]) -> list[Place]:
    """The documents of a data set, one for each split, in the order of ``SPLITS``.

    Of several documents of one split, Roboflow's name goes before ``instances_*``, that before any other, and those
    of other tasks (``person_keypoints_*``, ``captions_*``) come last; what is not needed is not read.

    Args:
        source: a JSON file, or a folder that holds some at any depth.
        notes: gets a sentence about each document that was left out for another.

    Raises:
        DataError: no document, a broken one, or several that cannot be told apart; all of them are named.
    """
    if is_file(source):
        return [Place(source, _root_of(source), _split_of_path(source.name), _document(source))]
    by_split: dict[str | None, list[str]] = defaultdict(list)
    for name in FolderNames(source).files:
        if name.lower().endswith(".json"):
            by_split[_split_of_path(name)].append(name)
    groups = [_best(source, split, by_split[split], True, notes) for split in SPLITS]
    places = [place for group in groups if (place := _one(group, notes))]
    others = [name for name in by_split[None] if not places or _rank(name) < _LAST]
    unclear = _best(source, None, others, not places, notes)
    if unclear and (places or len(unclear) > 1):
        listed = ", ".join(str(place.path) for place in unclear)
        raise DataError(f"{listed}: no name says which split it is.", _RENAME)
    if not places and not unclear:
        raise _none(source, [name for names in by_split.values() for name in names])
    _require_documents(source, places)
    return [_among(one, places) for one in places] or unclear


def _among(place: Place, places: Sequence[Place]) -> Place:
    """The place, with what the other documents take."""
    others = [one for one in places if one is not place]
    listed = {_base(name) for one in others for name in _listed_names(one)}
    return replace(place, others=frozenset(str(one.split) for one in others), listed_elsewhere=frozenset(listed))


def _listed_names(place: Place) -> list[str]:
    return [name for entry in place.document["images"] if isinstance(name := entry.get("file_name"), str)]


def _base(name: str) -> str:
    return PureWindowsPath(name).name.casefold()


def _require_documents(source: Path, places: Sequence[Place]) -> None:
    """Raise if the folder of ``train`` or ``valid`` holds pictures and no document is of that split or lists any."""
    if not places or any(place.split is None for place in places):
        return
    having = {place.split for place in places}
    listed = {_base(name) for place in places for name in _listed_names(place)}
    pictures = [name for name in FolderNames(source).files if is_picture_name(name)]
    listed -= {
        _base(name) for name in pictures if _split_around(name) in having
    }  # those are meant, not their namesakes
    for split in ("train", "valid"):
        files = [name for name in pictures if _split_around(name) == split]
        if split not in having and files and not any(_base(name) in listed for name in files):
            folder = source / posixpath.dirname(files[0])
            raise DataError(
                f"{folder}: holds {len(files)} pictures, and no COCO document lists them.",
                "Put its document there, or give the other split's document alone.",
            )


def _split_around(name: str) -> str | None:
    """The split that the innermost of a file's folders that says one says."""
    return _split_of_path(posixpath.dirname(name)) if "/" in name else None


def is_coco(content: object) -> bool:
    """Whether a JSON value is a COCO document, perhaps a faulty one: an object with two of its three lists.

    Pictures to predict on may be listed alone.
    """
    if not isinstance(content, dict):
        return False
    images = content.get("images")
    if isinstance(images, list) and images and isinstance(images[0], dict) and "file_name" in images[0]:
        return True
    if sum(key in content for key in LISTS) < 2:
        return False
    return any(isinstance(content.get(key), list) for key in LISTS[:2])


def left_out(place: Place) -> str | None:
    """Why a document gives no split, as a sentence; None if it gives one."""
    if not place.document["images"] and not place.document.get("annotations"):
        return f"{place.path}: lists no picture; the split was left out."
    if place.document.get("annotations") is None:
        count = len(place.document["images"])
        return f"{place.path}: lists {count} pictures but no annotations; the split was left out."
    return None


def _none(source: Path, names: Sequence[str]) -> DataError:
    if archives := packed(source):
        return _still_packed(f"{source}: no COCO document", archives)
    shown = ", ".join(sorted(names)[:_MOST_SHOWN]) + (", …" if len(names) > _MOST_SHOWN else "")
    seen = f"; {len(names)} JSON files are none: {shown}" if names else "; no JSON file is in it"
    return DataError(f"{source}: no COCO document{seen}.", f"A COCO document is an object with {', '.join(LISTS)}.")


def _rank(name: str) -> int:
    base = posixpath.basename(name)
    if base == ANNOTATIONS:
        return 0
    return 1 if base.startswith(_OBJECTS) else _LAST if base.startswith(_OTHER_TASKS) else 2


def _best(root: Path, split: str | None, names: Sequence[str], needed: bool, notes: list[str]) -> list[Place]:
    """The documents of one split whose names have the best rank.

    Raises:
        DataError: a file of that rank cannot be read, and is a document by its name, or the only one, and needed.
    """
    no_document: list[Path] = []
    for rank in range(_LAST + 1):
        faults: list[DataError] = []
        places: list[Place] = []
        for path in (root / name for name in names if _rank(name) == rank):
            try:
                content = _content(path)
            except DataError as error:
                faults.append(error)
                continue
            if content is None and rank == 0:
                faults.append(DataError(f"{path}: not a COCO document: {_MISNAMED}.", "Export the file again."))
            elif content is None and rank == 1:
                no_document.append(path)
            elif content is not None:
                places.append(Place(path, root, split, _checked(path, content, split)))
        if faults and (rank < 2 or (needed and not places)):
            raise faults[0]
        notes += [f"Not read: {error.message}" for error in faults]
        if places:
            return places
    if no_document:
        raise DataError(f"{no_document[0]}: not a COCO document: {_MISNAMED}.", "Export the file again.")
    return []


def _one(places: Sequence[Place], notes: list[str]) -> Place | None:
    """The one document of a split that has objects, and pictures that are here.

    Raises:
        DataError: several have.
    """
    left = list(places)
    tellers: tuple[Callable[[Place], bool], ...] = (_has_objects, _has_pictures, _is_first_of(left))
    for tells in tellers:
        if len(left) > 1:
            left = [place for place in left if tells(place)] or left
    if len(left) > 1:
        listed = ", ".join(str(place.path) for place in left)
        raise DataError(
            f"{len(left)} documents are {left[0].split!r}: {listed}.", "Give one of them, or move the others away."
        )
    notes += [f"{place.path}: left out; {left[0].path.name} was taken." for place in places if place is not left[0]]
    return left[0] if left else None


def _has_objects(place: Place) -> bool:
    return any("category_id" in entry for entry in place.document.get("annotations") or ())


def _has_pictures(place: Place) -> bool:
    return any(_hits(FolderNames(folder), _listed_names(place)) for folder in _trees(place, None))


def _is_first_of(places: Sequence[Place]) -> Callable[[Place], bool]:
    """Tells whether no earlier document holds the same."""
    return lambda place: next(one for one in places if one.document == place.document) is place


def _content(path: Path) -> Entry | None:
    """A file's document; None if it holds something else. Long lists, as of results, are not parsed."""
    content = read_bytes(path)
    if content.lstrip()[:1] == b"[":
        return None
    parsed = _parsed(path, content)
    return parsed if is_coco(parsed) else None


def _document(path: Path) -> Entry:
    document = read_json(path)
    if not isinstance(document, dict):
        what = "a list, as of results" if isinstance(document, list) else "no object"
        raise DataError(f"{path}: not a COCO document, but {what}.", f"Give an object that holds {', '.join(LISTS)}.")
    return _checked(path, document, None)


def _checked(path: Path, document: Entry, split: str | None) -> Entry:
    needed = LISTS if document.get("annotations") is not None or split != "test" else ("images",)
    for key in needed:
        if not is_list_of_objects(document.get(key)):
            raise DataError(f"{path}: {key!r} is missing or not a list of objects.", "Export the file again.")
    return document


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: it cannot be read, or is no JSON; its encoding, or what it is instead, is named.
    """
    return _parsed(path, read_bytes(path))


def _parsed(path: Path, content: bytes) -> Any:
    try:
        text = text_of(content)
    except ValueError as error:
        raise DataError(f"{path}: {error}.") from error
    try:
        return json_of(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON: {error}.", "Export the file again.") from error


def _split_of_path(name: str) -> str | None:
    """The split that a file's name says, else the innermost of its folders that says one."""
    path = PurePosixPath(name)
    parts = [path.stem, *(folder.name for folder in path.parents)]
    return next((split for part in parts if (split := _split_in(part))), None)


def _split_in(name: str) -> str | None:
    """The only split among a name's words, as in ``instances_val2017`` and ``trainCOCO``."""
    splits = {split for word in _WORD.findall(name) if (split := split_of(word))}
    return splits.pop() if len(splits) == 1 else None


def _root_of(file: Path) -> Path:
    """The folder of the data set that a given document belongs to: above ``annotations/``, ``train/`` and the like."""
    folder = file.parent
    while (name := folder.absolute().name) and (name.casefold() in _BESIDE or _split_in(name)):
        folder = folder.parent if folder.name else folder.absolute().parent
    return folder


def _trees(place: Place, pictures: Path | None) -> Iterator[Path]:
    """Where a document's pictures may lie: its own folder, then those above, up to the data set's."""
    if pictures is not None:
        yield pictures
        return
    folder = place.path.parent
    yield folder
    while folder != place.root and folder.is_relative_to(place.root):
        folder = folder.parent
        yield folder


def find_pictures(
    place: Place, names: Sequence[str], pictures: Path | None, notes: list[str]
) -> tuple[Path, Mapping[str, str]]:
    """The folder that holds what a document lists, and the file in it that each name means.

    Args:
        place: the document.
        names: as it writes them, each a ``is_file_name``.
        pictures: the folder to look in, with its sub-folders; None looks around the document.
        notes: gets a sentence about names that had to be guessed, and about pictures in other folders than most.

    Returns:
        The folder, and by written name the file's path relative to it.

    Raises:
        DataError: a picture is missing, or its name leads out of the folder, or several files or folders fit.
    """
    tree, hits = _fullest(place, names, pictures)
    if not hits:
        raise _nothing_found(place, names, tree)
    folder = tree.folder / _folder(place, len(set(names)), hits, tree)
    found = FolderNames(folder).resolve(names)
    lost = [name for name in names if found[name].name is None]
    read = {name: file for name, one in found.items() if (file := one.name) is not None}
    guessed = [name for name in names if found[name].guessed]
    if lost:
        wider = None if any(found[name].candidates for name in lost) else _spread(place, folder, read, lost, pictures)
        if wider is None:
            raise _lost(place, folder, lost, found)
        most, (folder, read) = folder, wider
        notes.append(
            f"{place.path}: {len(lost)} of {len(found)} pictures are not in {most}, but elsewhere in {folder}: "
            f"{lost[0]!r} is {read[lost[0]]!r}."
        )
    start = folder.relative_to(place.root) if folder.is_relative_to(place.root) else Path()
    foreign = [file for file in read.values() if _is_foreign(place, (start / file).as_posix())]
    if foreign and pictures is None:
        notes.append(
            f"{place.path}: {len(foreign)} of its pictures lie in the folder of another split, as {foreign[0]!r}."
        )
    if guessed:
        notes.append(
            f"{place.path}: {len(guessed)} file names are not there as written; the one file that fits was read: "
            f"{guessed[0]!r} as {read[guessed[0]]!r}."
        )
    return folder, read


def _spread(
    place: Place, folder: Path, read: Mapping[str, str], lost: Sequence[str], pictures: Path | None
) -> tuple[Path, dict[str, str]] | None:
    """The innermost folder around ``folder`` that holds also what is not in it, and by name the file relative to it.

    A picture in a folder named after another split is taken only if that split has a document, which does not list
    its name: else it is another picture of that name. None if not each name means one file.
    """
    for wide in _trees(place, pictures):
        if wide == folder or not folder.is_relative_to(wide):
            continue
        tree = FolderNames(wide)
        more = {name: file for name in lost if (file := tree.find(name).name) is not None}
        start = folder.relative_to(wide).as_posix()
        files = {name: posixpath.join(start, file) for name, file in read.items()}
        once = len({*files.values(), *more.values()}) == len(set(files.values())) + len(lost)
        if once and len(more) == len(lost) and not any(_is_anothers(place, file) for file in more.values()):
            return wide, {**files, **more}
    return None


def _is_anothers(place: Place, file: str) -> bool:
    """Whether a file in the folder of another split is one of that split's own, or may be."""
    splits = {split for part in PurePosixPath(file).parent.parts if (split := _split_in(part))}
    if not splits or place.split in splits:
        return False
    return not splits <= place.others or _base(file) in place.listed_elsewhere


Hits = Mapping[str, Sequence[str]]


def _fullest(place: Place, names: Sequence[str], pictures: Path | None) -> tuple[FolderNames, Hits]:
    """The innermost folder below which most of the names are found, and what they may mean there."""
    best: tuple[FolderNames, Hits] | None = None
    for folder in _trees(place, pictures):
        tree = FolderNames(folder)
        hits = _hits(tree, names)
        if best is None or len(hits) > len(best[1]) or not best[1]:
            best = tree, hits
        if 2 * len(hits) >= len(set(names)):
            break
    assert best is not None, "there is always the document's own folder"
    tree, hits = best
    own = {
        name: kept for name, files in hits.items() if (kept := [file for file in files if not _is_foreign(place, file)])
    }
    return tree, own if 2 * len(own) >= len(set(names)) else hits


def _hits(tree: FolderNames, names: Sequence[str]) -> Hits:
    """By name the files that it may mean; names that mean nothing are left out."""
    if all(file.lower().endswith(".json") for file in tree.files):
        return {}  # the usual annotations/
    found = {name: tree.find(name) for name in names}
    files = {name: [one.name] if one.name is not None else list(one.candidates) for name, one in found.items()}
    return {name: some for name, some in files.items() if some}


def _is_foreign(place: Place, file: str) -> bool:
    """Whether a file lies in a folder of another split."""
    splits = {split for part in PurePosixPath(file).parent.parts if (split := _split_in(part))}
    return place.split not in splits and bool(splits & place.others)


def _folder(place: Place, count: int, hits: Hits, tree: FolderNames) -> str:
    """The folder from which most names are right as they are written; else the innermost that holds most files.

    Raises:
        DataError: several folders hold them equally well.
    """
    exact: Counter[str] = Counter()
    somehow: Counter[str] = Counter()
    for name, files in hits.items():
        exact.update(folder for file in files if (folder := _start(name, file)) is not None)
        somehow.update({folder for file in files for folder in _above(file)})
    most = max(exact.values(), default=0)
    if most == count:
        folders = [folder for folder in exact if exact[folder] == most]
    else:
        folders = _of_most(_of_most(list(somehow), somehow.__getitem__), exact.__getitem__)
        folders = [
            one
            for one in folders
            if not any(other != one and one in _above(posixpath.join(other, "x")) for other in folders)
        ]
    folders = _of_most(folders, lambda folder: _likeliness(place, folder))
    if len(folders) > 1:
        listed = ", ".join(str(tree.folder / folder) for folder in sorted(folders))
        raise DataError(
            f"{place.path}: its pictures may be in several folders: {listed}.", "Give the right one: --pictures FOLDER."
        )
    return folders[0]


def _of_most(folders: list[str], key: Callable[[str], Any]) -> list[str]:
    most = max(map(key, folders))
    return [folder for folder in folders if key(folder) == most]


def _start(name: str, file: str) -> str | None:
    """The folder from which a file has exactly this name; None if there is none."""
    own = posixpath.normpath(name) if stays_inside(name) else None
    if own is None or file == own:
        return None if own is None else ""
    return file.removesuffix(f"/{own}") if file.endswith(f"/{own}") else None


def _above(file: str) -> Iterator[str]:
    """The folders of a file, from the inside; the last is ""."""
    while file:
        file = posixpath.dirname(file)
        yield file


def _likeliness(place: Place, folder: str) -> tuple[bool, bool, bool]:
    """Tells between folders that hold the same names: by the document's split, its name, and what is usual."""
    parts = folder.split("/")
    stem = place.path.stem.casefold()
    return (
        place.split is not None and any(_split_in(part) == place.split for part in parts),
        any(part and part.casefold() in stem for part in parts),
        any(part.casefold() in _USUAL_FOLDERS for part in parts),
    )


def _nothing_found(place: Place, names: Sequence[str], tree: FolderNames) -> DataError:
    pictures = Counter(posixpath.dirname(file) for file in tree.files if is_picture_name(file))
    said = f"{place.path}: 0 of {len(names)} listed pictures are found, the first is {names[0]!r}"
    archives = [path for path in packed(tree.folder) if not _is_foreign_to(place, path)]
    if archives and all(_is_foreign_to(place, tree.folder / folder / "x") for folder in pictures):
        return _still_packed(said, archives)
    if not pictures:
        return DataError(f"{said}; {tree.folder} holds no pictures.", "Give their folder: --pictures FOLDER.")
    fullest = max(pictures, key=lambda folder: (_likeliness(place, folder), pictures[folder], folder))
    example = next(file for file in tree.files if is_picture_name(file) and posixpath.dirname(file) == fullest)
    held = f"{tree.folder / fullest} holds {pictures[fullest]} pictures, as {posixpath.basename(example)!r}"
    if not stays_inside(names[0]):
        said = f"{said}, which lies outside {tree.folder}"
    return DataError(f"{said}; {held}.", "Put them there, or give their folder: --pictures FOLDER.")


def _still_packed(said: str, archives: Sequence[Path]) -> DataError:
    commands = "; ".join(unzip_command(path) for path in archives[:_MOST_SHOWN])
    more = ", …" if len(archives) > _MOST_SHOWN else ""
    return DataError(f"{said}; {len(archives)} ZIP archives are still packed.", f"Unzip them: {commands}{more}")


def _is_foreign_to(place: Place, path: Path) -> bool:
    """Whether a file below the data set's folder is, or lies in, what is named after another document's split."""
    inner = path.relative_to(place.root) if path.is_relative_to(place.root) else Path(path.name)
    return _is_foreign(place, inner.with_suffix("").as_posix() + "/x")


def _lost(place: Place, folder: Path, lost: Sequence[str], found: Mapping[str, Found]) -> DataError:
    name, one = lost[0], found[lost[0]]
    if one.candidates:
        several = " and ".join(map(repr, one.candidates[:_MOST_SHOWN]))
        return DataError(
            f"{place.path}: file_name {name!r} is not in {folder}, and may mean {several}.", "Write the right name."
        )
    if one.outside:
        return DataError(
            f"{place.path}: {name!r} lies outside {folder}.", "Move the picture inside and write its name."
        )
    here = sum(is_picture_name(file) for file in FolderNames(folder).files)
    return DataError(
        f"{place.path}: picture {name!r} is missing in {folder}: {len(found) - len(lost)} of {len(found)} listed "
        f"pictures are found; the folder holds {here}.",
        "Put it there, or remove its entry.",
    )

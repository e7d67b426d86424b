"""Where a YOLO data set says what its classes are and where its pictures lie.

To add a layout: one function that gives a ``Layout``, and its file's name in ``find_layout``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.data.documents import is_list_of_objects, name_of
from boxwright.data.file_names import FolderNames, is_file_name, is_hidden, names_hidden, split_of
from boxwright.data.text import json_of
from boxwright.host.plain_yaml import require_plain
from boxwright.runtime import DataError

from .files import decodable, files_below, guess_note, in_folder, is_file, is_folder, pictures_in, read_text

__all__ = ["Layout", "find_layout"]

_USUAL_NAMES = ("data.yaml", "data.yml", "dataset.yaml")
_YAML = (".yaml", ".yml")
_KEYS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_EMPTY: tuple[Any, ...] = ("", "~", "null")
_COUNT = re.compile(r"[1-9]\d{0,3}", re.ASCII)
_QUOTED = re.compile(r'^(\s*-?\s*(?:(?:path|train|val|valid|validation|test)\s*:)?[\s\[]*)"([^"\n]*)"', re.MULTILINE)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\xa0\u2028\u2029]")  # what \U, \t, \n, \_ ... of a Windows path become in YAML
_CLASS_FILES = ("classes.txt", "obj.names", "notes.json", "_darknet.labels", "predefined_classes.txt")
_DEEPER = ("", "data", "labels", "cfg")
_LISTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_MOST_NAMED = 3

Listed = list[tuple[str, Path, str]]
"""Split as the data set calls it, picture, its name relative to the folder of the pictures."""


@dataclass(frozen=True)
class Layout:
    """What a data set says of itself.

    Attributes:
        place: the file that says it, for errors.
        root: folder of the data set.
        names: of the classes, in order.
        listed: pictures that may be read.
        texts: text files that hold no labels.
        keypoints: numbers of keypoints on each line; 0 if none are declared.
        outlines: whether lines of six and more numbers are declared to be outlines.
    """

    place: Path
    root: Path
    names: list[str]
    listed: Listed
    texts: frozenset[Path]
    keypoints: int = 0
    outlines: bool = False


def find_layout(source: Path, notes: list[str]) -> Layout:
    """Read what describes a data set: ``data.yaml``, Darknet's ``obj.data``, or a list of class names.

    Args:
        source: the folder, or the file itself.
        notes: gets what was guessed and left out.

    Raises:
        DataError: nothing describes it, or something in it cannot be used.
    """
    file = source if is_file(source) else _described(source, notes)
    if file.suffix.lower() == ".data":
        return _Darknet(file, notes).layout()
    if file.name in _CLASS_FILES or file.suffix.lower() in (".names", ".txt"):
        return _Plain(source if is_folder(source) else file.parent, file, notes).layout()
    return _Yaml(file, notes).layout()


def _described(source: Path, notes: list[str]) -> Path:
    """The file that describes a data set: in the folder, or in the only folder in it."""
    file = _yaml_file(source) or _darknet_file(source) or _class_file(source)
    if file is not None:
        return file
    inner = [path for path in in_folder(source) if is_folder(path) and not is_hidden(path.name)]
    within = [(_yaml_file(path) or _darknet_file(path)) for path in inner[:1]] if len(inner) == 1 else []
    found = next((path for path in within if path is not None), None)
    if found is None:
        raise DataError(
            f"{source}: no data.yaml, no obj.data, and no list of class names (classes.txt, obj.names).",
            "Give the YAML file that names the pictures and classes, or put classes.txt there: a name on each line.",
        )
    notes.append(f"{source}: read as described by {found.relative_to(source).as_posix()}.")
    return found


def _yaml_file(source: Path) -> Path | None:
    usual = [source / name for name in _USUAL_NAMES if is_file(source / name)]
    candidates = usual[:1] or [path for path in in_folder(source) if path.suffix.lower() in _YAML and _is_ours(path)]
    if len(candidates) > 1:
        candidates = [path for path in candidates if re.search(r"^names\s*:", read_text(path, True), re.MULTILINE)]
        if len(candidates) != 1:
            raise DataError(
                f"{source}: several YAML files and no data.yaml.",
                "Give the YAML file that names the pictures and classes.",
            )
    return candidates[0] if candidates else None


def _is_ours(path: Path) -> bool:
    return is_file(path) and not is_hidden(path.name)


def _darknet_file(source: Path) -> Path | None:
    """A Darknet description that names the classes' file or pictures; other tools use the suffix too."""
    folders = [source / name for name in _DEEPER if is_folder(source / name)]
    files = [path for folder in folders for path in in_folder(folder) if path.suffix == ".data" and _is_ours(path)]
    files = [path for path in files if "names" in _settings_of(path)]
    if len(files) > 1:
        listed = " and ".join(path.relative_to(source).as_posix() for path in files[:_MOST_NAMED])
        raise DataError(f"{source}: several descriptions: {listed}.", "Give one of them.")
    return files[0] if files else None


def _settings_of(path: Path) -> dict[str, str]:
    """``key = value`` on each line."""
    lines = (line.split("#")[0].partition("=") for line in read_text(path, may_be_empty=True).splitlines())
    return {key.strip(): value.strip() for key, equals, value in lines if equals and value.strip()}


def _class_file(source: Path) -> Path | None:
    """The file of the classes' names; several must say the same.

    LabelImg puts one beside the labels of each split, Roboflow's Darknet export one into each split.
    """
    folders = [source / name for name in _DEEPER if is_folder(source / name)]
    near = [path for folder in folders for path in in_folder(folder) if _names_classes(path) and _is_ours(path)]
    files = near or [path for path in files_below(source) if _names_classes(path)]
    files.sort(key=lambda path: path.name == "notes.json")  # Label Studio writes both, in one order
    known = [_class_names(path) for path in files]
    for path, names in zip(files, known, strict=True):
        if names != known[0]:
            raise DataError(
                f"{source}: the classes are {known[0]} in {files[0].relative_to(source).as_posix()}, "
                f"and {names} in {path.relative_to(source).as_posix()}.",
                "Remove the wrong file.",
            )
    return files[0] if files else None


def _names_classes(path: Path) -> bool:
    return path.name in _CLASS_FILES or path.suffix == ".names"


def _class_names(path: Path) -> list[str]:
    if path.suffix == ".json":
        return _names_in_notes(path)
    names = [line.strip() for line in read_text(path).splitlines()]
    while names and not names[-1]:
        names.pop()
    if not all(names):
        raise DataError(f"{path}, line {names.index('') + 1}: no name of a class.", "Write it; the order counts.")
    return names


def _names_in_notes(path: Path) -> list[str]:
    """The names in Label Studio's ``notes.json``."""
    try:
        document = json_of(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken JSON: {error}.", "Export the data set again.") from error
    entries = document.get("categories") if isinstance(document, dict) else None
    if not is_list_of_objects(entries):
        raise DataError(f"{path}: holds no categories.", "Write classes.txt: a name on each line.")
    names = {str(entry.get("id")): name_of(entry.get("name")) for entry in entries or ()}
    return [str(name) for name in _numbered(names, path)]


def _numbered(names: Mapping[Any, Any], place: Path) -> list[Any]:
    numbers = [str(number) for number in range(len(names))]
    if set(names) != set(numbers):
        raise DataError(f"{place}: names is not numbered 0, 1, 2, ... without gaps.", "Number the classes anew.")
    return [names[number] for number in numbers]


class _Lists:
    """Lists of pictures, one picture on each line."""

    def __init__(self, root: Path, notes: list[str]) -> None:
        self.root = root
        self.read: list[Path] = []
        self._notes = notes
        self._names = FolderNames(root)

    def pictures(self, file: Path) -> list[tuple[Path, str]]:
        """Path and name of each picture that may be read.

        Raises:
            DataError: a picture is missing, or may be one of several; file and line are named.
        """
        self.read.append(file)
        lines = enumerate(read_text(file, may_be_empty=True).splitlines(), start=1)
        entries = [(number, line.strip()) for number, line in lines if line.strip()]
        hidden = [entry for _, entry in entries if names_hidden(entry)]
        if hidden:
            self._notes.append(f"{file}: hidden files were left out: {len(hidden)}, the first {hidden[0]!r}.")
            entries = [(number, entry) for number, entry in entries if entry not in hidden]
        own = {entry: path for _, entry in entries if (path := self._as_written(entry, file.parent)) is not None}
        found = self._names.resolve(entry for _, entry in entries if entry not in own and is_file_name(entry))
        missing = [(number, entry) for number, entry in entries if entry not in own and not _is_found(found, entry)]
        if missing:
            raise self._missing(file, missing, found, len(entries))
        guessed = {entry: str(one.name) for entry, one in found.items()}
        self._notes += guess_note(f"{file}: pictures", list(guessed.items()))
        paths = [own[entry] if entry in own else self.root / guessed[entry] for _, entry in entries]
        usable = set(decodable(paths, file, self._notes))
        return [(path, self._name(path)) for path in paths if path in usable]

    def _as_written(self, entry: str, beside: Path) -> Path | None:
        return next((folder / entry for folder in (beside, self.root) if is_file(folder / entry)), None)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name

    def _missing(
        self, file: Path, missing: Sequence[tuple[int, str]], found: Mapping[str, Any], entries: int
    ) -> DataError:
        number, entry = missing[0]
        candidates = found[entry].candidates if entry in found else ()
        if candidates:
            several = " and ".join(map(repr, candidates[:_MOST_NAMED]))
            return DataError(f"{file}, line {number}: {entry!r} may mean {several}.", "Write the path.")
        more = f"; so are {len(missing)} of the {entries} listed" if len(missing) > 1 else ""
        return DataError(f"{file}, line {number}: picture {entry!r} is missing{more}.", "Correct the path.")


def _is_found(found: Mapping[str, Any], entry: str) -> bool:
    return entry in found and found[entry].name is not None


def _distinct(listed: Iterable[tuple[Path, str]], key: str, place: Path, notes: list[str]) -> list[tuple[Path, str]]:
    pictures = list(listed)
    unique = {path: (path, name) for path, name in pictures}
    if len(unique) < len(pictures):
        notes.append(f"{place}: {key} names pictures again: {len(pictures) - len(unique)}. Each was taken once.")
    return list(unique.values())


class _Yaml:
    """A data set that a YAML file describes, as Ultralytics and Roboflow write it."""

    def __init__(self, config: Path, notes: list[str]) -> None:
        self._config = config
        self._notes = notes
        self._settings = _load(config, notes)
        self._root = self._find_root()
        self._lists = _Lists(self._root, notes)
        self._folders = FolderNames(self._root)

    def layout(self) -> Layout:
        names = self._names()
        form = self._keypoints()
        listed = [(key, path, name) for key in _KEYS for path, name in self._listed(key)]
        texts = frozenset((self._config, *self._lists.read))
        outlines = self._settings.get("task") == "segment"
        return Layout(self._config, self._config.parent, names, listed, texts, form, outlines)

    def _names(self) -> list[str]:
        names = self._settings.get("names")
        if isinstance(names, dict):
            names = _numbered(names, self._config)
        if not isinstance(names, list) or not names:
            raise DataError(f"{self._config}: names is missing or not a list.", "List the classes' names.")
        for number, name in enumerate(names):
            if not isinstance(name, str) or not name:
                raise DataError(f"{self._config}: the name of class {number} is not text.", "Write its name.")
        if self._settings.get("nc", str(len(names))) != str(len(names)):
            raise DataError(f"{self._config}: nc is not {len(names)}, the number of names.", "Correct one of them.")
        return names

    def _keypoints(self) -> int:
        """How many numbers of keypoints follow each box."""
        shape = self._settings.get("kpt_shape")
        if shape is None:
            return 0
        sides = shape if isinstance(shape, list) and len(shape) == 2 else [shape]
        if len(sides) != 2 or not all(isinstance(side, str) and _COUNT.fullmatch(side) for side in sides):
            raise DataError(f"{self._config}: kpt_shape is not two whole numbers.", "Write [keypoints, 2 or 3].")
        return int(sides[0]) * int(sides[1])

    def _find_root(self) -> Path:
        path, beside = self._settings.get("path"), self._config.parent
        if path is None:
            return beside
        if isinstance(path, str) and is_folder(beside / path):
            return beside / path
        self._notes.append(
            f"{self._config}: path does not exist here ({path!r}); its folders are looked for beside the file."
        )
        return beside

    def _listed(self, key: str) -> list[tuple[Path, str]]:
        """The pictures of one split."""
        given = [name for name in _KEYS[key] if name in self._settings]
        if len({str(self._settings[name]) for name in given}) > 1:
            raise DataError(f"{self._config}: {' and '.join(given)} name different pictures.", "Keep one of them.")
        value = self._value(key)
        entries = value if isinstance(value, list) else [value] if value is not None else []
        if not all(isinstance(entry, str) and entry for entry in entries):
            raise DataError(
                f"{self._config}: {key} is neither a path nor a list of paths.", "Write where the pictures are."
            )
        places = [self._place(entry) for entry in entries]
        places = [
            self._guessed(key, entry) if place is None else place for entry, place in zip(entries, places, strict=True)
        ]
        if key == "test" and None in places:
            missing = entries[places.index(None)]
            self._notes.append(f"{self._config}: test names {missing!r}, which does not exist; there is no test.")
            return []
        pictures = (one for entry, place in zip(entries, places, strict=True) for one in self._at(key, entry, place))
        return _distinct(pictures, key, self._config, self._notes)

    def _value(self, key: str) -> Any:
        return next((self._settings[name] for name in _KEYS[key] if name in self._settings), None)

    def _place(self, entry: str) -> Path | None:
        """The first place that exists.

        Roboflow writes ``../train/images`` and means ``train/images`` beside the file.
        """
        beside = self._config.parent
        roboflow = beside / entry.removeprefix("../")
        rooted = "path" in self._settings
        places = [self._root / entry, beside / entry, roboflow] if rooted else [roboflow, self._root / entry]
        return next((place for place in places if is_file(place) or is_folder(place)), None)

    def _guessed(self, key: str, entry: str) -> Path | None:
        """The folder or list here that an entry of another machine means; not one that another split names."""
        if not is_file_name(entry):
            return None
        lists = entry.lower().endswith(".txt")
        found = self._folders.find(entry) if lists else self._folders.find_folder(entry)
        if found.candidates:
            several = " and ".join(map(repr, found.candidates[:_MOST_NAMED]))
            raise DataError(f"{self._config}: {key} names {entry!r}, which may mean {several}.", "Write the path.")
        if found.name is None or found.name in self._named_by_others(key):
            return None
        self._notes.append(f"{self._config}: {key} names {entry!r}, which is not there; read as {found.name!r}.")
        return self._root / found.name

    def _named_by_others(self, key: str) -> set[str]:
        """What other splits name, as they write it or as it would be read."""
        named = set()
        for other in _KEYS.keys() - {key}:
            value = self._value(other)
            for entry in value if isinstance(value, list) else [value]:
                if isinstance(entry, str) and is_file_name(entry):
                    guess = None if self._place(entry) else self._folders.find_folder(entry).name
                    named |= {posixpath.normpath(entry), *([guess] if guess else [])}
        return named

    def _at(self, key: str, entry: str, place: Path | None) -> list[tuple[Path, str]]:
        if place is None:
            raise DataError(
                f"{self._root}: {key} names {entry!r}, which does not exist.", "Correct the path in the YAML file."
            )
        if not place.is_dir():
            return self._lists.pictures(place)
        pictures = [(path, path.relative_to(place).as_posix()) for path in pictures_in(place, self._notes)]
        if not pictures:
            said = [note for note in self._notes if note.startswith(f"{place}: left out")]
            problem = " ".join([f"{place}: {key} names it, but no picture is in it.", *said])
            raise DataError(problem, "Put pictures there, or correct the path.")
        return pictures


def _load(config: Path, notes: list[str]) -> dict[str, Any]:
    """The settings, every scalar as the text in the file: a class may be called ``no`` or ``007``."""
    text = read_text(config)
    settings, problem = _parsed(text)
    if problem or any(_CONTROLS.search(path) for path in _paths(settings)):
        mended = _QUOTED.sub(lambda match: f'{match[1]}"{match[2].replace(chr(92), "/")}"', text)
        again, still = _parsed(mended)
        if mended != text and not still:
            notes.append(f"{config}: backslashes in double quotes were read as slashes.")
            settings, problem = again, None
    if problem:
        raise DataError(f"{config}: broken YAML: {problem}.", "Correct the file.")
    if not isinstance(settings, dict):
        raise DataError(f"{config}: not keys and values.", "It must hold train, val and names.")
    return {key: value for key, value in settings.items() if value not in _EMPTY}


def _parsed(text: str) -> tuple[Any, str | None]:
    """The YAML document, and what is wrong with it."""
    import yaml

    try:
        require_plain(text)
        twice = _key_twice(yaml.compose(text, Loader=yaml.BaseLoader))
        if twice is not None:
            return None, f"{twice!r} is given twice"
        return yaml.load(text, Loader=yaml.BaseLoader), None
    except (yaml.YAMLError, RecursionError) as error:
        return None, " ".join(str(error).split())


def _key_twice(document: Any) -> str | None:
    """A key of the document, or of a mapping right in it, that is given twice: YAML's reader would keep the last."""
    if document is None or document.id != "mapping":
        return None
    for mapping in (document, *(value for _, value in document.value if value.id == "mapping")):
        keys = [str(key.value) for key, _ in mapping.value]
        twice = next((key for place, key in enumerate(keys) if key in keys[:place]), None)
        if twice is not None:
            return twice
    return None


def _paths(settings: Any) -> Iterator[str]:
    """What a document writes where paths stand."""
    if not isinstance(settings, dict):
        return
    for key in ("path", *(name for names in _KEYS.values() for name in names)):
        value = settings.get(key)
        yield from (entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, str))


class _Darknet:
    """A data set that ``obj.data`` describes, as Darknet and CVAT's YOLO 1.1 have it."""

    def __init__(self, file: Path, notes: list[str]) -> None:
        self._file = file
        self._notes = notes
        self._root = file.parent.parent if file.parent.name in _DEEPER[1:] else file.parent
        self._files = FolderNames(self._root)
        self._settings = _settings_of(file)

    def layout(self) -> Layout:
        written = self._settings.get("names")
        classes = self._find(written) if written else None
        if classes is None:
            raise DataError(f"{self._file}: names = {written!r} is not there.", "Correct the path.")
        names = _class_names(classes)
        if self._settings.get("classes", str(len(names))) != str(len(names)):
            raise DataError(
                f"{self._file}: classes is not {len(names)}, the number of names in {classes.name}.",
                "Correct one of them.",
            )
        lists = _Lists(self._root, self._notes)
        listed: Listed = []
        for key, value in self._settings.items():
            split = split_of(key)
            if split is not None:
                pictures = _distinct(self._pictures(key, value, lists), key, self._file, self._notes)
                listed += [(split, path, name) for path, name in pictures]
        texts = frozenset((self._file, classes, *lists.read))
        if not listed:
            return _Plain(self._root, classes, self._notes).layout()
        return Layout(self._file, self._root, names, listed, texts)

    def _pictures(self, key: str, written: str, lists: _Lists) -> list[tuple[Path, str]]:
        file = self._find(written)
        if file is None:
            self._notes.append(f"{self._file}: {key} = {written!r} is not there; it was left out.")
            return []
        return lists.pictures(file)

    def _find(self, written: str) -> Path | None:
        """A file that is named relative to the data set, to Darknet's folder, or on another machine."""
        if not is_file_name(written):
            return None
        if is_file(self._root / written):
            return self._root / written
        found = self._files.find(written)
        if found.candidates:
            several = " and ".join(map(repr, found.candidates[:_MOST_NAMED]))
            raise DataError(f"{self._file}: {written!r} may mean {several}.", "Write the path.")
        return None if found.name is None else self._root / found.name


class _Plain:
    """Pictures, label files and a list of class names, as Label Studio, LabelImg and YOLO_mark leave them."""

    def __init__(self, root: Path, classes: Path, notes: list[str]) -> None:
        self._root = root
        self._classes = classes
        self._notes = notes

    def layout(self) -> Layout:
        names = _class_names(self._classes)
        lists = _Lists(self._root, self._notes)
        files = [
            (key, self._root / f"{name}.txt") for key, names in _LISTS.items() for name in names
            if is_file(self._root / f"{name}.txt")
        ]  # fmt: skip
        listed = [(key, path, name) for key, file in files for path, name in lists.pictures(file)]
        said = f"{self._classes}: the classes were read from it; there is no data.yaml."
        self._notes.append(said)
        others = {path for path in files_below(self._root) if path.name in _CLASS_FILES}
        texts = frozenset((self._classes, *lists.read, *others))
        return Layout(self._classes, self._root, names, listed or self._by_folder(), texts)

    def _by_folder(self) -> Listed:
        """All pictures; their splits are the folders of these names."""
        pictures = pictures_in(self._root, self._notes)
        inside = [path for path in pictures if "images" in _folders(path, self._root)] or pictures
        if len(inside) < len(pictures):
            self._notes.append(f"{self._root}: pictures outside images/ were left out: {len(pictures) - len(inside)}.")
        splits = [next((split for part in _folders(path, self._root) if (split := split_of(part))), None)
                  for path in inside]  # fmt: skip
        unclear = [path for path, split in zip(inside, splits, strict=True) if split is None]
        if unclear and len(unclear) < len(inside):
            self._notes.append(
                f"{self._root}: pictures in no folder of a split, taken for train: {len(unclear)}, "
                f"the first {unclear[0].name!r}."
            )
        return [
            (split or "train", path, path.relative_to(self._root).as_posix())
            for path, split in zip(inside, splits, strict=True)
        ]


def _folders(path: Path, root: Path) -> list[str]:
    return [part.casefold() for part in path.relative_to(root).parts[:-1]]

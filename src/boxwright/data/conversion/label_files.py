"""Which YOLO label file belongs to which picture; none is left over without a word."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from boxwright.data.file_names import is_hidden, is_picture_name, names_a_picture, without_hash
from boxwright.runtime import DataError

from .files import is_file, is_folder, read_text

__all__ = ["LabelFiles"]

_PICTURE_FOLDERS = ("images", "jpegimages")
_LABELS = "labels"
_SUFFIX = ".txt"
_LEAST_FIELDS = 5
_FIELD = re.compile(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?", re.ASCII)
_SEPARATORS = re.compile(r"[\W_]+")
_MOST_NAMED = 3


class LabelFiles:
    """The label files of a data set's pictures.

    A label file lies in ``labels/`` in place of the last ``images/`` of its picture's path, else beside the picture.
    What is left over is compared with the pictures that have none: a file of nearly the same name is taken, with a
    note, where only one comes into question.

    Args:
        pictures: of all splits, each once.
        others: text files that hold no labels: lists of pictures, names of classes.
        source: the data set's folder, for notes.
    """

    def __init__(self, pictures: Sequence[Path], others: Set[Path], source: Path) -> None:
        self._pictures = pictures
        self._others = {path.absolute() for path in others}
        self._source = source
        self._folders: dict[Path, dict[str, Path]] = {}
        self._pictures_of: dict[Path, frozenset[str]] = {}
        self._siblings: dict[Path, Path | None] = {}

    def find(self, notes: list[str]) -> dict[Path, Path]:
        """The label file of each picture that has one.

        Args:
            notes: gets sentences about names that were guessed, and about files that belong to no picture.

        Raises:
            DataError: several pictures or label files whose names are nearly the same.
        """
        found = {picture: label for picture in self._pictures if (label := self._exact(picture)) is not None}
        shared = len(found) - len(set(found.values()))
        if shared:
            notes.append(f"Pictures that share their label file with another of the same name: {shared}.")
        left = self._left_over(set(found.values()))
        untaken = {label for label in left if self._has_picture(label)}
        orphans = [label for label in left if label not in untaken]
        taken = self._nearly([picture for picture in self._pictures if picture not in found], orphans)
        if taken:
            picture, label = next(iter(taken.items()))
            notes.append(
                f"{self._source}: label files whose names are nearly those of pictures without one were taken: "
                f"{len(taken)}; the first, {self._short(label)!r}, for {picture.name!r}."
            )
        unused = [label for label in orphans if label not in set(taken.values())]
        self._refuse_other_folders(found | taken, unused)
        notes += self._left_out("that belong to no picture", unused)
        notes += self._left_out("of pictures in no split, or in formats that are not read,", sorted(untaken))
        return found | taken

    def _refuse_other_folders(self, labelled: Mapping[Path, Path], unused: Sequence[Path]) -> None:
        """Raise if no picture of a folder has labels, and most have a label file of their name in another folder."""
        by_stem = {label.stem: label for label in reversed(unused)}
        folders: dict[Path, list[Path]] = defaultdict(list)
        for picture in self._pictures:
            folders[picture.parent].append(picture)
        for folder, pictures in folders.items():
            pairs = [picture for picture in pictures if picture.stem in by_stem]
            if 2 * len(pairs) > len(pictures) and not any(picture in labelled for picture in pictures):
                label = self._short(by_stem[pairs[0].stem])
                raise DataError(
                    f"{folder}: no picture has a label file, and {len(pairs)} of {len(pictures)} have one of their "
                    f"name in another folder: {label!r} for {pairs[0].name!r}.",
                    "Give labels/ the sub-folders of images/, or move the label files beside the pictures.",
                )

    def _exact(self, picture: Path) -> Path | None:
        places = (self._labels_folder(picture.parent.absolute()), picture.parent.absolute())
        stems = (self._texts(place).get(picture.stem) for place in places if place is not None)
        return next((path for path in stems if path is not None), None)

    def _texts(self, folder: Path) -> dict[str, Path]:
        """Label files of one folder by their stems."""
        if folder not in self._folders:
            paths = sorted(folder.iterdir(), reverse=True) if is_folder(folder) else []
            self._folders[folder] = {path.stem: path for path in paths if self._is_label(path)}
        return self._folders[folder]

    def _is_label(self, path: Path) -> bool:
        text = path.suffix.lower() == _SUFFIX and not is_hidden(path.name)
        return text and path.absolute() not in self._others and is_file(path)

    def _labels_folder(self, folder: Path) -> Path | None:
        """The folder of the labels for the pictures in this one; None if its path has no ``images/``."""
        top = _top(folder, _PICTURE_FOLDERS)
        if top is None:
            return None
        sibling = self._sibling(top)
        return None if sibling is None else sibling / folder.relative_to(top)

    def _sibling(self, top: Path) -> Path | None:
        """``labels/`` beside ``images/``, in whatever letter case."""
        if top not in self._siblings:
            names = [_LABELS, *(path.name for path in sorted(top.parent.iterdir()) if path.name.casefold() == _LABELS)]
            places = (top.parent / name for name in names)
            self._siblings[top] = next((place for place in places if is_folder(place)), None)
        return self._siblings[top]

    @cached_property
    def _roots(self) -> dict[Path, Path | None]:
        """Folders in which label files are looked for, and for each folder of labels that of its pictures."""
        roots: dict[Path, Path | None] = {}
        for folder in sorted({picture.parent.absolute() for picture in self._pictures}):
            top = _top(folder, _PICTURE_FOLDERS)
            sibling = None if top is None else self._sibling(top)
            if top is None or sibling is None:
                roots.setdefault(folder, None)
            elif sibling.is_relative_to(self._source.absolute()):
                roots[sibling] = top
            else:  # labels/ far above may be anybody's
                roots[sibling / folder.relative_to(top)] = folder
        return roots

    def _left_over(self, used: Set[Path]) -> list[Path]:
        """Label files that are no picture's, in order."""
        inside = (
            path
            for root, top in self._roots.items()
            for path in (sorted(root.rglob("*")) if top is not None else self._texts(root).values())
            if not is_hidden(path.relative_to(root).as_posix())
        )
        return [path for path in dict.fromkeys(inside) if path not in used and self._is_label(path) and _holds(path)]

    def _nearly(self, pictures: Sequence[Path], labels: Sequence[Path]) -> dict[Path, Path]:
        """Pictures without labels and the label files of nearly the same name, where the match is one to one."""
        by_name: dict[tuple[Path, str], list[tuple[Path, bool]]] = defaultdict(list)
        for label in labels:
            for name, hashed in _names(label):
                by_name[self._place_of_label(label), name].append((label, hashed))
        candidates: dict[Path, list[Path]] = {}
        for picture in pictures:
            place = picture.parent.absolute()
            near = (
                label
                for name, hashed in _names(picture)
                for label, also in by_name.get((place, name), ())
                if not (hashed and also)  # two hashes before one name are two files
            )
            candidates[picture] = list(dict.fromkeys(near))
        claims = Counter(label for fitting in candidates.values() for label in fitting)
        for picture, fitting in candidates.items():
            if len(fitting) > 1 or any(claims[label] > 1 for label in fitting):
                raise self._unclear(picture, candidates)
        return {picture: fitting[0] for picture, fitting in candidates.items() if fitting}

    def _place_of_label(self, label: Path) -> Path:
        """The folder of the picture that a label file would belong to."""
        tops = ((root, top) for root, top in self._roots.items() if top is not None and label.is_relative_to(root))
        return next((top / label.parent.relative_to(root) for root, top in tops), label.parent)

    def _unclear(self, picture: Path, candidates: Mapping[Path, Sequence[Path]]) -> DataError:
        labels = candidates[picture]
        owners = [other.name for other, fitting in candidates.items() if set(fitting) & set(labels)]
        several = " and ".join(self._short(label) for label in labels[:_MOST_NAMED])
        return DataError(
            f"{self._short(picture)}: has no label file, and several have nearly its name: "
            f"pictures {' and '.join(owners[:_MOST_NAMED])}; label files {several}.",
            f"Give the right label file the picture's name: {picture.stem}{_SUFFIX}.",
        )

    def _left_out(self, what: str, labels: Sequence[Path]) -> list[str]:
        if not labels:
            return []
        first = self._short(labels[0])
        return [f"{self._source}: label files {what} were left out: {len(labels)}, the first {first!r}."]

    def _has_picture(self, label: Path) -> bool:
        """Whether there is a picture of exactly this name, though no split names it, or it is not read."""
        return any(label.stem in self._stems(folder) for folder in {label.parent, self._place_of_label(label)})

    def _stems(self, folder: Path) -> frozenset[str]:
        """Stems of the pictures of all formats in a folder."""
        if folder not in self._pictures_of:
            paths = folder.iterdir() if is_folder(folder) else ()
            self._pictures_of[folder] = frozenset(path.stem for path in paths if _is_picture(path.name))
        return self._pictures_of[folder]

    def _short(self, path: Path) -> str:
        source = self._source.absolute()
        return path.relative_to(source).as_posix() if path.is_relative_to(source) else path.as_posix()


def _is_picture(name: str) -> bool:
    return names_a_picture(name) and not is_hidden(name)


def _names(path: Path) -> Iterator[tuple[str, bool]]:
    """A file's name without what tools change in it; and without a hash before it, if there is one: then True."""
    stem = Path(path.stem).stem if path.suffix.lower() == _SUFFIX and is_picture_name(path.stem) else path.stem
    whole = unicodedata.normalize("NFKC", unquote(stem)).casefold()
    plain = without_hash(whole)
    yield _tokens(whole), False
    if plain != whole:
        yield _tokens(plain), True


def _top(folder: Path, names: Iterable[str]) -> Path | None:
    """The last part of a path that has one of these names, in whatever letter case, with all before it."""
    places = (path for path in (folder, *folder.parents) if path.name.casefold() in names)
    return next(places, None)


def _tokens(name: str) -> str:
    return _SEPARATORS.sub("_", name).strip("_")


def _holds(path: Path) -> bool:
    """Whether a text file has a line of labels: notes and lists that lie beside are none."""
    try:
        lines = (line.split() for line in read_text(path, may_be_empty=True).splitlines())
    except DataError:  # not even text
        return False
    first = next((fields for fields in lines if fields), [])
    return len(first) >= _LEAST_FIELDS and all(_FIELD.fullmatch(field) for field in first)

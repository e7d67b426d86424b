"""Which picture an annotation file belongs to, where each picture has a file of its own."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from boxwright.data.file_names import FolderNames, is_file_name, names_a_picture, stays_inside
from boxwright.runtime import DataError

from .files import decodable, files_below, guess_note

__all__ = ["OwnPictures"]

_MOST_NAMED = 3


class OwnPictures:
    """The pictures of one folder and its sub-folders, and which annotation file each belongs to.

    A picture with the annotation file's own name is its picture. The name written in the file decides only if that
    leaves a choice, or none: copied files often keep the name that the first one had.

    Args:
        folder: of the pictures.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = FolderNames(folder)
        self._pictures = [path for path in files_below(folder) if names_a_picture(path.name)]
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in self._pictures:
            self._by_name[path.relative_to(folder).with_suffix("").as_posix()].append(path)
            self._by_stem[path.stem].append(path)
        self._guesses: list[tuple[str, str]] = []
        self._overruled: list[tuple[Path, str]] = []
        self._taken: dict[Path, Path] = {}

    def holds(self, parent: Path, written: str) -> bool:
        """Whether a picture is at exactly this path, relative to a sub-folder."""
        name = posixpath.normpath((parent / written).as_posix()) if is_file_name(written) else ".."
        return stays_inside(name) and self._names.holds(name)

    def of(self, annotation: Path, own: str, written: str | None, hint: str = "") -> Path:
        """The picture of one annotation file, which may be in a format that is not read.

        Args:
            annotation: the file.
            own: its path without suffix, as that of its picture would be, relative to the pictures' folder.
            written: the picture's name in the file; None if there is none.
            hint: added to the error if the picture is missing.

        Raises:
            DataError: missing, outside the folder, one of several, or the picture of another file too.
        """
        path = self._find(annotation, own, written, hint)
        owner = self._taken.setdefault(path, annotation)
        if owner != annotation:
            raise DataError(f"{annotation}: {path.name!r} is the picture of {owner.name} too.", "Keep one.")
        return path

    def _find(self, annotation: Path, own: str, written: str | None, hint: str) -> Path:
        candidates = self._by_name.get(own, [])
        found = self._names.find(written) if written is not None and is_file_name(written) else None
        if len(candidates) == 1:
            named = None if found is None or found.name is None else self.folder / found.name
            if named is not None and named != candidates[0] and names_a_picture(named.name):
                self._overruled.append((annotation, str(written)))
            return candidates[0]
        path = None if found is None or found.name is None else self.folder / found.name
        if path is not None and names_a_picture(path.name) and (not candidates or path in candidates):
            if found is not None and found.guessed:
                self._guesses.append((str(written), found.name or ""))
            return path
        stem = own.rpartition("/")[2]
        elsewhere = [] if candidates else self._by_stem.get(stem, [])
        if len(elsewhere) == 1 and (found is None or not found.candidates):
            self._guesses.append((own, elsewhere[0].relative_to(self.folder).as_posix()))
            return elsewhere[0]
        if found is not None and found.outside and not candidates:
            raise DataError(
                f"{annotation}: {written!r} lies outside {self.folder}.", "Move the picture inside and write its name."
            )
        several = candidates or elsewhere or [self.folder / name for name in (found.candidates if found else ())]
        raise DataError(
            f"{annotation}: {self._problem(stem, written, several)}.", hint or "Put exactly one picture there."
        )

    def _problem(self, stem: str, written: str | None, several: Sequence[Path]) -> str:
        if not several:
            return f"picture {written or stem!r} is missing in {self.folder}"
        listed = " and ".join(path.relative_to(self.folder).as_posix() for path in several[:_MOST_NAMED])
        return f"several pictures are named {stem!r} in {self.folder}: {listed}"

    def readable(self, notes: list[str]) -> set[Path]:
        """Pictures that may be read; asked when all files have theirs.

        Args:
            notes: gets sentences about guessed names, and about pictures that are left out.
        """
        notes += guess_note(f"{self.folder}: pictures", self._guesses)
        if self._overruled:
            annotation, written = self._overruled[0]
            notes.append(
                f"{self.folder}: annotation files that name another picture that is here: {len(self._overruled)}; the "
                f"picture of their own name was taken. The first, {annotation.name!r}, names {written!r}."
            )
        usable = decodable(self._pictures, self.folder, notes)
        taken = set(self._taken)
        left_out = len(taken - set(usable))
        if left_out:
            notes.append(f"{self.folder}: annotation files left out with such pictures: {left_out}.")
        alone = [path for path in usable if path not in taken]
        if alone:
            notes.append(
                f"{self.folder}: pictures left out, without an annotation file or in no list: {len(alone)}, "
                f"the first {alone[0].name!r}."
            )
        return set(usable)

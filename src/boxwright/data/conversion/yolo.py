"""Reads a YOLO data set: pictures, and label files with one object per line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from boxwright.data.file_names import split_of
from boxwright.runtime import DataError

from .files import measure
from .label_files import LabelFiles
from .label_lines import LabelFormat, LabelLine, objects_of, parse_labels, read_labels, settled
from .source import Source, SourcePicture, plain_categories
from .yolo_layout import Layout, find_layout

__all__ = ["LabelFormat", "read_labels", "read_yolo"]


def read_yolo(source: Path) -> Source:
    """Read a data set described by a ``data.yaml``, by Darknet's ``obj.data``, or by a list of its classes alone.

    A label file lies in ``labels/`` in place of the last ``images/`` of its picture's path, else beside the
    picture. A picture without a label file has no objects.

    Args:
        source: the describing file, or the folder that holds it.

    Raises:
        DataError: the description, a folder, a list, a picture or a label line cannot be used.
    """
    notes: list[str] = []
    layout = find_layout(source, notes)
    categories = plain_categories(layout.names, layout.place)
    if not layout.listed:
        left_out = [note for note in notes if ": left out pictures" in note]
        problem = " ".join([f"{layout.place}: neither train, val nor test names a picture.", *left_out])
        raise DataError(problem, "Write where the pictures are.")
    paths = list(dict.fromkeys(path for _, path, _ in layout.listed))
    labels = LabelFiles(paths, layout.texts, layout.root).find(notes)
    lines = {path: parse_labels(label, len(layout.names)) for path, label in labels.items()}
    form = _settled(layout, lines.values(), notes)
    notes += _label_notes(len(paths), len(labels), layout.place)
    pictures = tuple(_picture(path, name, key, lines.get(path, []), form) for key, path, name in layout.listed)
    return Source(pictures, categories, notes=tuple(notes))


def _settled(layout: Layout, lines: Iterable[Sequence[LabelLine]], notes: list[str]) -> LabelFormat:
    form = LabelFormat(len(layout.names), layout.keypoints, layout.outlines)
    return settled([line for own in lines for line in own], form, layout.place, notes)


def _label_notes(pictures: int, labelled: int, place: Path) -> Iterator[str]:
    if not labelled:
        raise DataError(
            f"{place}: none of the {pictures} pictures has a label file.",
            "Put labels into labels/ where the pictures' path has images/, or beside the pictures.",
        )
    if labelled < pictures:
        yield f"{pictures - labelled} of {pictures} pictures have no label file; they are kept without objects."


def _picture(path: Path, name: str, key: str, lines: Sequence[LabelLine], form: LabelFormat) -> SourcePicture:
    width, height = measure(path)
    split = split_of(key)
    assert split is not None
    return SourcePicture(path, name, width, height, objects_of(lines, form, width, height), split)

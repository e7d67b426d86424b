"""One call: a data set in another layout becomes a folder that boxwright trains on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from boxwright.data.new_folder import require_new_folder
from boxwright.runtime import ConfigError, DataError

from .arrange import arrange, require_shares
from .coco import read_coco
from .files import READABLE, is_file, is_folder
from .source import Source
from .voc import VocOrigin, read_voc
from .write import write
from .yolo import read_yolo

__all__ = ["READERS", "Conversion", "SplitCounts", "convert"]

READERS: dict[str, Callable[[Path], Source]] = {"yolo": read_yolo, "voc": read_voc, "coco": read_coco}
"""Readers by the name of their format."""


@dataclass(frozen=True)
class SplitCounts:
    """What one split holds.

    Attributes:
        pictures: those without objects included.
        boxes: crowds included.
    """

    pictures: int
    boxes: int


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        out: the folder.
        splits: counts by split, in the order train, valid, test.
        notes: sentences a person should read: what was assumed, left out, renamed.
    """

    out: Path
    splits: Mapping[str, SplitCounts]
    notes: tuple[str, ...]


def convert(
    source: str | Path,
    out: str | Path,
    format: str,  # noqa: A002  # the name of the option
    *,
    split: tuple[float, ...] | None = None,
    seed: int = 0,
    voc_origin: VocOrigin = "auto",
    advance: Callable[[int, int], object] | None = None,
) -> Conversion:
    """Write a data set in the Roboflow layout: ``OUT/{train,valid,test}`` with ``_annotations.coco.json``.

    Pictures are copied byte for byte. The same source, split and seed give the same files.

    Args:
        source: folder of the data set, or its ``data.yaml`` or JSON file.
        out: a new or empty folder; it is complete or not there.
        format: ``yolo``, ``voc`` or ``coco``.
        split: shares of train, valid and perhaps test, sum 1: all pictures are dealt out anew, by
            iterative stratification. None keeps the source's splits; one split becomes 0.8 and 0.2.
        seed: of a new split.
        voc_origin: where VOC counts pixels from, see ``read_voc``.
        advance: called with pictures copied and pictures in all.

    Raises:
        ConfigError: an unknown format, shares that are no split, a folder that cannot be written.
        DataError: the source cannot be read; file and line, object or id are named.
    """
    source, out = Path(source), Path(out)
    _require_settings(format, split, voc_origin)
    require_new_folder(out, source)
    if not is_file(source) and not is_folder(source):
        raise DataError(f"{source}: no such file or folder.", "Give the folder of the data set.")
    read = read_voc(source, voc_origin) if format == "voc" else READERS[format](source)
    notes = list(read.notes)
    if not read.pictures:
        reason = " ".join([f"{source}: no picture is left.", *notes])
        raise DataError(reason, f"Give annotated pictures that are {READABLE}.")
    splits = arrange(read, split, seed, notes)
    write(out, splits, read.categories, notes, advance or _ignore)
    counts = {name: SplitCounts(len(part), sum(len(one.objects) for one in part)) for name, (part, _) in splits.items()}
    return Conversion(out, counts, tuple(notes))


def _require_settings(format: str, split: tuple[float, ...] | None, voc_origin: VocOrigin) -> None:  # noqa: A002
    if format not in READERS:
        raise ConfigError(f"Format {format!r} is unknown.", f"Use one of {', '.join(READERS)}.")
    if split is not None:
        require_shares(split)
    if voc_origin not in ("auto", 0, 1):
        raise ConfigError(f"VOC origin {voc_origin!r} is unknown.", "Use 'auto', 0 or 1.")
    if voc_origin != "auto" and format != "voc":
        raise ConfigError(f"VOC origin {voc_origin!r} does not fit format {format!r}.", "Leave it out.")


def _ignore(done: int, total: int) -> None:
    pass

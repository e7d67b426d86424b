"""The detections of a model on a split, with the ground truth: all that the figures are computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from boxwright.data import Split
from boxwright.host.files import replacing
from boxwright.metrics import GroundTruth, Matches, match_detections
from boxwright.runtime import ArchiveError, Detections

__all__ = ["RESULTS", "TRUTH_PARTS", "SplitResults", "detections_of", "detections_to_columns", "ground_truth_of"]

RESULTS = "detections.npz"
"""The file in which a run keeps the detections of its best epoch on the validation split."""
TRUTH_PARTS = ("boxes", "labels", "crowd", "area")
"""The arrays of a ``GroundTruth``."""
_COLUMNS: dict[str, tuple[type[np.generic], int]] = {
    "names": (np.uint8, 1),
    "sizes": (np.int64, 2),
    "found_counts": (np.int64, 1),
    "found_boxes": (np.float32, 2),
    "found_scores": (np.float32, 1),
    "found_labels": (np.int64, 1),
    "truth_counts": (np.int64, 1),
    "truth_boxes": (np.float64, 2),
    "truth_labels": (np.int64, 1),
    "truth_crowd": (np.bool_, 1),
    "truth_area": (np.float64, 1),
}
"""Type and dimensions of each array in the file; ``names`` are bytes of JSON."""


@dataclass(frozen=True, eq=False)
class SplitResults:
    """Detections and ground truth of P pictures.

    Attributes:
        split: its name.
        class_names: by class index.
        file_names: P, relative to the split's folder.
        sizes: int64 [P, 2], width and height in pixels, upright.
        truths: P.
        detections: P, down to the lowest scores, in original pixels.

    Raises:
        ValueError: when the numbers of pictures disagree.
    """

    split: str
    class_names: tuple[str, ...]
    file_names: tuple[str, ...]
    sizes: NDArray[np.int64]
    truths: tuple[GroundTruth, ...]
    detections: tuple[Detections, ...]

    def __post_init__(self) -> None:
        counts = (len(self.file_names), len(self.sizes), len(self.truths), len(self.detections))
        if len(set(counts)) != 1:
            raise ValueError(f"SplitResults needs as many names as sizes, truths and detections; got {counts}.")

    @classmethod
    def of(
        cls, split: Split, folder: Path, class_names: Sequence[str], detections: Sequence[Detections]
    ) -> SplitResults:
        """The results of a split.

        Args:
            split: its records.
            folder: of its pictures.
            class_names: by class index.
            detections: one per record, in the same order.
        """
        names = tuple(record.path.relative_to(folder).as_posix() for record in split.pictures)
        sizes = np.array([(record.width, record.height) for record in split.pictures], np.int64).reshape(-1, 2)
        truths = tuple(ground_truth_of(split))
        return cls(split.name, tuple(class_names), names, sizes, truths, tuple(detections))

    def matches(self) -> Matches:
        """Every detection matched once; see ``match_detections``. Computed at the first call and then kept."""
        return self._matches

    @cached_property
    def _matches(self) -> Matches:
        return match_detections(self.truths, self.detections, len(self.class_names))

    def save(self, path: Path) -> None:
        """Write an ``.npz``, whole or not at all."""
        columns: dict[str, Any] = {
            "names": self._names(),
            "sizes": self.sizes,
            **{f"found_{name}": column for name, column in detections_to_columns(self.detections).items()},
            **{f"truth_{name}": column for name, column in _truth_columns(self.truths).items()},
        }
        typed: dict[str, Any] = {name: np.asarray(columns[name], dtype) for name, (dtype, _) in _COLUMNS.items()}
        with replacing(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **typed)

    def _names(self) -> NDArray[np.uint8]:
        """The names as bytes of JSON, because numpy's strings lose a NUL at the end."""
        names = {"split": self.split, "class_names": self.class_names, "file_names": self.file_names}
        return np.frombuffer(json.dumps(names).encode("ascii"), np.uint8)

    @classmethod
    def load(cls, path: Path) -> SplitResults:
        """Read what ``save`` wrote; no code in it is executed.

        Raises:
            ArchiveError: the file is missing or broken.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                columns = dict(file)
            return cls._of_columns(columns)
        except Exception as error:  # zipfile, the decompressors and numpy raise many kinds
            reason = str(error).removesuffix(".")
            raise ArchiveError(
                f"{path}: no readable detections: {reason}.", "Measure the run anew, or train again."
            ) from error

    @classmethod
    def _of_columns(cls, columns: Mapping[str, NDArray[Any]]) -> SplitResults:
        _require_columns(columns)
        names = _read_names(columns["names"])
        _require_labels(columns, len(names["class_names"]))
        truth = {name.removeprefix("truth_"): column for name, column in columns.items()}
        return cls(
            split=names["split"],
            class_names=tuple(names["class_names"]),
            file_names=tuple(names["file_names"]),
            sizes=columns["sizes"],
            truths=tuple(
                GroundTruth(*(truth[part][rows] for part in TRUTH_PARTS)) for rows in _slices(truth["counts"])
            ),
            detections=tuple(detections_of({name.removeprefix("found_"): column for name, column in columns.items()})),
        )


def _require_columns(columns: Mapping[str, NDArray[Any]]) -> None:
    for name, (dtype, dimensions) in _COLUMNS.items():
        if name not in columns:
            raise ValueError(f"{name} is missing")
        column = columns[name]
        if column.dtype != dtype or column.ndim != dimensions:
            raise ValueError(f"{name} is {column.dtype} {list(column.shape)}")
    if columns["sizes"].shape[1] != 2:
        raise ValueError(f"sizes is {list(columns['sizes'].shape)}, not [P, 2]")
    for side in ("found", "truth"):
        counts, rows = columns[f"{side}_counts"], len(columns[f"{side}_labels"])
        if (counts < 0).any() or counts.sum() != rows:
            raise ValueError(f"{side}_counts do not add up to the {rows} rows of {side}_labels")


def _read_names(column: NDArray[np.uint8]) -> dict[str, Any]:
    names = json.loads(column.tobytes())
    listed = [names["split"], *names["class_names"], *names["file_names"]]
    if not all(isinstance(name, str) for name in listed):
        raise ValueError("a name is not a text")
    return cast("dict[str, Any]", names)


def _require_labels(columns: Mapping[str, NDArray[Any]], num_classes: int) -> None:
    for name in ("found_labels", "truth_labels"):
        wrong = columns[name][(columns[name] < 0) | (columns[name] >= num_classes)]
        if wrong.size:
            raise ValueError(f"{name} has a {wrong[0]}, with {num_classes} classes")


def ground_truth_of(split: Split) -> Sequence[GroundTruth]:
    """The ground truth of a split, in its order."""
    return [GroundTruth(*(getattr(record, part) for part in TRUTH_PARTS)) for record in split.pictures]


def detections_to_columns(detections: Sequence[Detections]) -> dict[str, NDArray[Any]]:
    """Detections of many pictures, joined.

    Returns:
        counts int64 [P], boxes float32 [D, 4], scores float32 [D], labels int64 [D].
    """
    every = [Detections.empty(), *detections]
    columns = {name: np.concatenate([getattr(one, name) for one in every]) for name in ("boxes", "scores", "labels")}
    return {"counts": np.array([len(one) for one in detections], np.int64), **columns}


def detections_of(columns: Mapping[str, NDArray[Any]]) -> list[Detections]:
    """One ``Detections`` per picture from the columns of ``detections_to_columns``."""
    boxes, scores, labels = columns["boxes"], columns["scores"], columns["labels"]
    return [Detections(boxes[rows], scores[rows], labels[rows]) for rows in _slices(columns["counts"])]


def _slices(counts: NDArray[np.int64]) -> list[slice]:
    ends = np.cumsum(counts).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _truth_columns(truths: Sequence[GroundTruth]) -> dict[str, NDArray[Any]]:
    every = [GroundTruth.of([], []), *truths]
    columns = {name: np.concatenate([getattr(one, name) for one in every]) for name in TRUTH_PARTS}
    return {"counts": np.array([len(one.labels) for one in truths], np.int64), **columns}

"""What a model found in a split, and what there was to find: all that figures are made of."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.data import Split
from boxwright.metrics import GroundTruth, Matches, match_detections
from boxwright.runtime import ArchiveError, Detections

__all__ = ["RESULTS", "SplitResults", "detections_of", "detections_to_columns", "ground_truth_of"]

RESULTS = "detections.npz"
"""Where a run keeps what its best epoch found in the validation split."""


@dataclass(frozen=True, eq=False)
class SplitResults:
    """Detections beside the ground truth, P pictures.

    Attributes:
        split: its name.
        class_names: by class index.
        file_names: P, relative to the split's folder.
        sizes: int64 [P, 2], width and height in pixels, upright.
        truths: P.
        found: P, down to the lowest scores, in original pixels.

    Raises:
        ValueError: when the numbers of pictures disagree.
    """

    split: str
    class_names: tuple[str, ...]
    file_names: tuple[str, ...]
    sizes: NDArray[np.int64]
    truths: tuple[GroundTruth, ...]
    found: tuple[Detections, ...]

    def __post_init__(self) -> None:
        counts = (len(self.file_names), len(self.sizes), len(self.truths), len(self.found))
        if len(set(counts)) != 1:
            raise ValueError(f"SplitResults needs as many names, sizes, truths and detections; got {counts}.")

    @classmethod
    def of(cls, split: Split, folder: Path, class_names: Sequence[str], found: Sequence[Detections]) -> SplitResults:
        """The results of a split.

        Args:
            split: its records.
            folder: of its pictures.
            class_names: by class index.
            found: one a record, in its order.
        """
        names = tuple(record.path.relative_to(folder).as_posix() for record in split.pictures)
        sizes = np.array([(record.width, record.height) for record in split.pictures], np.int64).reshape(-1, 2)
        truths = tuple(ground_truth_of(split))
        return cls(split.name, tuple(class_names), names, sizes, truths, tuple(found))

    def matches(self) -> Matches:
        """Every detection matched once; see ``match_detections``."""
        return match_detections(self.truths, self.found, len(self.class_names))

    def save(self, path: Path) -> None:
        """Write an ``.npz``, whole or not at all."""
        columns: dict[str, Any] = {
            "split": np.array(self.split),
            "class_names": np.array(self.class_names, dtype=str),
            "file_names": np.array(self.file_names, dtype=str),
            "sizes": self.sizes,
            **{f"found_{name}": column for name, column in detections_to_columns(self.found).items()},
            **{f"truth_{name}": column for name, column in _truth_columns(self.truths).items()},
        }
        part = path.with_name(path.name + ".part")
        with part.open("wb") as file:
            np.savez_compressed(file, **columns)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> SplitResults:
        """Read what ``save`` wrote; nothing in it is executed.

        Raises:
            ArchiveError: missing or broken.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                columns = dict(file)
            return cls._of_columns(columns)
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise ArchiveError(
                f"{path}: no readable detections: {error}.", "Measure the model anew, with --data FOLDER."
            ) from error

    @classmethod
    def _of_columns(cls, columns: Mapping[str, NDArray[Any]]) -> SplitResults:
        truth = {name.removeprefix("truth_"): column for name, column in columns.items()}
        return cls(
            split=str(columns["split"]),
            class_names=tuple(columns["class_names"].tolist()),
            file_names=tuple(columns["file_names"].tolist()),
            sizes=columns["sizes"],
            truths=tuple(
                GroundTruth(truth["boxes"][rows], truth["labels"][rows], truth["crowd"][rows], truth["area"][rows])
                for rows in _slices(truth["counts"])
            ),
            found=tuple(detections_of({name.removeprefix("found_"): column for name, column in columns.items()})),
        )


def ground_truth_of(split: Split) -> Sequence[GroundTruth]:
    """The ground truth of a split, in its order."""
    return [GroundTruth(one.boxes, one.labels, one.crowd, one.area) for one in split.pictures]


def detections_to_columns(found: Sequence[Detections]) -> dict[str, NDArray[Any]]:
    """Detections of many pictures one below another.

    Returns:
        counts int64 [P], boxes float32 [D, 4], scores float32 [D], labels int64 [D].
    """
    every = [Detections.empty(), *found]
    return {
        "counts": np.array([len(one) for one in found], np.int64),
        "boxes": np.concatenate([one.boxes for one in every]),
        "scores": np.concatenate([one.scores for one in every]),
        "labels": np.concatenate([one.labels for one in every]),
    }


def detections_of(columns: Mapping[str, NDArray[Any]]) -> list[Detections]:
    """One a picture again; see ``detections_to_columns``."""
    boxes, scores, labels = columns["boxes"], columns["scores"], columns["labels"]
    return [Detections(boxes[rows], scores[rows], labels[rows]) for rows in _slices(columns["counts"])]


def _slices(counts: NDArray[np.int64]) -> list[slice]:
    ends = np.cumsum(counts).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _truth_columns(truths: Sequence[GroundTruth]) -> dict[str, NDArray[Any]]:
    every = [GroundTruth.of([], []), *truths]
    return {
        "counts": np.array([len(one.labels) for one in truths], np.int64),
        "boxes": np.concatenate([one.boxes for one in every]),
        "labels": np.concatenate([one.labels for one in every]),
        "crowd": np.concatenate([one.crowd for one in every]),
        "area": np.concatenate([one.area for one in every]),
    }

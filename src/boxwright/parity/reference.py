"""What a run's training found on validation: everything made of the run is held to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.results import SplitResults
from boxwright.evaluation.run import find_data, read_run
from boxwright.runtime import Bundle, ModelSpec, open_bundle

__all__ = ["Reference", "thresholds_of"]


def thresholds_of(spec: ModelSpec) -> NDArray[np.float64]:
    """Lowest reported score of each class, float64 [K]."""
    return np.array(spec.operating_point.thresholds(spec.class_names))


@dataclass(frozen=True, eq=False)
class Reference:
    """A finished run, its validation detections and its pictures.

    Attributes:
        run: its folder.
        bundle: its model.
        results: every detection of the trained model on validation, and the boxes.
        data: folder of the splits; every picture of ``results`` is there.
    """

    run: Path
    bundle: Bundle
    results: SplitResults
    data: Path

    @classmethod
    def of(cls, run: Path, data: str | Path | None = None) -> Reference:
        """Read a run.

        Args:
            run: its folder.
            data: folder of the splits; where the run's settings say by default.

        Raises:
            ArchiveError: not a finished run.
            DataError: the pictures are not there.
        """
        results, _ = read_run(run)
        return cls(run, open_bundle(run), results, find_data(run, results, data))

    @property
    def spec(self) -> ModelSpec:
        """Of the model."""
        return self.bundle.spec

    @property
    def pictures(self) -> tuple[Path, ...]:
        """The validation pictures, in the order of ``results``."""
        return tuple(self.data / self.results.split / name for name in self.results.file_names)

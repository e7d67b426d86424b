"""One picture in, detections out: the path every served figure takes."""

from __future__ import annotations

from dataclasses import replace
from typing import List, Optional, Sequence, Tuple

import numpy as np

from .backends import Backend, open_backend, settle
from .bundle import Bundle
from .detections import Detections
from .errors import ArchiveError
from .execution import Execution
from .picture import MAX_PIXELS, PictureSource
from .spec import ModelSpec, OperatingPoint
from .tiling import Prepared, prepare, together

__all__ = ["PicturePredictor"]


class PicturePredictor:
    """A trained model, ready for pictures.

    Args:
        bundle: the model.
        execution: how it runs; what is open is settled without measuring, see ``backends.settle``.
        threshold: lowest reported score, in [0, 1]; the model's own operating point by default.
        backend: opened already for this bundle and execution; by default it is opened here.

    Attributes:
        spec: of the model.
        execution: how it runs, its backend and precision settled.
        thresholds: lowest reported score of each class, by class index.

    Raises:
        ArchiveError: the model cannot be read.
        ConfigError: the threshold is outside [0, 1]; an unknown backend or precision.
        MissingDependency: the backend is not installed.
    """

    def __init__(
        self,
        bundle: Bundle,
        execution: Execution = Execution(),
        threshold: Optional[float] = None,
        backend: Optional[Backend] = None,
    ) -> None:
        self.spec: ModelSpec = bundle.spec
        self.execution = settle(bundle, execution)
        point = self.spec.operating_point if threshold is None else OperatingPoint(threshold)
        self.thresholds: Tuple[float, ...] = point.thresholds(self.spec.class_names)
        self._backend = backend or open_backend(bundle, self.execution)

    def __call__(self, picture: PictureSource) -> Detections:
        """Detections of one picture at the threshold, best first, in its own pixels.

        They note the names of the classes, and the picture as it was given: a path is read again when they are drawn,
        and what is in memory stays there as long as they do.

        Args:
            picture: path, encoded bytes, Pillow picture, or uint8 RGB array [height, width, 3].

        Raises:
            PictureError: the picture cannot be used.
        """
        found = self.report(self.detect([self.prepare(picture)])[0])
        return replace(found, names=self.spec.class_names, picture=picture)

    def prepare(self, picture: PictureSource, max_pixels: int = MAX_PIXELS) -> Prepared:
        """Decode one picture and lay it on this model's canvas, or its windows on several; see ``tiling.prepare``."""
        return prepare(picture, self.spec.input, max_pixels)

    def report(self, detections: Detections) -> Detections:
        """The reported part of a picture's detections: those from their class's threshold on, best first."""
        return detections.filter_by_score(self.thresholds)

    def detect(self, prepared: Sequence[Prepared]) -> List[Detections]:
        """All detections of prepared pictures, whatever their score, in original pixels.

        Args:
            prepared: what ``prepare`` returned, one per picture; they run as one batch, windows one by one.

        Raises:
            ArchiveError: the network answers classes that the model does not have, or cannot be run.
        """
        if not prepared:
            return []
        if all(len(one.canvases) == 1 for one in prepared):
            found = [[one] for one in self._on_canvas(np.concatenate([one.canvases for one in prepared]))]
        else:  # a batch of windows would take much memory, and be no faster on a processor
            found = [[self._on_canvas(canvas[None])[0] for canvas in one.canvases] for one in prepared]
        return [together(parts, one.placements, self.spec.input) for parts, one in zip(found, prepared)]

    def _on_canvas(self, canvases: np.ndarray) -> List[Detections]:
        """Detections of uint8 [N, 3, H, W], in canvas pixels."""
        on_canvas = self._backend.detect(canvases)
        labels = np.concatenate([one.labels for one in on_canvas])
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.spec.classes):
            raise ArchiveError(f"{self.spec.name}: answers classes that it does not have.", "Do not use it.")
        return on_canvas

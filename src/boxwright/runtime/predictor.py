"""One picture in, detections out: the path every served figure takes."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np

from .backends import Backend, open_backend, settle
from .bundle import Bundle
from .detections import Detections
from .errors import ArchiveError
from .execution import Execution
from .picture import MAX_PIXELS, PictureSource
from .preprocess import Placement, postprocess, preprocess
from .spec import ModelSpec, OperatingPoint

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

        Args:
            picture: path, encoded bytes, Pillow picture, or uint8 RGB array [height, width, 3].

        Raises:
            PictureError: the picture cannot be used.
        """
        return self.report(self.detect([self.prepare(picture)])[0])

    def prepare(self, picture: PictureSource, max_pixels: int = MAX_PIXELS) -> Tuple[np.ndarray, Placement]:
        """Decode and place one picture on this model's canvas; see ``preprocess``."""
        return preprocess(picture, self.spec.input, max_pixels)

    def report(self, detections: Detections) -> Detections:
        """The reported part of a picture's detections: those from their class's threshold on, best first."""
        return detections.filter_by_score(self.thresholds)

    def detect(self, prepared: Sequence[Tuple[np.ndarray, Placement]]) -> List[Detections]:
        """All detections of prepared pictures, whatever their score, in original pixels.

        Args:
            prepared: what ``prepare`` returned, one per picture; they run as one batch.

        Raises:
            ArchiveError: the network answers classes that the model does not have, or cannot be run.
        """
        if not prepared:
            return []
        on_canvas = self._backend.detect(np.stack([canvas for canvas, _ in prepared]))
        labels = np.concatenate([one.labels for one in on_canvas])
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.spec.classes):
            raise ArchiveError(f"{self.spec.name}: answers classes that it does not have.", "Do not use it.")
        return [postprocess(one, placement) for one, (_, placement) in zip(on_canvas, prepared)]

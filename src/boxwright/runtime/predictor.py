"""Pictures in, detections out: the path every served figure takes."""

from __future__ import annotations

import os
from typing import Iterable, Iterator, List, Optional, Protocol, Sequence, Tuple, Union

import numpy as np

from .bundle import Bundle, open_bundle
from .detections import Detections
from .picture import MAX_PIXELS, PictureSource
from .preprocess import Placement, postprocess, preprocess
from .spec import ModelSpec, OperatingPoint
from .torch_backend import TorchBackend

__all__ = ["Backend", "Predictor"]


class Backend(Protocol):
    """Anything that runs a network."""

    def detect(self, canvases: np.ndarray) -> List[Detections]:
        """uint8 [N, 3, H, W] to N detections in canvas pixels."""


class Predictor:
    """A trained model, ready for pictures.

    Args:
        source: a run folder, a ``.mar`` archive, an unpacked archive, or an opened ``Bundle``.
        threshold: lowest reported score, in [0, 1]; the model's own operating point by default.
        device: a torch device.

    Attributes:
        spec: of the model.
        thresholds: lowest reported score of each class, by class index.

    Raises:
        ArchiveError: the model cannot be read.
        ConfigError: the threshold is outside [0, 1].
    """

    def __init__(
        self,
        source: Union[str, os.PathLike[str], Bundle],
        *,
        threshold: Optional[float] = None,
        device: str = "cpu",
    ) -> None:
        bundle = source if isinstance(source, Bundle) else open_bundle(source)
        self.spec: ModelSpec = bundle.spec
        point = self.spec.operating_point if threshold is None else OperatingPoint(threshold)
        self.thresholds: Tuple[float, ...] = point.thresholds(self.spec.class_names)
        self._backend: Backend = TorchBackend(bundle, device)

    def __call__(self, picture: PictureSource) -> Detections:
        """Detections of one picture at the threshold, best first, in its own pixels.

        Args:
            picture: path, encoded bytes, Pillow picture, or uint8 RGB array [height, width, 3].

        Raises:
            PictureError: the picture cannot be used.
        """
        return self.report(self.detect([self.prepare(picture)])[0])

    def predict(self, pictures: Iterable[PictureSource]) -> Iterator[Detections]:
        """Detections of many pictures, lazily and in order; see ``__call__``."""
        return (self(picture) for picture in pictures)

    def prepare(self, picture: PictureSource, max_pixels: int = MAX_PIXELS) -> Tuple[np.ndarray, Placement]:
        """Decode and place one picture on this model's canvas; see ``preprocess``."""
        return preprocess(picture, self.spec.input, max_pixels)

    def report(self, found: Detections) -> Detections:
        """What is reported of all detections of a picture: those from their class's threshold on, best first."""
        return found.above(self.thresholds)

    def detect(self, prepared: Sequence[Tuple[np.ndarray, Placement]]) -> List[Detections]:
        """All detections of prepared pictures, whatever their score, in original pixels.

        Args:
            prepared: what ``prepare`` returned, one a picture; they run as one batch.
        """
        if not prepared:
            return []
        found = self._backend.detect(np.stack([canvas for canvas, _ in prepared]))
        return [postprocess(one, placement) for one, (_, placement) in zip(found, prepared)]

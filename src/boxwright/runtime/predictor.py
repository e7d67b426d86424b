"""Pictures in, detections out: the path every served figure takes."""

from __future__ import annotations

import os
from typing import Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from .backends import open_backend
from .bundle import Bundle, open_bundle
from .detections import Detections
from .picture import MAX_PIXELS, PictureSource
from .preprocess import Placement, postprocess, preprocess
from .spec import ModelSpec, OperatingPoint

__all__ = ["Predictor"]


class Predictor:
    """A trained model, ready for pictures.

    Args:
        source: a run folder, a ``.mar`` archive, an unpacked archive, or an opened ``Bundle``.
        threshold: lowest reported score, in [0, 1]; the model's own operating point by default.
        backend: what runs the network: ``onnxruntime``, ``openvino``, ``torch`` or ``torch-compile``; ``auto`` takes
            the fastest here of those that were proved equal to the trained model; see ``open_backend``.
        precision: ``fp32``, ``bf16``, ``int8``, or ``auto``, with the same meaning.
        device: a torch device.
        threads: processors one picture may use; all by default.

    Attributes:
        spec: of the model.
        thresholds: lowest reported score of each class, by class index.
        chosen: the backend, and why it is this one.

    Raises:
        ArchiveError: the model cannot be read.
        ConfigError: the threshold is outside [0, 1]; an unknown backend or precision.
        MissingDependency: the backend is not installed.
    """

    def __init__(
        self,
        source: Union[str, os.PathLike[str], Bundle],
        *,
        threshold: Optional[float] = None,
        backend: str = "auto",
        precision: str = "auto",
        device: str = "cpu",
        threads: Optional[int] = None,
    ) -> None:
        bundle = source if isinstance(source, Bundle) else open_bundle(source)
        self.spec: ModelSpec = bundle.spec
        point = self.spec.operating_point if threshold is None else OperatingPoint(threshold)
        self.thresholds: Tuple[float, ...] = point.thresholds(self.spec.class_names)
        self.chosen = open_backend(bundle, backend, precision, device, threads)

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
        found = self.chosen.backend.detect(np.stack([canvas for canvas, _ in prepared]))
        return [postprocess(one, placement) for one, (_, placement) in zip(found, prepared)]

"""Pictures in, detections out: the path every served figure takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
from PIL import Image

from .backends import open_backend
from .bundle import Bundle, open_bundle
from .detections import Detections
from .errors import ArchiveError
from .picture import MAX_PIXELS, PictureSource
from .preprocess import Placement, postprocess, preprocess
from .sources import Sources, read_sources
from .spec import ModelSpec, OperatingPoint

__all__ = ["Prediction", "Predictor"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was found in one picture, and where the picture comes from.

    Attributes:
        source: path or URL; ``#3`` for the third source, if it has no name.
        detections: at the threshold, best first, in pixels of ``image``.
        image: the picture, upright, mode ``RGB``. Whoever keeps a prediction keeps it.
        frame: its number in the video, from 0; None outside videos.
        seconds: since the beginning of the video; None outside videos.
    """

    source: str
    detections: Detections
    image: Image.Image
    frame: Optional[int] = None
    seconds: Optional[float] = None


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

    def predict(self, sources: Sources, *, urls: bool = False, every: int = 1) -> Iterator[Detections]:
        """Detections of many pictures, lazily and in order; see ``stream``, which also says where each is from."""
        return (one.detections for one in self.stream(sources, urls=urls, every=every))

    def stream(self, sources: Sources, *, urls: bool = False, every: int = 1) -> Iterator[Prediction]:
        """What is found in pictures, folders and videos, lazily and in order; one picture is held at a time.

        Args:
            sources: one or many: paths of pictures, of folders (their pictures, by name, not those in
                subfolders) or of videos (their frames), URLs, and all that ``__call__`` takes.
            urls: whether URLs are fetched.
            every: takes every so many frames of a video.

        Raises:
            PictureError: a source cannot be used; raised when it is its turn.
            ConfigError: a URL without ``urls``; ``every`` is not positive.
            MissingDependency: a video without OpenCV.
        """
        pictures = read_sources(sources, urls=urls, every=every)
        return (Prediction(one.source, self(one.image), one.image, one.frame, one.seconds) for one in pictures)

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

        Raises:
            ArchiveError: the network answers classes that the model does not have, or cannot be run.
        """
        if not prepared:
            return []
        found = self.chosen.backend.detect(np.stack([canvas for canvas, _ in prepared]))
        labels = np.concatenate([one.labels for one in found])
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.spec.classes):
            raise ArchiveError(f"{self.spec.name}: answers classes that it does not have.", "Do not use it.")
        return [postprocess(one, placement) for one, (_, placement) in zip(found, prepared)]

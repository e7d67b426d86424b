"""The predictor for Python: it opens a model and reads pictures, folders, videos and URLs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from boxwright.runtime import Bundle, Detections, Execution, PicturePredictor, open_bundle

from .sources import SourcePicture, Sources, read_sources
from .stores import local_place

__all__ = ["Prediction", "Predictor"]


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The detections of one picture, and where the picture comes from; ``print`` and notebooks show them as a table.

    Attributes:
        source: path or URL; ``#3`` for the third source, if it has no name.
        detections: at the threshold, best first, in pixels of ``image``. Kept alone, they note the path of a picture
            file and nothing of a frame, a URL or what was in memory, so that many of them need little memory.
        image: the picture, upright, mode ``RGB``; in memory as long as the prediction is.
        frame: its number in the video, from 0; None outside videos.
        seconds: since the beginning of the video; None outside videos.
    """

    source: str
    detections: Detections
    image: Image.Image
    frame: int | None = None
    seconds: float | None = None

    def draw(self) -> Image.Image:
        """A copy of the picture with boxes, class names and scores."""
        return self.detections.draw(self.image)

    def show(self) -> None:
        """Show the drawn picture; see ``Detections.show``."""
        self.detections.show(self.image)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the drawn picture to a file; see ``Detections.save``."""
        source = self.source if self.frame is None else None
        return replace(self.detections, picture=source).save(path, self.image)

    def crop(self) -> list[Image.Image]:
        """The parts of the picture inside the boxes, in the order of the detections."""
        return self.detections.crop(self.image)

    def __str__(self) -> str:
        frame = "" if self.frame is None else f", frame {self.frame}"
        return f"{self.source}{frame}: {self.detections}"

    def __repr__(self) -> str:
        return f"<Prediction {self.source!r}: {self.detections!r}>"

    def _repr_html_(self) -> str:
        return replace(self.detections, picture=self.image)._repr_html_()


class Predictor(PicturePredictor):
    """A trained model, ready for pictures; see ``PicturePredictor`` for a single one.

    Args:
        source: a run folder, a ``.mar`` archive or an unpacked one, the URL of one of these, or an opened ``Bundle``.
        threshold: lowest reported score, in [0, 1]; the model's own operating point by default.
        backend: a key of ``BACKENDS``; ``auto`` takes the first that was proved and can run here.
        precision: one of ``PRECISIONS``; ``auto`` takes the first that was proved.
        device: a torch device.
        threads: processors that one picture may use; all by default.

    Raises:
        ArchiveError: the model cannot be read.
        ConfigError: the threshold is outside [0, 1]; an unknown backend or precision.
        MissingDependency: the backend is not installed.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Bundle,
        *,
        threshold: float | None = None,
        backend: str = "auto",
        precision: str = "auto",
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        bundle = source if isinstance(source, Bundle) else open_bundle(local_place(os.fspath(source)))
        super().__init__(bundle, Execution(backend, precision, device, threads), threshold)

    def predict(self, sources: Sources, *, urls: bool = False, every: int = 1) -> Iterator[Detections]:
        """Detections of many pictures, lazily and in order; see ``stream``, which also says where each is from."""
        return (one.detections for one in self.stream(sources, urls=urls, every=every))

    def stream(self, sources: Sources, *, urls: bool = False, every: int = 1) -> Iterator[Prediction]:
        """Predictions on pictures, folders and videos, lazily and in order; one picture is held at a time.

        Args:
            sources: one or many: paths of pictures, of folders (their pictures, sorted by name, without
                subfolders) or of videos (their frames), URLs, and all that ``__call__`` takes.
            urls: whether URLs are fetched.
            every: of a video, frames 0, ``every``, 2 ``every``, … are taken.

        Raises:
            PictureError: a source cannot be used; raised when it is its turn.
            ConfigError: a URL without ``urls``; ``every`` is not positive.
            MissingDependency: a video without OpenCV.
        """
        pictures = read_sources(sources, urls=urls, every=every)
        return (Prediction(one.source, self._of_stream(one), one.image, one.frame, one.seconds) for one in pictures)

    def _of_stream(self, one: SourcePicture) -> Detections:
        """Detections that hold no picture in memory."""
        return replace(self(one.image), picture=one.file)

"""The one result type."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Dict, Iterator, List, Optional, Sequence, Tuple, Type, Union

import numpy as np
from PIL import Image

from .errors import ConfigError, MissingDependency, PictureError
from .picture import PictureSource, decode

__all__ = ["Detections"]

_ROWS = 10  # of the table that is printed
_HIGHEST = 1.0 + 1e-6  # a network's sigmoid may be rounded up
_IN_SHORT = 3  # of the line that a list of them shows


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """What a detector found in one picture.

    ``print`` shows a table of the best ones. A predictor also notes the names of the classes and the picture, so that
    ``show``, ``save``, ``draw`` and ``crop`` need no argument, and a notebook shows the drawn picture.

    Attributes:
        boxes: float32 [n, 4], xyxy (left, top, right, bottom), in pixels of the picture the
            detections belong to (see where they were made: canvas or original picture).
        scores: float32 [n], in [0, 1].
        labels: int64 [n], class indices 0..K-1 into ``ModelSpec.classes``.
        names: class names by index; None where they are not known.
        picture: what they were found in, as it was given: read again when it is needed; None where it is not known.

    Raises:
        ValueError: when shapes disagree; the message gives expected and actual shapes. A score outside [0, 1], a label
            that is not a whole number from 0 on, or that has no name.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: Optional[Tuple[str, ...]] = None
    picture: Optional[PictureSource] = None
    _floats: ClassVar[Type[np.floating]] = np.float32  # of boxes and scores; a subclass may keep more digits

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, dtype=self._floats)
        scores = np.asarray(self.scores, dtype=self._floats)
        given = np.asarray(self.labels)
        labels = given.astype(np.int64, copy=False)
        if boxes.size == 0:
            boxes = boxes.reshape(-1, 4)
        count = scores.shape[0] if scores.ndim == 1 else -1
        if boxes.shape != (count, 4) or labels.shape != (count,):
            raise ValueError(
                "Detections need boxes [n, 4], scores [n] and labels [n]; "
                f"got {list(boxes.shape)}, {list(scores.shape)} and {list(labels.shape)}."
            )
        if count and not (scores.min() >= 0.0 and scores.max() <= _HIGHEST):  # NaN is neither
            raise ValueError(f"Scores {scores.min()} to {scores.max()} are not in [0, 1].")
        if count and (labels.min() < 0 or (given.dtype.kind == "f" and (labels != given).any())):
            raise ValueError(f"Labels {given.min()} to {given.max()} are not whole numbers from 0 on.")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "labels", labels)
        if self.names is not None:
            object.__setattr__(self, "names", tuple(self.names))
            if count and not 0 <= labels.min() <= labels.max() < len(self.names):
                raise ValueError(f"Labels {labels.min()} to {labels.max()} do not fit {len(self.names)} class names.")

    def __len__(self) -> int:
        return int(self.scores.shape[0])

    def __repr__(self) -> str:
        best = self._best_first()
        names = self._own_names()
        parts = [f"{names[int(self.labels[at])]} {self.scores[at]:.2f}" for at in best[:_IN_SHORT]]
        parts += ["…"] if len(best) > _IN_SHORT else []
        return f"<{self._counted()}{': ' if parts else ''}{', '.join(parts)}>"

    def __str__(self) -> str:
        """A table of the ten best: class, score, box."""
        best = self._best_first()
        names = self._own_names()
        rows = [
            (
                names[int(self.labels[at])],
                f"{self.scores[at]:.3f}",
                ", ".join(f"{edge:.1f}" for edge in self.boxes[at].tolist()),
            )
            for at in best[:_ROWS]
        ]
        if not rows:
            return self._counted()
        table = [("class", "score", "left, top, right, bottom (pixels)"), *rows]
        wide = max(len(row[0]) for row in table)
        lines = [f"  {row[0]:<{wide}}  {row[1]:>5}  {row[2]}" for row in table]
        more = [f"  … and {len(best) - _ROWS} more"] if len(best) > _ROWS else []
        return "\n".join([self._counted(), *lines, *more])

    def _repr_html_(self) -> str:
        """For notebooks: the drawn picture, if there is one, and a table."""
        from .drawing import html_of

        image: Union[Image.Image, str, None] = None
        if self.picture is not None:
            try:
                image = decode(self.picture)
            except PictureError as error:  # a file may be gone: the table can still be shown
                image = str(error)
        return html_of(self, self._own_names(), image)

    def _counted(self) -> str:
        return f"{len(self)} detection{'' if len(self) == 1 else 's'}"

    def _best_first(self) -> np.ndarray:
        order: np.ndarray = np.argsort(-self.scores, kind="stable")
        return order

    def _own_names(self) -> Tuple[str, ...]:
        """Names by class index; ``class 3`` where they are not known."""
        if self.names is not None:
            return self.names
        return tuple(f"class {label}" for label in range(int(self.labels.max(initial=-1)) + 1))

    @classmethod
    def empty(cls) -> Detections:
        """No detections: boxes [0, 4], scores [0], labels [0]."""
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0))

    def select(self, which: np.ndarray) -> Detections:
        """The detections picked by a boolean mask [n] or by indices [m]."""
        return replace(self, boxes=self.boxes[which], scores=self.scores[which], labels=self.labels[which])

    def draw(self, picture: Optional[PictureSource] = None) -> Image.Image:
        """A copy of the picture with boxes, class names and scores.

        Args:
            picture: by default the one that they were found in.

        Raises:
            PictureError: the picture is not known, or cannot be read.
        """
        from .drawing import draw_detections

        return draw_detections(self._decoded(picture), self, self._own_names())

    def show(self, picture: Optional[PictureSource] = None) -> None:
        """Show the drawn picture: in a notebook below its cell, else in the system's viewer.

        Args:
            picture: by default the one that they were found in.

        Raises:
            PictureError: the picture is not known, or cannot be read; there is nothing to show it with.
        """
        from PIL import ImageShow  # looks for IPython when it is imported

        drawn = self.draw(picture)
        kernel = sys.modules.get("ipykernel.kernelapp")  # which other packages import, too
        if kernel is not None and kernel.IPKernelApp.initialized():
            sys.modules["IPython.display"].display(drawn)
        elif not any(one.show(drawn, title=self._counted()) for one in _viewers(ImageShow)):
            raise PictureError("There is no display or viewer for pictures here.", "Write it to a file: save(PATH).")

    def save(self, path: Union[str, os.PathLike[str]], picture: Optional[PictureSource] = None) -> Path:
        """Write the drawn picture to a file.

        Args:
            path: of the file; its suffix says the format. A file of that name is replaced.
            picture: by default the one that they were found in.

        Returns:
            The path.

        Raises:
            PictureError: the picture is not known, or cannot be read.
            ConfigError: an unknown suffix; a format that does not hold so many pixels; a folder that does not exist;
                the path of the picture itself.
        """
        target = Path(path)
        if any(_is_file(target, given) for given in (self.picture, picture)):
            raise ConfigError(f"{target}: the drawing would replace the picture itself.", "Give another path.")
        kind = Image.registered_extensions().get(target.suffix.lower())
        if kind is None or kind not in Image.SAVE:
            raise ConfigError(f"{target}: a picture is not written as {target.suffix!r}.", "Use .png or .jpg.")
        drawn, content = self.draw(picture), io.BytesIO()
        try:
            drawn.save(content, format=kind)
        except (OSError, ValueError, OverflowError) as error:  # of each format's own limits
            size = f"{drawn.width} x {drawn.height} pixels"
            raise ConfigError(f"{target}: {kind} does not hold {size}: {error}.", "Use .png.") from error
        try:
            target.write_bytes(content.getvalue())
        except OSError as error:
            raise ConfigError(
                f"{target}: cannot be written: {error.strerror}.", "Give a path in a folder of yours."
            ) from error
        return target

    def crop(self, picture: Optional[PictureSource] = None) -> List[Image.Image]:
        """The parts of the picture inside the boxes, in the order of the detections.

        Args:
            picture: by default the one that they were found in.

        Raises:
            PictureError: the picture is not known, cannot be read, or is not the one of these boxes.
        """
        from .drawing import crops

        return crops(self._decoded(picture), self.boxes)

    def _decoded(self, picture: Optional[PictureSource]) -> Image.Image:
        given = self.picture if picture is None else picture
        if given is None:
            raise PictureError("These detections do not know their picture.", "Give it: show(PICTURE).")
        return decode(given)

    def filter_by_score(self, threshold: Union[float, Sequence[float], np.ndarray]) -> Detections:
        """The detections with a score of at least the threshold, highest score first.

        The comparison is made in float64, so that a threshold taken from a float32 score
        keeps the detection it was taken from.

        Args:
            threshold: one for all, or one per class, by class index.
        """
        needed = np.asarray(threshold, dtype=np.float64)
        needed = needed[self.labels] if needed.ndim else needed
        kept = self.select(self.scores.astype(np.float64) >= needed)
        return kept.select(np.argsort(-kept.scores, kind="stable"))

    def to_answer(self, names: Optional[Sequence[str]] = None) -> List[Dict[str, Any]]:
        """The JSON answer of the endpoint: ``[{name: [x1, y1, x2, y2], "score": s}]``.

        Args:
            names: class names by index; by default its own.

        Raises:
            ConfigError: no names.
        """
        names = self._require_names(names)
        return [
            {names[int(label)]: [float(edge) for edge in box], "score": float(score)}
            for box, score, label in zip(self.boxes, self.scores, self.labels)
        ]

    def to_coco(self, image_id: int, category_ids: Sequence[int]) -> List[Dict[str, Any]]:
        """COCO results: ``[{"image_id", "category_id", "bbox": [x, y, width, height], "score"}]``, in pixels.

        Args:
            image_id: of the picture, in the data set's JSON.
            category_ids: by class index: ``[entry.id for entry in spec.classes]``.
        """
        edges = self.boxes.astype(np.float64)
        corners_and_sizes = np.hstack([edges[:, :2], edges[:, 2:] - edges[:, :2]])
        return [
            {"image_id": image_id, "category_id": category_ids[int(label)], "bbox": box, "score": float(score)}
            for box, score, label in zip(corners_and_sizes.tolist(), self.scores, self.labels)
        ]

    def to_supervision(self, names: Optional[Sequence[str]] = None) -> Any:
        """The same as ``supervision.Detections``, with ``data["class_name"]`` str [n].

        Args:
            names: class names by index; by default its own.

        Raises:
            ConfigError: no names.
            MissingDependency: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingDependency("'supervision' is not installed.", "pip install supervision") from error
        names = self._require_names(names)
        class_names = np.array([names[int(label)] for label in self.labels], dtype=str)
        return supervision.Detections(
            xyxy=self.boxes, confidence=self.scores, class_id=self.labels, data={"class_name": class_names}
        )

    def _require_names(self, given: Optional[Sequence[str]]) -> Sequence[str]:
        names = self.names if given is None else given
        if names is None:
            raise ConfigError("These detections do not know the names of their classes.", "Give names=[…].")
        return names


def _is_file(path: Path, given: Optional[PictureSource]) -> bool:
    """Whether a picture is the file at a path."""
    if not isinstance(given, (str, os.PathLike)):
        return False
    try:
        return path.samefile(given)
    except OSError:  # one of them is not there, or is a URL
        return False


def _viewers(show: Any) -> Iterator[Any]:
    """Pillow's, without the one of notebooks: outside of them it prints what the picture is, and calls that shown.

    Nor those of Unix where there is no display: what they call prints its search for a browser, and counts as shown.
    """
    there = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    useless = (show.IPythonViewer,) if there else (show.IPythonViewer, show.UnixViewer)
    return (one for one in show._viewers if not isinstance(one, useless))

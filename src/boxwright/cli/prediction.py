"""``boxwright predict``: files in, text, JSON and drawn pictures out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from boxwright.inputs import Prediction, Predictor
from boxwright.inputs.download import is_url
from boxwright.inputs.drawing import draw_detections
from boxwright.inputs.sources import each_source, require_allowed
from boxwright.inputs.video import VideoInfo, VideoWriter, describe_video, is_video
from boxwright.runtime import ClassEntry, ConfigError, PictureError

__all__ = ["Task", "plan", "predict_all", "quiet_video_library"]


@dataclass(frozen=True)
class Task:
    """One source.

    Attributes:
        source: path or URL.
        target: file for its drawing, or None.
        video: what a video says of itself; None for pictures.
    """

    source: str
    target: Path | None
    video: VideoInfo | None

    def pictures(self, every: int) -> int:
        """How many come of it, as far as it says."""
        frames = self.video.frames if self.video else None
        return 1 if frames is None else -(-frames // every)


def quiet_video_library() -> None:
    """FFmpeg tells of broken files in its own words otherwise; to be called before OpenCV is loaded."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def plan(sources: Sequence[str], out: Path | None, *, urls: bool) -> list[Task]:
    """What there is to do, before a model is loaded for it.

    Args:
        sources: paths of pictures, folders and videos; URLs.
        out: folder for drawn copies, or None.
        urls: whether URLs are allowed.

    Raises:
        ConfigError: a URL that is not allowed, or a drawing that would overwrite a source or another drawing.
        PictureError: a folder without pictures.
        MissingDependency: a video without OpenCV.
    """
    everything = [str(source) for source in each_source(sources)]
    for source in everything:
        require_allowed(source, urls)
    targets = _targets(everything, out)
    return [Task(source, target, _describe(source)) for source, target in zip(everything, targets, strict=True)]


def _targets(sources: Sequence[str], out: Path | None) -> list[Path | None]:
    """Where each one's drawing goes."""
    if out is None:
        return [None] * len(sources)
    taken = {Path(source).resolve() for source in sources if not is_url(source)}
    targets: list[Path | None] = []
    for source in sources:
        target = out / _drawing_name(source)
        if target.resolve() in taken:
            raise ConfigError(f"{source}: its drawing would overwrite {target}.", "Rename it, or choose another --out.")
        taken.add(target.resolve())
        targets.append(target)
    return targets


_LONGEST_NAME = 200  # bytes; file systems take 255


def _drawing_name(source: str) -> str:
    path = re.split("[?#]", source)[0].partition("://")[2].partition("/")[2] if is_url(source) else source
    stem = Path(path).stem or "picture"
    stem = stem.encode("utf-8", "ignore")[:_LONGEST_NAME].decode("utf-8", "ignore") if is_url(source) else stem
    return f"{stem}.mp4" if is_video(source) else f"{stem}.png"


def _describe(source: str) -> VideoInfo | None:
    if not is_video(source):
        return None
    try:
        return describe_video(source)
    except PictureError:  # said when it is its turn
        return VideoInfo(None, 1.0)


def predict_all(
    predictor: Predictor,
    tasks: Sequence[Task],
    say: Callable[[str], object],
    advance: Callable[[int, int], object],
    *,
    urls: bool,
    every: int,
    keep: bool,
) -> tuple[list[dict[str, Any]], list[PictureError]]:
    """Detect on every source; one that cannot be used does not stop the others.

    Args:
        predictor: the model.
        tasks: see ``plan``; the folder of their drawings is made.
        say: called with one text a picture.
        advance: called with (pictures done, pictures in all).
        urls: whether URLs are fetched.
        every: takes every so many frames of a video.
        keep: whether results are wanted; of a long video they are many.

    Returns:
        COCO results with file and class name, boxes [x, y, width, height] in pixels, frame and time in
        videos; and an error for each source that could not be used.
    """
    for folder in {task.target.parent for task in tasks if task.target}:
        folder.mkdir(parents=True, exist_ok=True)
    total, done = sum(task.pictures(every) for task in tasks), 0
    results: list[dict[str, Any]] = []
    failed: list[PictureError] = []
    advance(done, total)
    for task in tasks:
        try:
            with _drawing(task, predictor.spec.class_names, every) as draw:
                for found in predictor.stream(task.source, urls=urls, every=every):
                    say(_text(found, predictor.spec.class_names))
                    results += _results(found, predictor.spec.classes) if keep else []
                    draw(found)
                    done += 1
                    advance(done, max(done, total))
        except PictureError as error:
            failed.append(error)
    return results, failed


@contextmanager
def _drawing(task: Task, names: Sequence[str], every: int) -> Iterator[Callable[[Prediction], object]]:
    def drawn(found: Prediction) -> Image.Image:
        return draw_detections(found.image, found.detections, names)

    target = task.target
    if target is None:
        yield lambda found: None
    elif task.video is None:
        yield lambda found: drawn(found).save(target)
    else:
        with VideoWriter(target, task.video.rate, every) as film:
            yield lambda found: film.add(drawn(found))


def _text(prediction: Prediction, names: Sequence[str]) -> str:
    found = prediction.detections
    boxes = [
        f"  {names[label]} {score:.3f} [{', '.join(f'{edge:.1f}' for edge in box)}]"
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True)
    ]
    where = "" if prediction.frame is None else f" frame {prediction.frame} ({prediction.seconds:.3f} s)"
    return "\n".join([f"{prediction.source}{where}: {len(found)} found", *boxes])


def _results(prediction: Prediction, classes: Sequence[ClassEntry]) -> list[dict[str, Any]]:
    source, found = prediction.source, prediction.detections
    name = source if is_url(source) else Path(source).name
    moment = {} if prediction.frame is None else {"frame": prediction.frame, "seconds": prediction.seconds}
    coco = found.to_coco(0, [entry.id for entry in classes])
    return [
        {
            "file_name": name,
            **moment,
            "category_id": one["category_id"],
            "class": classes[label].name,
            "bbox": one["bbox"],
            "score": one["score"],
        }
        for one, label in zip(coco, found.labels, strict=True)
    ]

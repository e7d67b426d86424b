"""``boxwright predict``: files in, text, JSON and drawn pictures out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from boxwright.runtime import ConfigError, Detections, PictureError, Predictor, decode
from boxwright.runtime.drawing import draw_detections
from boxwright.runtime.picture import SUFFIXES

__all__ = ["predict_files"]


def predict_files(
    predictor: Predictor, paths: Sequence[Path], out: Path | None, say: Callable[[str], object]
) -> tuple[list[dict[str, Any]], list[PictureError]]:
    """Detect on every picture; one that cannot be used does not stop the others.

    Args:
        predictor: the model.
        paths: pictures, or folders whose pictures are taken.
        out: folder for drawn copies, or None.
        say: called with one line a picture.

    Returns:
        COCO results with file and class name, boxes [x, y, width, height] in pixels; and an error for
        each picture that could not be used.

    Raises:
        ConfigError: no pictures, or a drawing that would overwrite a picture or another drawing.
    """
    pictures = list(_pictures(paths))
    if not pictures:
        looked_for = f"Looked for {', '.join(SUFFIXES)}, not in subfolders."
        raise ConfigError(f"{', '.join(map(str, paths))}: no pictures.", looked_for)
    targets = _targets(pictures, out)
    results: list[dict[str, Any]] = []
    failed: list[PictureError] = []
    for path in pictures:
        try:
            found = predictor(path)
        except PictureError as error:
            failed.append(error)
            continue
        say(_line(path, found, predictor.spec.class_names))
        results += _results(path, found, predictor)
        if path in targets:
            draw_detections(decode(path), found, predictor.spec.class_names).save(targets[path])
    return results, failed


def _pictures(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        else:
            yield path


def _line(path: Path, found: Detections, names: Sequence[str]) -> str:
    boxes = [
        f"  {names[label]} {score:.3f} [{', '.join(f'{edge:.1f}' for edge in box)}]"
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True)
    ]
    return "\n".join([f"{path}: {len(found)} found", *boxes])


def _results(path: Path, found: Detections, predictor: Predictor) -> list[dict[str, Any]]:
    return [
        {
            "file_name": path.name,
            "category_id": predictor.spec.classes[label].id,
            "class": predictor.spec.classes[label].name,
            "bbox": [float(left), float(top), float(right - left), float(bottom - top)],
            "score": float(score),
        }
        for (left, top, right, bottom), score, label in zip(found.boxes, found.scores, found.labels, strict=True)
    ]


def _targets(pictures: Sequence[Path], out: Path | None) -> dict[Path, Path]:
    """Where each picture's drawing goes."""
    if out is None:
        return {}
    targets = {path: out / f"{path.stem}.png" for path in pictures}
    taken = {path.resolve() for path in pictures}
    for path, target in targets.items():
        if target.resolve() in taken:
            raise ConfigError(f"{path}: its drawing would overwrite {target}.", "Choose another --out.")
        taken.add(target.resolve())
    out.mkdir(parents=True, exist_ok=True)
    return targets

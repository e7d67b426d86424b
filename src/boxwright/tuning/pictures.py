"""The pictures a benchmark runs on, laid on the canvas once."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.runtime import ConfigError, InputSpec, PictureError, preprocess
from boxwright.runtime.picture import SUFFIXES

__all__ = ["MOST_PICTURES", "Pictures", "made_up_pictures", "read_pictures"]

MOST_PICTURES = 32
"""Most pictures taken from a folder, evenly by name: enough to differ, few enough for memory."""

_MADE_UP = 8


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is measured on.

    Attributes:
        canvases: uint8 [M, 3, H, W].
        source: where they are from, for people.
        preprocess_ms: median of decoding a picture and laying it on the canvas, one after the other; None for
            made-up pictures.
        unusable: a sentence for each file that is not a usable picture.
    """

    canvases: np.ndarray
    source: str
    preprocess_ms: float | None = None
    unusable: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """All but the pixels, for JSON."""
        return {"source": self.source, "count": len(self.canvases), "preprocess_ms": self.preprocess_ms}


def read_pictures(folder: Path, spec: InputSpec) -> Pictures:
    """Pictures of a folder and its subfolders.

    Args:
        folder: searched for JPEG, PNG, WebP and BMP.
        spec: the canvas.

    Raises:
        ConfigError: no such folder, or no usable picture in it.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder.", "Give a folder of pictures.")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise ConfigError(f"{folder}: no pictures.", f"Looked for {', '.join(SUFFIXES)}.")
    step = max(1, len(files) / MOST_PICTURES)
    return _prepared([files[int(index * step)] for index in range(min(len(files), MOST_PICTURES))], folder, spec)


def _prepared(files: list[Path], folder: Path, spec: InputSpec) -> Pictures:
    canvases, times, unusable = [], [], []
    for path in files:
        started = time.perf_counter()
        try:
            canvas, _ = preprocess(path, spec)
        except PictureError as error:
            unusable.append(str(error))
            continue
        times.append(1000 * (time.perf_counter() - started))
        canvases.append(canvas)
    if not canvases:
        raise ConfigError(f"{folder}: no usable pictures. First: {unusable[0]}", "Give a folder of others.")
    return Pictures(np.stack(canvases), str(folder), statistics.median(times), tuple(unusable))


def made_up_pictures(spec: InputSpec) -> Pictures:
    """Noise in blocks of 4 to 32 pixels: something for every part of a detector to do, the same on every machine.

    Args:
        spec: the canvas.
    """
    random = np.random.default_rng(0)
    canvases = [_blocks(random, 4 * 2 ** (one % 4), spec) for one in range(_MADE_UP)]
    return Pictures(np.stack(canvases), "made-up noise in blocks")


def _blocks(random: np.random.Generator, size: int, spec: InputSpec) -> np.ndarray:
    """uint8 [3, height, width]."""
    blocks = random.integers(0, 256, (3, -(-spec.height // size), -(-spec.width // size)), np.uint8)
    return blocks.repeat(size, axis=1).repeat(size, axis=2)[:, : spec.height, : spec.width]

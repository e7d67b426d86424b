"""Runs pictures through several executions of a model; each picture is decoded once."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Semaphore
from typing import TypeVar

import numpy as np

from boxwright.host.machine import cores
from boxwright.runtime import Detections, PicturePredictor, Placement

__all__ = ["Advance", "Detected", "detect_pictures"]

Advance = Callable[[int, int], object]
"""Called with (pictures done, pictures in all)."""

_AHEAD = 4  # pictures by which decoding may be ahead of detecting, and a fast execution ahead of a slow one

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, eq=False)
class Detected:
    """What one execution found.

    Attributes:
        detections: one per picture, down to the lowest scores, in pixels of the picture.
        milliseconds: median per picture, without decoding, while the other executions ran.
    """

    detections: tuple[Detections, ...]
    milliseconds: float


def detect_pictures(
    predictors: Sequence[PicturePredictor], pictures: Sequence[Path], advance: Advance | None = None
) -> list[Detected]:
    """Run every picture through every predictor; as many at the same time as there are processors.

    Args:
        predictors: of one model, each with an execution of its own; one at least.
        pictures: one at least.
        advance: for long work.

    Returns:
        One per predictor.

    Raises:
        PictureError: a picture cannot be read or decoded.
    """
    turn = Semaphore(cores())

    def detect(predictor: PicturePredictor, prepared: tuple[np.ndarray, Placement]) -> tuple[Detections, float]:
        with turn:
            started = time.perf_counter()
            detections = predictor.detect([prepared])[0]
            return detections, 1000 * (time.perf_counter() - started)

    rows = []
    with ExitStack() as stack:
        # a thread for each execution keeps its pictures in order, and PyTorch's number of threads where it was set
        decoder, *lanes = (stack.enter_context(ThreadPoolExecutor(1)) for _ in range(len(predictors) + 1))
        decoded = _ahead(lambda picture: decoder.submit(predictors[0].prepare, picture), pictures)
        running = _ahead(
            lambda future: [
                lane.submit(detect, predictor, future.result())
                for lane, predictor in zip(lanes, predictors, strict=True)
            ],
            decoded,
        )
        for number, futures in enumerate(running, start=1):
            rows.append([future.result() for future in futures])
            if advance:
                advance(number, len(pictures))
    columns = [zip(*column, strict=True) for column in zip(*rows, strict=True)]
    return [Detected(tuple(detections), statistics.median(times)) for detections, times in columns]


def _ahead(start: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """What ``start`` returns for each item, a few items later."""
    started: deque[_R] = deque()
    for item in items:
        started.append(start(item))
        if len(started) > _AHEAD:
            yield started.popleft()
    yield from started

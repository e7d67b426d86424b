"""Runs pictures through several executions of a model; each picture is decoded once."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from threading import Condition, get_ident
from typing import TypeVar

from boxwright.host.machine import cores
from boxwright.runtime import Detections, Execution, ModelSpec, PicturePredictor, Prepared, prepare
from boxwright.runtime.picture import LARGEST_PIXELS

__all__ = ["Advance", "Detected", "detect_pictures"]

Advance = Callable[[int, int], object]
"""Called with (pictures done, pictures in all)."""

_AHEAD = 128  # pictures by which an execution may be ahead of a slower one, or of one whose file is still being written
_WINDOWS_AHEAD = 4  # the same if pictures are seen in windows: each has up to a hundred canvases

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, eq=False)
class Detected:
    """What one execution found.

    Attributes:
        execution: settled.
        detections: one per picture, down to the lowest scores, in pixels of the picture.
        milliseconds: median per picture, without decoding, while the other executions ran.
    """

    execution: Execution
    detections: tuple[Detections, ...]
    milliseconds: float


def detect_pictures(
    spec: ModelSpec,
    executions: Sequence[Callable[[], PicturePredictor]],
    pictures: Sequence[Path],
    advance: Advance | None = None,
) -> list[Detected]:
    """Run every picture through every execution; as many at the same time as there are processors.

    Args:
        spec: of the model.
        executions: each opens the model with an execution of its own, in a thread of its own, and may wait there for
            what it needs; one at least.
        pictures: one at least.
        advance: for long work.

    Returns:
        One per execution.

    Raises:
        PictureError: a picture cannot be read or decoded.
    """
    turns, rows = _Turns(cores()), []
    taken: list[list[float]] = [[] for _ in executions]  # milliseconds per picture, by execution
    # a thread for each execution keeps its pictures in order, and PyTorch's number of threads where it was set
    decoder, *threads = (ThreadPoolExecutor(1) for _ in range(len(executions) + 1))
    opened = [thread.submit(open_one) for thread, open_one in zip(threads, executions, strict=True)]

    def detect(number: int, picture: Future[Prepared]) -> Detections:
        predictor, prepared, times = opened[number].result(), picture.result(), taken[number]
        with turns.take(statistics.mean(times or [math.inf]) * (len(pictures) - len(times))):
            started = time.perf_counter()
            detections = predictor.detect([prepared])[0]
            times.append(1000 * (time.perf_counter() - started))
            return detections

    def start(path: Path) -> list[Future[Detections]]:
        picture = decoder.submit(prepare, path, spec.input, LARGEST_PIXELS)
        return [thread.submit(detect, number, picture) for number, thread in enumerate(threads)]

    try:
        ahead = _AHEAD if spec.input.tile is None else _WINDOWS_AHEAD
        for number, futures in enumerate(_ahead(start, pictures, ahead), start=1):
            rows.append([future.result() for future in futures])
            if advance:
                advance(number, len(pictures))
    finally:
        for thread in (decoder, *threads):
            thread.shutdown(cancel_futures=True)
    return [
        Detected(one.result().execution, detections, statistics.median(times))
        for one, detections, times in zip(opened, zip(*rows, strict=True), taken, strict=True)
    ]


class _Turns:
    """Lets a number of threads work at the same time; who has most work left goes first, so that all end together."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._waiting: list[tuple[float, int]] = []
        self._changed = Condition()

    @contextmanager
    def take(self, left: float) -> Iterator[None]:
        """Wait for a place; ``left`` is the work that the caller has left, this part included."""
        mine = (-left, get_ident())
        with self._changed:
            heappush(self._waiting, mine)
            self._changed.wait_for(lambda: self._places > 0 and self._waiting[0] == mine)
            heappop(self._waiting)
            self._places -= 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._places += 1
                self._changed.notify_all()


def _ahead(start: Callable[[_T], _R], items: Iterable[_T], most: int) -> Iterator[_R]:
    """What ``start`` returns for each item, at most so many items later."""
    started: deque[_R] = deque()
    for item in items:
        started.append(start(item))
        if len(started) > most:
            yield started.popleft()
    yield from started

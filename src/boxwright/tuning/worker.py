"""Measures one execution in a process of its own: ``python -m boxwright.tuning.worker``.

A request comes as JSON on standard input, see ``Request``; the answers go as lines of JSON to standard output.
One process per execution, because PyTorch's number of threads, freed memory and page faults are the process's.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.host.machine import free_memory
from boxwright.host.memory import keep_freed_memory
from boxwright.runtime import Backend, BoxwrightError, Bundle, Execution, InputSpec, open_backend, open_bundle

__all__ = ["Request", "main"]

_BLOCK = 16  # pixels
_LOOK_SECONDS = 0.5
_FEW = 8  # pictures of a call, which are simply tried
_LONGEST_SECONDS = 300  # of a call: some of them are made in each process
_TIMES_PIXELS = 5  # bytes of a pixel, as it comes and as float32


@dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
        archive: path.
        execution: settled, as a dictionary of its fields; all its sessions are kept busy.
        batches: pictures per call, ascending, so that each one's peak of memory is not a larger one's.
        seconds: measured for each batch, at least.
        canvases: ``.npy`` file, uint8 [M, 3, H, W]; None is one made-up picture.
        least_calls: that are measured per session in any case.
        uncounted_calls: per session before measuring begins.
    """

    archive: str
    execution: Mapping[str, Any]
    batches: tuple[int, ...]
    seconds: float
    canvases: str | None = None
    least_calls: int = 3
    uncounted_calls: int = 2


class _Session(threading.Thread):
    """Calls one backend again and again, and writes down how long each call took.

    Args:
        detect: one call.
        request: how long, and how often.
        start: all sessions wait here, warm.
        busy: those that still measure; a session that is done keeps the machine as busy as it was.
    """

    def __init__(
        self, detect: Callable[[int], object], request: Request, start: threading.Barrier, busy: set[int], own: int
    ) -> None:
        super().__init__(daemon=True)
        self.detect, self.request, self.start_line, self.busy, self.own = detect, request, start, busy, own
        self.times: list[float] = []
        self.calls = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            for call in range(self.request.uncounted_calls):
                self.detect(call)
            self.start_line.wait()
            self._measure()
        except BaseException as error:  # reported by the main thread
            self.error = error
            self.start_line.abort()
        finally:
            self.busy.discard(self.own)

    def _measure(self) -> None:
        started = before = time.perf_counter()
        while self.calls < self.request.least_calls or before - started < self.request.seconds:
            self.detect(self.calls)
            now = time.perf_counter()
            self.times.append(now - before)
            before = now
            self.calls += 1
        self.busy.discard(self.own)
        while self.busy:
            self.detect(self.calls)
            self.calls += 1


def main() -> None:
    """Answer one request, a line for each batch size, as soon as it is known: the next may end the process."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a runtime prints must not end up in the answer
    threading.Thread(target=_end_with_caller, args=(os.getppid(),), daemon=True).start()
    document = json.load(sys.stdin)
    request = Request(**{**document, "batches": tuple(document["batches"])})
    with answers:
        for answer in _answers(request):
            print(json.dumps(answer), file=answers, flush=True)


def _end_with_caller(caller: int) -> None:
    """End when the caller has: nobody reads the answer, and the machine is wanted for something else."""
    while os.getppid() == caller:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def _answers(request: Request) -> Iterator[dict[str, Any]]:
    """Figures, or ``error`` with the reason."""
    keep_freed_memory()  # as the server does
    try:
        bundle = open_bundle(request.archive)
        backends = _open(bundle, Execution(**request.execution))
    except (BoxwrightError, MemoryError) as error:
        reason = str(error) or "Memory was not enough."
        yield from ({"batch": batch, "error": reason} for batch in request.batches)
        return
    canvases = _made_up(bundle.spec.input) if request.canvases is None else np.load(request.canvases, mmap_mode="r")
    for batch in request.batches:
        yield _measure(backends, canvases, batch, request)


def _made_up(canvas: InputSpec) -> np.ndarray:
    """Noise in blocks: something for every part of a detector to do. uint8 [1, 3, H, W]."""
    size = (1, 3, -(-canvas.height // _BLOCK), -(-canvas.width // _BLOCK))
    blocks = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    pixels = blocks.repeat(_BLOCK, axis=2).repeat(_BLOCK, axis=3)
    return np.ascontiguousarray(pixels[:, :, : canvas.height, : canvas.width])


def _open(bundle: Bundle, execution: Execution) -> list[Backend]:
    return [open_backend(bundle, execution) for _ in range(execution.sessions or 1)]


def _measure(backends: list[Backend], canvases: np.ndarray, batch: int, request: Request) -> dict[str, Any]:
    """One batch size, all sessions busy."""
    if batch > _FEW and (why := _too_much(backends, canvases, batch)):
        return {"batch": batch, "error": why}
    stacks = _stacks(canvases, batch)
    start, busy = threading.Barrier(len(backends) + 1), set(range(len(backends)))
    sessions = [
        _Session(lambda call, run=backend: run.detect(stacks[call % len(stacks)]), request, start, busy, own)  # type: ignore[misc]
        for own, backend in enumerate(backends)
    ]
    for session in sessions:
        session.start()
    faults = _page_faults_from(start)
    for session in sessions:
        session.join()
    errors = [one.error for one in sessions if one.error and not isinstance(one.error, threading.BrokenBarrierError)]
    if errors:
        return {"batch": batch, "error": f"{type(errors[0]).__name__}: {errors[0]}"}
    pictures = batch * sum(session.calls for session in sessions)
    return {
        "batch": batch,
        "latencies_ms": [1000 * took for session in sessions for took in session.times],
        "images_per_s": sum(batch * len(session.times) / sum(session.times) for session in sessions),
        "page_faults_per_image": None if faults is None else (_page_faults() - faults) / pictures,
        "peak_rss_mib": _peak_rss_mib(),
    }


def _too_much(backends: list[Backend], canvases: np.ndarray, batch: int) -> str | None:
    """Why calls of so many pictures cannot be measured, as one picture tells; None if they can."""
    needed, free = _TIMES_PIXELS * len(backends) * batch * canvases[0].nbytes, free_memory()
    if free is not None and needed > free:
        return f"The pixels alone take {needed >> 20} MiB, and {free >> 20} MiB are free; lower --batch."
    for _ in range(2):  # the first call prepares
        started = time.perf_counter()
        backends[0].detect(np.ascontiguousarray(canvases[:1]))
    seconds = batch * (time.perf_counter() - started)
    return f"One call would take about {seconds:.0f} s; lower --batch." if seconds > _LONGEST_SECONDS else None


def _stacks(canvases: np.ndarray, batch: int) -> list[np.ndarray]:
    """Batches of uint8 [batch, 3, H, W] in which each picture occurs; short of pictures, some occur twice."""
    count = -(-len(canvases) // batch)
    return [canvases[np.arange(one * batch, (one + 1) * batch) % len(canvases)] for one in range(count)]


def _page_faults_from(start: threading.Barrier) -> int | None:
    """This process's, once all sessions are warm."""
    try:
        start.wait()
    except threading.BrokenBarrierError:  # a session failed, and says why
        return None
    return _page_faults()


def _page_faults() -> int:
    """Minor ones so far; 0 where the system does not count them."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _peak_rss_mib() -> float | None:
    try:
        # not getrusage: it counts what the caller held when this process was started
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(peak[1]) / 1024 if peak else None


if __name__ == "__main__":
    main()

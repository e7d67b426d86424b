"""How fast an archive runs on this machine, in each way that it can run."""

from __future__ import annotations

import datetime
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.host.machine import Machine, describe_machine
from boxwright.inputs.stores import local_place
from boxwright.inputs.zipped import is_zip, unzipped
from boxwright.runtime import ConfigError, Execution, InputSpec, PictureError, open_bundle, preprocess
from boxwright.runtime.backends import candidates, usable_executions
from boxwright.runtime.picture import LARGEST_PIXELS, SUFFIXES

from .asking import ask
from .store import MAX_SESSIONS, Stored, best_run, write_entry

__all__ = ["MOST_PICTURES", "Bench", "Pictures", "bench", "made_up_pictures", "read_pictures", "splits"]

_START_SECONDS = 3.0  # of a process, about
_TIMEOUT_SECONDS = 1800  # torch.compile alone takes minutes

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


@dataclass(frozen=True)
class Bench:
    """What was measured.

    Attributes:
        machine: this one.
        pictures: what it was measured on.
        runs: a document for each execution and batch size, most pictures per second first.
        failed: a document for each that could not be measured, with ``reason``.
        stored: where the runs were kept for ``serve``.
        best: the one that ``serve`` will use; None if nothing could be measured.
        seconds: measured for each execution and batch size, at least.
        rounds: in which it was done.
    """

    machine: Machine
    pictures: Pictures
    runs: tuple[Mapping[str, Any], ...]
    failed: tuple[Mapping[str, Any], ...]
    stored: Stored
    best: Mapping[str, Any] | None
    seconds: float
    rounds: int

    def to_document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "machine": self.machine.to_document(),
            "pictures": self.pictures.to_document(),
            "seconds": self.seconds,
            "rounds": self.rounds,
            "runs": list(self.runs),
            "failed": list(self.failed),
        }


def bench(
    archive: str | Path,
    data: str | Path | None = None,
    *,
    backend: str = "auto",
    precision: str = "auto",
    batches: Sequence[int] = (1, 4),
    seconds: float = 5.0,
    rounds: int = 3,
    device: str = "cpu",
    advance: Callable[[int, int], object] | None = None,
    begin: Callable[[int, float], object] | None = None,
) -> Bench:
    """Measure an archive in every way that it can run here, and keep the figures for ``serve``.

    Each execution runs in a process of its own, started anew each round, in which all its sessions are kept
    busy; the rounds of all executions alternate, so that whatever else the machine does hits all alike.

    Args:
        archive: a ``.mar``, or a run folder, whose figures are not kept; or a URL of either.
        data: folder or ``.zip`` of pictures, or its URL; made-up ones by default.
        backend: one of ``BACKENDS``; ``auto`` takes all that were proved and are installed.
        precision: one of ``PRECISIONS``, or ``auto``, with the same meaning.
        batches: pictures per call.
        seconds: measured for each execution and batch size, over all rounds.
        rounds: how many times each is measured.
        device: a torch device.
        advance: called with (processes done, processes in all).
        begin: called once, with (processes in all, seconds that it will take, roughly).

    Raises:
        ArchiveError: the archive cannot be used.
        ConfigError: no usable pictures, an unknown backend or precision, an
            impossible number.
        MissingDependency: nothing here can run the model.
    """
    archive = local_place(archive)
    _require_sensible(archive, batches, seconds, rounds)
    bundle, machine = open_bundle(archive), describe_machine(device)
    asked = Execution(backend, precision, device)
    executions = [
        replace(one, threads=threads, sessions=sessions)
        for one in candidates(bundle, asked)
        for threads, sessions in splits(machine.cores)
    ]
    canvas = bundle.spec.input
    pictures = made_up_pictures(canvas) if data is None else read_pictures(_folder(data), canvas)
    sizes = tuple(sorted(set(batches)))
    if begin:
        begin(rounds * len(executions), len(executions) * (seconds * len(sizes) + rounds * _START_SECONDS))
    with tempfile.TemporaryDirectory(prefix="boxwright-bench-") as folder:
        canvases = Path(folder) / "canvases.npy"
        np.save(canvases, pictures.canvases)
        common = {"archive": str(archive), "canvases": str(canvases), "seconds": seconds / rounds}

        def measured(execution: Execution) -> list[dict[str, Any]]:
            return ask(execution, common, sizes, _TIMEOUT_SECONDS)

        answers = _measure(executions, measured, rounds, advance)
    runs, failed = _summary(answers)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    kept = runs and archive.is_file()  # a run may change
    stored = write_entry(archive, bundle, machine, runs, now, failed) if kept else Stored()
    best = best_run(stored.runs, usable_executions(bundle, device))
    return Bench(machine, pictures, tuple(runs), tuple(failed), stored, best, seconds, rounds)


def _require_sensible(archive: Path, batches: Sequence[int], seconds: float, rounds: int) -> None:
    if not batches or min(batches) < 1:
        raise ConfigError(f"Batches {list(batches)} do not fit.", "Give numbers of pictures, from 1 on.")
    if not 0 < seconds < float("inf") or rounds < 1:
        raise ConfigError(f"{seconds} seconds in {rounds} rounds do not fit.", "Give positive numbers.")


Answers = dict[tuple[Execution, int], list[dict[str, Any]]]
"""What the processes answered, by execution and batch size, one document per round."""


def _measure(
    executions: Sequence[Execution],
    measured: Callable[[Execution], list[dict[str, Any]]],
    rounds: int,
    advance: Callable[[int, int], object] | None,
) -> Answers:
    answers: Answers = {}
    failed: set[Execution] = set()
    for done, execution in enumerate(_alternating(executions, rounds), start=1):
        for answer in [] if execution in failed else measured(execution):
            answers.setdefault((execution, answer["batch"]), []).append(answer)
            if "error" in answer:
                failed.add(execution)
        if advance:
            advance(done, rounds * len(executions))
    return answers


def _alternating(executions: Sequence[Execution], rounds: int) -> Iterator[Execution]:
    """Forward and back in turn, so that a machine that slows down favours nobody."""
    for one in range(rounds):
        yield from executions if one % 2 == 0 else reversed(executions)


def splits(cores: int) -> tuple[tuple[int, int], ...]:
    """(threads, sessions) to try: the cores shared by 1, 2, 4 … sessions, by as many as there are, and one core alone.

    Args:
        cores: processors there are.
    """
    sessions = [*(2**power for power in range(cores.bit_length())), cores]
    shared = [(cores // one, one) for one in sorted(set(sessions)) if one <= MAX_SESSIONS]
    return tuple(dict.fromkeys([*shared, (1, 1)]))


def _summary(answers: Answers) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What was measured, most pictures per second first, and what failed."""
    runs, failed = [], []
    for (execution, batch), rounds in answers.items():
        named = {**asdict(execution), "batch": batch}
        del named["device"]
        error = next((one["error"] for one in rounds if "error" in one), None)
        if error is None:
            runs.append({**named, **_figures(rounds)})
        else:
            failed.append({**named, "reason": error})
    runs.sort(key=lambda run: -run["images_per_s"])
    return runs, failed


def _figures(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rounds of one execution and batch size in one; medians, so that one disturbed round does not count."""
    latencies = [took for one in rounds for took in one["latencies_ms"]]
    speeds = [one["images_per_s"] for one in rounds]
    return {
        "latency_ms_p50": round(float(np.percentile(latencies, 50)), 3),
        "latency_ms_p99": round(float(np.percentile(latencies, 99)), 3),
        "images_per_s": round(statistics.median(speeds), 3),
        "images_per_s_low": round(min(speeds), 3),
        "images_per_s_high": round(max(speeds), 3),
        "page_faults_per_image": _median(rounds, "page_faults_per_image"),
        "peak_rss_mib": _median(rounds, "peak_rss_mib"),
        "calls": len(latencies),
    }


def _median(rounds: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [one[key] for one in rounds if one[key] is not None]
    return round(statistics.median(values), 2) if values else None


def _folder(data: str | Path) -> Path:
    place = local_place(data)
    return unzipped(place) if is_zip(place) else place


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
            canvas, _ = preprocess(path, spec, LARGEST_PIXELS)
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

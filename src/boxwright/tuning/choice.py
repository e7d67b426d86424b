"""Which way to run a model on this machine: as ``boxwright bench`` measured it, or by a short warm-up."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.host.machine import cores, describe_machine
from boxwright.host.memory import return_freed_memory
from boxwright.runtime import Backend, Bundle, Execution, open_backend
from boxwright.runtime.backends import candidates, usable_executions

from .store import best_run, execution_of, read_entry

__all__ = ["Choice", "choose_execution", "stored_execution"]

_ROUNDS = 3
_SECONDS = 0.1  # a slow network is timed once: the start of a server waits for these runs


@dataclass(frozen=True)
class Choice:
    """How a model is going to run.

    Attributes:
        execution: settled.
        reason: why this one, a clause for a person.
        notes: a sentence for each stored measurement that could not be used.
        backend: ready to run, where measuring has opened it; None otherwise.
    """

    execution: Execution
    reason: str
    notes: tuple[str, ...] = ()
    backend: Backend | None = None


def choose_execution(archive: Path, bundle: Bundle, asked: Execution) -> Choice:
    """Settle what was asked for: by what ``boxwright bench`` stored beside the archive, else by a warm-up.

    Args:
        archive: path of the archive; its measurements lie beside it.
        bundle: the archive, opened.
        asked: what is settled already.

    Raises:
        ConfigError: see ``backends.candidates``.
        MissingDependency: see ``backends.candidates``.
        ArchiveError: see ``Backend.open``.
    """
    best, notes = _stored_best(archive, bundle, asked)
    if best is not None:
        of = "" if asked == Execution(device=asked.device) else ", the best of what was asked for"
        reason = f"stored by boxwright bench{of}, {best['images_per_s']:.1f} pictures/s"
        return Choice(execution_of(best, asked.device), reason, notes)
    sessions = asked.sessions or 1
    shared = replace(asked, sessions=sessions, threads=asked.threads or _fair_share(sessions))
    return replace(_chosen(bundle, candidates(bundle, shared), asked), notes=notes)


def stored_execution(archive: Path, bundle: Bundle, asked: Execution) -> Execution | None:
    """The best execution that ``boxwright bench`` stored of what was asked for, without a warm-up.

    Args:
        archive: path of the archive; its measurements lie beside it.
        bundle: the archive, opened.
        asked: what is settled already. Ask for ``sessions=1`` where one picture runs at a time.

    Returns:
        None where nothing that fits was stored for this machine, or nothing was left open.
    """
    best, _ = _stored_best(archive, bundle, asked)
    return None if best is None else execution_of(best, asked.device)


def _stored_best(archive: Path, bundle: Bundle, asked: Execution) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    """The best stored run that fits and was proved, if anything was left open; and notes on unusable files."""
    stored = read_entry(archive, bundle, describe_machine(asked.device))
    if asked.settled and None not in (asked.threads, asked.sessions):
        return None, stored.notes
    fitting = [run for run in stored.runs if asked.admits(execution_of(run, asked.device))]
    return best_run(fitting, usable_executions(bundle, asked.device)), stored.notes


def _fair_share(sessions: int) -> int | None:
    """Threads per session; None, the backend's own choice, where one session may use the whole machine.

    Backends know nothing of a container's quota and would start a thread for each of the host's processors.
    """
    allowed = cores()
    if sessions == 1 and allowed == os.cpu_count():
        return None
    return max(1, allowed // sessions)


def _chosen(bundle: Bundle, executions: Sequence[Execution], asked: Execution) -> Choice:
    if len(executions) == 1:
        reason = "the only one that is proved and can run here" if asked.backend == "auto" else "as asked for"
        return Choice(executions[0], reason)
    return _fastest(bundle, executions)


def _fastest(bundle: Bundle, executions: Sequence[Execution]) -> Choice:
    canvas = _warm_up_canvas(bundle)
    best: tuple[float, Execution, Backend] | None = None
    milliseconds: dict[str, float] = {}
    for execution in executions:
        backend = open_backend(bundle, execution)
        return_freed_memory()
        took = milliseconds[execution.variant] = _time(backend, canvas)
        if best is None or took < best[0]:
            best = (took, execution, backend)
    assert best is not None, "there was something to choose from"
    ranked = sorted(milliseconds.items(), key=lambda one: one[1])
    measured = ", ".join(f"{variant} {took:.1f} ms" for variant, took in ranked)
    return Choice(best[1], f"fastest at warm-up ({measured} per picture)", backend=best[2])


def _warm_up_canvas(bundle: Bundle) -> np.ndarray:
    """Noise in blocks of 16 pixels: something for every part of a detector to do. uint8 [1, 3, H, W]."""
    canvas = bundle.spec.input
    size = (1, 3, -(-canvas.height // 16), -(-canvas.width // 16))
    blocks = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    pixels = blocks.repeat(16, axis=2).repeat(16, axis=3)
    return np.ascontiguousarray(pixels[:, :, : canvas.height, : canvas.width])


def _time(backend: Backend, canvas: np.ndarray) -> float:
    """Least milliseconds of a few runs, after one that does not count; of a slow network fewer."""
    backend.detect(canvas)
    times: list[float] = []
    while len(times) < _ROUNDS and sum(times) < 1000 * _SECONDS:
        started = time.perf_counter()
        backend.detect(canvas)
        times.append(1000 * (time.perf_counter() - started))
    return min(times)

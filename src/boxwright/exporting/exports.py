"""A run's exports: written, proved on validation pictures, and noted in its specification."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.data import read_split
from boxwright.host.machine import cores
from boxwright.host.processes import WorkerContext, ready_worker
from boxwright.parity.proof import Proof, prove
from boxwright.parity.reference import Reference
from boxwright.runtime import (
    BACKENDS,
    PRECISIONS,
    Bundle,
    ConfigError,
    Execution,
    PicturePredictor,
    open_bundle,
    prepare,
)
from boxwright.runtime.backends.graph import ONNX, ONNX_INT8
from boxwright.runtime.picture import LARGEST_PIXELS

__all__ = ["CALIBRATION_PICTURES", "Exports", "Progress", "executions_of", "graph_files", "make_exports"]

CALIBRATION_PICTURES = 64
"""Of the training split, spread over it, that the ranges of INT8 are taken from."""

_MOST_CANVASES = 128  # of windows of these pictures

Progress = Callable[[str, int, int], object]
"""Called with what is being done, how much is done, and how much there is."""


@dataclass(frozen=True)
class Exports:
    """What was made of a run.

    Attributes:
        bundle: the run with its exports among its members and their proofs in its specification.
        members: the files, by name in the archive.
        proofs: one per execution.
    """

    bundle: Bundle
    members: Mapping[str, bytes]
    proofs: tuple[Proof, ...]

    @property
    def fastest(self) -> Execution:
        """The execution that took least time on the validation pictures; its threads are open."""
        return Execution.of_variant(min(self.proofs, key=lambda one: one.milliseconds).execution.variant)


def executions_of(precisions: Sequence[str]) -> tuple[Execution, ...]:
    """Every installed backend in these precisions.

    Raises:
        ConfigError: an unknown precision, or one that nothing here runs.
    """
    executions: list[Execution] = []
    for precision in precisions:
        if precision not in PRECISIONS:
            raise ConfigError(f"Precision {precision!r} is unknown.", f"Use {', '.join(PRECISIONS)}.")
        able = [one for one in BACKENDS.values() if precision in one.proved]
        installed = [one for one in able if find_spec(one.package) is not None]
        if not installed:
            names = " or ".join(one.package for one in able)
            raise ConfigError(f"Precision {precision!r}: nothing that runs it is installed.", f"pip install {names}.")
        executions += [Execution(one.name, precision) for one in installed]
    return tuple(dict.fromkeys(executions))


def make_exports(
    reference: Reference,
    executions: Sequence[Execution],
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> Exports:
    """Export a run and prove every execution against what the trained model found on validation.

    Args:
        reference: the run.
        executions: what is to be proved; the files they need are written.
        tolerance: see ``prove``.
        progress: for long work.

    Raises:
        DataError: the training pictures, which INT8 is calibrated on, are not there.
        OutOfTolerance: an execution gives other figures than the trained model.
    """
    bundle, members = reference.bundle, {one: BACKENDS[one.backend].member(one.precision) for one in executions}
    # as many run at the same time as there are processors, and share these: one that has them all would wait longer
    threads = max(1, cores() // len(executions))
    advance = None if progress is None else (lambda done, total: progress("prove", done, total))
    if progress:
        progress("export", 0, 1)
    with _torch_threads_kept(), graph_files(reference, members.values()) as files:

        def opened(execution: Execution) -> PicturePredictor:
            added = {member: file.result() for member, file in files.items() if member == members[execution]}
            return PicturePredictor(bundle.with_members(added), replace(execution, threads=threads))

        proofs = prove(reference, [partial(opened, one) for one in executions], tolerance, advance)
        bundle = bundle.with_members({member: file.result() for member, file in files.items()})
    for proof in proofs:
        proof.require()
    documents = {proof.execution.variant: proof.to_document() for proof in proofs}
    return Exports(
        bundle=replace(bundle, spec=replace(bundle.spec, exports=documents)),
        members={member: bundle.fetch(member) for member in files},
        proofs=proofs,
    )


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Give PyTorch's number of threads, which the whole process has in common, back to the caller as it was."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    try:
        yield
    finally:
        if torch:
            torch.set_num_threads(threads)


@contextmanager
def graph_files(reference: Reference, wanted: Iterable[str]) -> Iterator[dict[str, Future[bytes]]]:
    """The ONNX files of a run while they are written; the quantised one comes with the one it was made from.

    A process of its own writes them: PyTorch's exporter alters what a whole process has in common, and keeps one
    processor busy while the caller can run what needs no file.

    Args:
        reference: the run.
        wanted: members, ``model.onnx`` and ``model.int8.onnx``; of others, nothing is written.

    Yields:
        The files' content by member name.
    """
    needed = {ONNX, ONNX_INT8}.intersection(wanted)
    files: dict[str, Future[bytes]] = {}
    # the thread waits for the process to start, which takes seconds
    with ProcessPoolExecutor(1, WorkerContext(), initializer=ready_worker) as process, ThreadPoolExecutor(1) as thread:

        def written(write: Callable[..., bytes], *arguments: Any) -> Future[bytes]:
            return thread.submit(lambda: process.submit(write, reference.run, *arguments).result())

        if needed:
            files[ONNX] = written(_exported)
        if ONNX_INT8 in needed:
            pictures = read_split(reference.data, "train", reference.spec.classes).pictures
            chosen = np.unique(np.linspace(0, len(pictures) - 1, CALIBRATION_PICTURES).round().astype(int))
            files[ONNX_INT8] = written(_quantized, [pictures[index].path for index in chosen])
        yield files


@cache  # in the process that writes, until its end
def _exported(run: Path) -> bytes:
    from boxwright.runtime.backends.torch import load_network

    from .onnx import export_onnx

    bundle = open_bundle(run)
    return export_onnx(load_network(bundle), bundle.spec)


def _quantized(run: Path, pictures: Sequence[Path]) -> bytes:
    from .quantize import quantize

    space = open_bundle(run).spec.input
    seen = (canvas[None] for picture in pictures for canvas in prepare(picture, space, LARGEST_PIXELS).canvases)
    return quantize(_exported(run), list(itertools.islice(seen, _MOST_CANVASES)))

"""A run's exports: written, proved on validation pictures, and noted in its specification."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from boxwright.data import read_split
from boxwright.host.machine import cores
from boxwright.parity.proof import Proof, prove
from boxwright.parity.reference import Reference
from boxwright.runtime import (
    BACKENDS,
    PRECISIONS,
    Bundle,
    ConfigError,
    Execution,
    ModelSpec,
    PicturePredictor,
    preprocess,
)
from boxwright.runtime.backends.graph import ONNX, ONNX_INT8
from boxwright.runtime.bundle import WEIGHTS

__all__ = ["CALIBRATION_PICTURES", "Exports", "Progress", "executions_of", "graphs", "make_exports"]

CALIBRATION_PICTURES = 64
"""Of the training split, spread over it, that the ranges of INT8 are taken from."""

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
        ConfigError: an unknown precision.
    """
    executions: list[Execution] = []
    for precision in precisions:
        if precision not in PRECISIONS:
            raise ConfigError(f"Precision {precision!r} is unknown.", f"Use {', '.join(PRECISIONS)}.")
        proved = (one for one in BACKENDS.values() if precision in one.proved and find_spec(one.package) is not None)
        executions += [Execution(one.name, precision) for one in proved]
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
    wanted = {BACKENDS[one.backend].member(one.precision) for one in executions} - {WEIGHTS}
    members = graphs(reference.bundle, wanted, reference.data, progress)
    bundle = reference.bundle.with_members(members)
    # as many run at the same time as there are processors, and share these: one that has them all would wait longer
    threads = max(1, cores() // len(executions))
    with _torch_threads_kept():
        predictors = [PicturePredictor(bundle, replace(one, threads=threads)) for one in executions]
        advance = None if progress is None else (lambda done, total: progress("prove", done, total))
        proofs = prove(reference, predictors, tolerance, advance)
    for proof in proofs:
        proof.require()
    documents = {proof.execution.variant: proof.to_document() for proof in proofs}
    return Exports(replace(bundle, spec=replace(bundle.spec, exports=documents)), members, proofs)


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


def graphs(bundle: Bundle, wanted: set[str], data: Path, progress: Progress | None) -> dict[str, bytes]:
    """A model's ONNX files by member name; the quantised one comes with the one it was made from.

    Args:
        bundle: the model.
        wanted: members, ``model.onnx`` and ``model.int8.onnx``; without any, nothing is done.
        data: folder with the training split, for calibration.
        progress: for long work.
    """
    if not wanted:
        return {}
    from boxwright.runtime.backends.torch import load_network

    from .onnx import export_onnx

    if progress:
        progress("export", 0, 1)
    with ThreadPoolExecutor(1) as pool:  # exporting leaves all processors but one idle
        canvases = pool.submit(_calibration, bundle.spec, data) if ONNX_INT8 in wanted else None
        files = {ONNX: export_onnx(load_network(bundle), bundle.spec)}
    if canvases:
        from .quantize import quantize

        if progress:
            progress("calibrate", 0, 1)
        files[ONNX_INT8] = quantize(files[ONNX], canvases.result())
    return files


def _calibration(spec: ModelSpec, data: Path) -> list[np.ndarray]:
    """Canvases uint8 [1, 3, H, W] of training pictures, evenly spread over the split."""
    pictures = read_split(data, "train", spec.classes).pictures
    chosen = np.unique(np.linspace(0, len(pictures) - 1, CALIBRATION_PICTURES).round().astype(int))
    return [preprocess(pictures[index].path, spec.input)[0][None] for index in chosen]

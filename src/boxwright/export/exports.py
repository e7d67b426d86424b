"""A run's exports: written, proved on validation pictures, and noted in its specification."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from boxwright.data import read_split
from boxwright.evaluation.compare import read_run
from boxwright.evaluation.pictures import find_data
from boxwright.evaluation.results import SplitResults
from boxwright.parity.proof import Proof, prove
from boxwright.runtime import BACKENDS, Bundle, ConfigError, Execution, ModelSpec, open_backend, open_bundle, preprocess
from boxwright.runtime.backends.graph import ONNX, ONNX_INT8
from boxwright.runtime.bundle import WEIGHTS

__all__ = ["CALIBRATION_PICTURES", "Exports", "Progress", "graphs", "make_exports", "variants_of"]

CALIBRATION_PICTURES = 64
"""Of the training split, spread over it, that the ranges of INT8 are taken from."""

Progress = Callable[[str, int, int], object]
"""Called with what is being done, how much is done, and how much there is."""

_RUNTIMES = {"fp32": ("onnxruntime", "openvino"), "bf16": ("openvino", "torch"), "int8": ("onnxruntime", "openvino")}


@dataclass(frozen=True)
class Exports:
    """What was made of a run.

    Attributes:
        bundle: the run with its exports among its members and their proofs in its specification.
        members: the files, by name in the archive.
        proofs: one a variant.
    """

    bundle: Bundle
    members: Mapping[str, bytes]
    proofs: tuple[Proof, ...]

    @property
    def spec(self) -> ModelSpec:
        """The run's specification with the proofs."""
        return self.bundle.spec


def variants_of(precisions: Sequence[str]) -> tuple[Execution, ...]:
    """Every installed runtime in these precisions.

    Raises:
        ConfigError: a precision there is not.
    """
    variants: list[Execution] = []
    for precision in precisions:
        if precision not in _RUNTIMES:
            raise ConfigError(f"Precision {precision!r} is unknown.", f"Use {', '.join(_RUNTIMES)}.")
        variants += [Execution(name, precision) for name in _RUNTIMES[precision] if find_spec(name) is not None]
    return tuple(dict.fromkeys(variants))


def make_exports(
    run: Path,
    variants: Sequence[Execution],
    data: Path | None = None,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> Exports:
    """Export a run and prove every variant against what the trained model found on validation.

    Args:
        run: its folder.
        variants: what is to be proved; the files they need are written.
        data: folder with the pictures; where the run's settings say by default.
        tolerance: see ``prove``.
        progress: for long work.

    Raises:
        ArchiveError: not a finished run.
        DataError: the pictures are not there.
        OutOfTolerance: a variant gives other figures than the trained model.
    """
    trained, spec = read_run(run)
    folder = find_data(run, trained, data)
    bundle = open_bundle(run)
    members = graphs(
        bundle, {BACKENDS[one.backend].member(one.precision) for one in variants} - {WEIGHTS}, folder, progress
    )
    bundle = bundle.with_members(members)
    proofs = []
    for variant in variants:
        proof = _prove(bundle, variant, trained, folder / trained.split, tolerance, progress)
        proof.require()
        proofs.append(proof)
    documents = {proof.execution.variant: proof.to_document() for proof in proofs}
    return Exports(replace(bundle, spec=replace(spec, exports=documents)), members, tuple(proofs))


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
    files = {ONNX: export_onnx(load_network(bundle), bundle.spec)}
    if ONNX_INT8 in wanted:
        from .quantize import quantize

        files[ONNX_INT8] = quantize(files[ONNX], _calibration(bundle.spec, data, progress))
    return files


def _calibration(spec: ModelSpec, data: Path, progress: Progress | None) -> list[np.ndarray]:
    """Canvases uint8 [1, 3, H, W] of training pictures, evenly spread over the split."""
    pictures = read_split(data, "train", spec.classes).pictures
    chosen = np.unique(np.linspace(0, len(pictures) - 1, CALIBRATION_PICTURES).round().astype(int))
    canvases = []
    for number, index in enumerate(chosen, start=1):
        canvases.append(preprocess(pictures[index].path, spec.input)[0][None])
        if progress:
            progress("calibrate", number, len(chosen))
    return canvases


def _prove(
    bundle: Bundle,
    execution: Execution,
    trained: SplitResults,
    pictures: Path,
    tolerance: float | None,
    progress: Progress | None,
) -> Proof:
    advance = None if progress is None else (lambda done, total: progress(f"prove {execution.variant}", done, total))
    return prove(open_backend(bundle, execution), execution, bundle.spec, trained, pictures, tolerance, advance)

"""``boxwright export``: one file of a run, read back and proved before it is in place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from boxwright.evaluation.compare import read_run
from boxwright.evaluation.pictures import find_data
from boxwright.host.dependencies import require_train_extra
from boxwright.parity.proof import Proof, prove
from boxwright.runtime import Backend, Bundle, ConfigError, Execution, open_bundle
from boxwright.runtime.backends import require_installed
from boxwright.runtime.backends.graph import graph_member
from boxwright.runtime.backends.onnxruntime import OnnxRuntimeBackend
from boxwright.runtime.backends.openvino import OpenVinoBackend, load_core
from boxwright.runtime.backends.torch import TorchBackend
from boxwright.runtime.bundle import WEIGHTS

from .exports import Progress, graphs

__all__ = ["FORMATS", "export"]

FORMATS = ("state-dict", "onnx", "openvino")

_SUFFIXES = {"state-dict": (".pth", ".pt"), "onnx": (".onnx",), "openvino": (".xml",)}
_BACKENDS = {"state-dict": "torch", "onnx": "onnxruntime", "openvino": "openvino"}


def export(
    run: str | Path,
    to: str,
    out: str | Path,
    *,
    precision: str = "fp32",
    data: str | Path | None = None,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Write a run's network to a file, and prove what was written against the trained model.

    Args:
        run: its folder.
        to: one of ``FORMATS``.
        out: the file; OpenVINO puts the weights beside it, as ``.bin``. Nothing is there if the proof fails.
        precision: ``fp32``, or ``int8`` for the graphs.
        data: see ``make_exports``.
        tolerance: see ``prove``.
        progress: for long work.

    Returns:
        The proof, within its tolerance.

    Raises:
        ConfigError: an unknown format, a precision that it has not, a file name with another suffix.
        MissingDependency: the format's runtime is not installed.
        ArchiveError: not a finished run.
        DataError: the pictures are not there.
        OutOfTolerance: what was written gives other figures than the trained model.
    """
    require_train_extra()
    run, out = Path(run), Path(out)
    _require_sense(to, out, precision)
    trained, spec = read_run(run)
    folder = find_data(run, trained, None if data is None else Path(data))
    execution = Execution(_BACKENDS[to], precision)
    require_installed(execution.backend)
    bundle = open_bundle(run)
    with tempfile.TemporaryDirectory() as place:
        files = _write(bundle, execution, folder, Path(place) / out.name, progress)
        advance = None if progress is None else (lambda done, total: progress(f"prove {to}", done, total))
        backend = _read(bundle, execution, files)
        proof = prove(backend, execution, spec, trained, folder / trained.split, tolerance, advance)
        proof.require()
        out.parent.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, out.parent / file.name)
    return proof


def _require_sense(to: str, out: Path, precision: str) -> None:
    if to not in FORMATS:
        raise ConfigError(f"Format {to!r} is unknown.", f"Use {', '.join(FORMATS)}.")
    allowed = ("fp32",) if to == "state-dict" else ("fp32", "int8")
    if precision not in allowed:
        raise ConfigError(
            f"A file of {to} is not written in {precision!r}.",
            f"Use {' or '.join(allowed)}; bf16 is a way to run a file, see 'boxwright archive --precision bf16'.",
        )
    if out.suffix not in _SUFFIXES[to] or out.is_dir():
        raise ConfigError(f"--out {out} does not fit {to}:", f"give a file name in {' or '.join(_SUFFIXES[to])}.")


def _write(bundle: Bundle, execution: Execution, data: Path, out: Path, progress: Progress | None) -> list[Path]:
    """Write the files of a format, the named one first."""
    if execution.backend == "torch":
        out.write_bytes(bundle.weights)
        return [out]
    member = graph_member(execution.precision)
    graph = graphs(bundle, {member}, data, progress)[member]
    if execution.backend == "onnxruntime":
        out.write_bytes(graph)
        return [out]
    import openvino

    openvino.save_model(load_core().read_model(graph), out, compress_to_fp16=False)
    return [out, out.with_suffix(".bin")]


def _read(bundle: Bundle, execution: Execution, files: Sequence[Path]) -> Backend:
    """Run what was written, not what it was written from."""
    contents = [file.read_bytes() for file in files]
    if execution.backend == "torch":
        return TorchBackend(bundle.with_members({WEIGHTS: contents[0]}), execution)
    if execution.backend == "onnxruntime":
        return OnnxRuntimeBackend(contents[0], str(files[0]), execution)
    return OpenVinoBackend(contents[0], str(files[0]), execution, weights=contents[1])

"""``boxwright export``: one file of a run, read back and proved before it is in place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from boxwright.evaluation.compare import read_run
from boxwright.runtime import Backend, Bundle, ConfigError, Variant, open_bundle
from boxwright.runtime.backends import ONNX, ONNX_INT8, require_installed
from boxwright.runtime.bundle import WEIGHTS
from boxwright.runtime.onnx_backend import OnnxBackend
from boxwright.runtime.openvino_backend import OpenVinoBackend
from boxwright.runtime.torch_backend import TorchBackend

from .exports import Progress, data_folder, graphs
from .proof import Proof, prove

__all__ = ["FORMATS", "export"]

FORMATS = ("state-dict", "onnx", "openvino")

_SUFFIXES = {"state-dict": (".pth", ".pt"), "onnx": (".onnx",), "openvino": (".xml",)}
_BACKENDS = {"state-dict": "torch", "onnx": "onnxruntime", "openvino": "openvino"}


def export(
    run: Path,
    to: str,
    out: Path,
    precision: str = "fp32",
    data: Path | None = None,
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
        ArchiveError: not a finished run.
        DataError: the pictures are not there.
        OutOfTolerance: what was written gives other figures than the trained model.
    """
    _require_sense(to, out, precision)
    trained, spec = read_run(run)
    folder = data_folder(run, data)
    variant = Variant(_BACKENDS[to], precision)
    with tempfile.TemporaryDirectory() as place:
        files, backend = _WRITERS[to](open_bundle(run), variant, folder, Path(place) / out.name, progress)
        advance = None if progress is None else (lambda done, total: progress(f"prove {to}", done, total))
        proof = prove(backend, variant, spec, trained, folder / trained.split, tolerance, advance)
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


def _state_dict(
    bundle: Bundle, variant: Variant, data: Path, out: Path, progress: Progress | None
) -> tuple[Sequence[Path], Backend]:
    out.write_bytes(bundle.weights)
    return [out], TorchBackend(bundle.with_members({WEIGHTS: out.read_bytes()}))


def _onnx(
    bundle: Bundle, variant: Variant, data: Path, out: Path, progress: Progress | None
) -> tuple[Sequence[Path], Backend]:
    out.write_bytes(_graph(bundle, variant, data, progress))
    return [out], OnnxBackend(out.read_bytes(), str(out))


def _openvino(
    bundle: Bundle, variant: Variant, data: Path, out: Path, progress: Progress | None
) -> tuple[Sequence[Path], Backend]:
    require_installed("openvino")
    import openvino

    model = openvino.Core().read_model(_graph(bundle, variant, data, progress))
    openvino.save_model(model, out, compress_to_fp16=False)
    weights = out.with_suffix(".bin")
    return [out, weights], OpenVinoBackend(out.read_bytes(), str(out), weights=weights.read_bytes())


def _graph(bundle: Bundle, variant: Variant, data: Path, progress: Progress | None) -> bytes:
    member = ONNX_INT8 if variant.precision == "int8" else ONNX
    return graphs(bundle, {member}, data, progress)[member]


_Writer = Callable[[Bundle, Variant, Path, Path, Progress | None], tuple[Sequence[Path], Backend]]
_WRITERS: dict[str, _Writer] = {"state-dict": _state_dict, "onnx": _onnx, "openvino": _openvino}

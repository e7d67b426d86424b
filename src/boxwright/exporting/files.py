"""``boxwright export``: one file of a run, read back and proved before it is in place."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from boxwright.host.dependencies import require_train_extra
from boxwright.host.files import replacing
from boxwright.host.places import name_of, place_of
from boxwright.inputs.stores import local_place
from boxwright.parity.proof import Proof, prove
from boxwright.parity.reference import Reference
from boxwright.runtime import BACKENDS, ConfigError, Execution, PicturePredictor
from boxwright.runtime.backends import require_installed
from boxwright.runtime.backends.openvino import OpenVinoBackend, load_core

from .exports import Progress, graph_files

__all__ = ["default_file", "export"]

_FORMATS = {
    "state-dict": ("torch", (".pth", ".pt"), ("fp32",)),
    "onnx": ("onnxruntime", (".onnx",), ("fp32", "int8")),
    "openvino": ("openvino", (".xml",), ("fp32", "int8")),
}
"""Backend, suffixes and precisions of each."""


def default_file(run: str | Path, to: str, precision: str = "fp32") -> Path:
    """Where an export goes if nobody says it: ``exports/NAME.onnx``, or ``exports/NAME-int8.onnx``.

    Raises:
        ConfigError: an unknown format.
    """
    _, suffixes, _ = _format(to)
    return Path("exports", name_of(place_of(run)) + f"-{precision}" * (precision != "fp32") + suffixes[0])


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
        run: its folder, or a URL of it.
        to: ``state-dict``, ``onnx`` or ``openvino``.
        out: the file; OpenVINO puts the weights beside it, as ``.bin``. Nothing is written if the proof fails.
        precision: ``fp32``, or ``int8`` for the graphs.
        data: folder with the pictures; where the run's settings say by default.
        tolerance: largest accepted difference of mAP and F2; by precision by default.
        progress: for long work.

    Returns:
        The proof, within its tolerance.

    Raises:
        ConfigError: an unknown format, a precision that it does not have, a file name with another suffix.
        MissingDependency: the format's runtime, or ``boxwright[train]``, is not installed.
        ArchiveError: not a finished run.
        DataError: the pictures are not there.
        OutOfTolerance: what was written gives other figures than the trained model.
    """
    require_train_extra()
    out = Path(out)
    execution = _execution(to, out, precision)
    reference = Reference.of(local_place(run), data)
    advance = None if progress is None else (lambda done, total: progress(f"prove {to}", done, total))
    with tempfile.TemporaryDirectory() as place:
        predictor = _written(reference, execution, Path(place) / out.name, progress)
        (proof,) = prove(reference, [lambda: predictor], tolerance, advance)
        proof.require()
        for written in Path(place).iterdir():
            with replacing(out.parent / written.name) as part:
                shutil.copyfile(written, part)
    return proof


def _format(to: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Backend, suffixes and precisions.

    Raises:
        ConfigError: an unknown format.
    """
    if to not in _FORMATS:
        raise ConfigError(f"Format {to!r} is unknown.", f"Use {', '.join(_FORMATS)}.")
    return _FORMATS[to]


def _execution(to: str, out: Path, precision: str) -> Execution:
    backend, suffixes, precisions = _format(to)
    if precision not in precisions:
        raise ConfigError(
            f"A file of {to} is not written in {precision!r}.",
            f"Use {' or '.join(precisions)}; bf16 is a way to run a file, see 'boxwright archive --precision bf16'.",
        )
    if out.suffix not in suffixes or out.is_dir():
        other = next((one for one, row in _FORMATS.items() if out.suffix in row[1]), None)
        instead = f" For a file of that kind: --to {other}" if other and not out.is_dir() else ""
        raise ConfigError(
            f"--out {out} does not fit {to}:", f"give a name that ends in {' or '.join(suffixes)}.{instead}"
        )
    require_installed(backend)
    return Execution(backend, precision)


def _written(reference: Reference, execution: Execution, out: Path, progress: Progress | None) -> PicturePredictor:
    """Write a file, and OpenVINO's weights beside it; run what was written, not what it was written from."""
    bundle, member = reference.bundle, BACKENDS[execution.backend].member(execution.precision)
    if progress:
        progress("export", 0, 1)
    with graph_files(reference, {member}) as files:
        content = files[member].result() if member in files else bundle.weights
    if execution.backend != "openvino":
        out.write_bytes(content)
        return PicturePredictor(bundle.with_members({member: out.read_bytes()}), execution)
    import openvino

    openvino.save_model(load_core().read_model(content), out, compress_to_fp16=False)
    weights = out.with_suffix(".bin").read_bytes()
    backend = OpenVinoBackend(out.read_bytes(), str(out), execution, weights=weights)
    return PicturePredictor(bundle, execution, backend=backend)

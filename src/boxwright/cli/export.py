"""``boxwright export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import boxwright
from boxwright.host.console import make_console, stages

from .options import MovedDataOption, Run, ToleranceOption, require_file_names, require_not_read
from .tables import proof_line

__all__ = ["export"]


def export(
    run: Run,
    to: Annotated[str, typer.Option(help="state-dict, onnx or openvino.")] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file: .pth, .onnx, or .xml with a .bin beside it; by default in exports/, with the run's name."
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, or int8 for onnx and openvino.")] = "fp32",
    data: MovedDataOption = None,
    tolerance: ToleranceOption = None,
) -> None:
    """Write a run's network to a file, proved equal to the trained model on validation pictures."""
    from boxwright.exporting.files import default_file

    console = make_console()
    out = out or default_file(run, to, precision)
    require_file_names(out=out)
    require_not_read([run], out=out)
    _require_weights_file(to, out)
    with stages(console) as advance:
        proof = boxwright.export(run, to, out, precision=precision, data=data, tolerance=tolerance, progress=advance)
    console.print(proof_line(proof.execution.variant, proof.to_document()))
    console.print(f"Export: {out}")
    if to == "onnx":
        console.print("Next: run it with onnxruntime alone, by the program of docs/export.md")


def _require_weights_file(to: str, out: Path) -> None:
    """Raise if OpenVINO's weights, which go beside the file, would replace what is no such file's.

    Raises:
        ConfigError: they would.
    """
    weights = out.with_suffix(".bin")
    if to == "openvino" and weights.exists() and not out.exists():
        raise boxwright.ConfigError(f"--out {out}: its weights would replace {weights}.", "Give another name.")

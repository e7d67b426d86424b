"""Every architecture's state dict, ONNX and OpenVINO against the eager network, on real pictures.

    python benchmarks/parity.py --data AQUARIUM [--pictures 50] RUN...

The reference is computed here, by the trained network as it stands in the run folder; each file is written, read
back and run. Detections from score .05 on count; equal means IoU above .99 and scores within .001.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import openvino

from boxwright.exporting.onnx import export_onnx
from boxwright.parity.agreement import agreement
from boxwright.runtime import Backend, Bundle, Detections, open_bundle, postprocess, preprocess
from boxwright.runtime.backends.onnxruntime import OnnxBackend
from boxwright.runtime.backends.openvino import OpenVinoBackend, load_core
from boxwright.runtime.backends.torch import TorchBackend, load_network
from boxwright.runtime.bundle import WEIGHTS

HEADS = ("architecture", "canvas", "file", "detections", "matched", "equal", "largest difference, px", "of score")


def main() -> None:
    """Print one line for each run and file."""
    options = _options()
    pictures = sorted((options.data / "valid").glob("*.jpg"))[: options.pictures]
    print(f"| {' | '.join(HEADS)} |\n| {' | '.join('---' for _ in HEADS)} |")
    for run in options.runs:
        bundle = open_bundle(run)
        eager = _detect(bundle, TorchBackend(bundle), pictures)
        with tempfile.TemporaryDirectory() as folder:
            for name, backend in _files(bundle, Path(folder)):
                found = agreement(eager, _detect(bundle, backend, pictures))
                canvas = f"{bundle.spec.input.height} x {bundle.spec.input.width}"
                print(
                    f"| {bundle.spec.architecture} | {canvas} | {name} | {found.detections} | {found.matched} "
                    f"| {found.equal} | {found.largest_box_difference:.2g} | {found.largest_score_difference:.1e} |",
                    flush=True,
                )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("runs", type=Path, nargs="+")
    return parser.parse_args()


def _files(bundle: Bundle, folder: Path) -> Iterator[tuple[str, Backend]]:
    (folder / WEIGHTS).write_bytes(bundle.weights)
    yield "state dict", TorchBackend(bundle.with_members({WEIGHTS: (folder / WEIGHTS).read_bytes()}))
    graph = export_onnx(load_network(bundle), bundle.spec)
    yield "ONNX", OnnxBackend(graph, "model.onnx")
    xml = folder / "model.xml"
    openvino.save_model(load_core().read_model(graph), xml, compress_to_fp16=False)
    weights = xml.with_suffix(".bin").read_bytes()
    yield "OpenVINO", OpenVinoBackend(xml.read_bytes(), "model.xml", weights=weights)


def _detect(bundle: Bundle, backend: Backend, pictures: list[Path]) -> list[Detections]:
    found = []
    for picture in pictures:
        canvas, placement = preprocess(picture, bundle.spec.input)
        found.append(postprocess(backend.detect(canvas[None])[0], placement))
    return found


if __name__ == "__main__":
    main()

"""From a cold start to the boxes of one picture, beside the least that it takes.

    python benchmarks/cold_start.py --mar MODEL.mar --picture PICTURE [--rounds 15]

Three commands in turn, each in a process of its own: ``boxwright predict``; onnxruntime's import; and its import, the
archive's graph and one picture through it. Wall seconds: median, and lowest to highest. The ratios are taken round by
round, so that a machine that slows down favours nobody.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

_IMPORT = "import onnxruntime"
_LEAST = """
import sys
import numpy
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
asked = session.get_inputs()[0]
height, width = asked.shape[2:]
picture = Image.open(sys.argv[2]).convert("RGB").resize((width, height))
canvas = numpy.asarray(picture).transpose(2, 0, 1)[None]
dtype = numpy.uint8 if "uint8" in asked.type else numpy.float32
session.run(None, {asked.name: numpy.ascontiguousarray(canvas, dtype)})
"""


def main() -> None:
    """Measure, then print medians, spreads and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mar", type=Path, required=True)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        with zipfile.ZipFile(options.mar) as archive:
            graph.write_bytes(archive.read("model.onnx"))
        commands = {
            "boxwright predict": ["-m", "boxwright", "predict", options.mar, options.picture],
            "import onnxruntime": ["-c", _IMPORT],
            "import, graph, one picture": ["-c", _LEAST, graph, options.picture],
        }
        for command in commands.values():
            _seconds(command)  # files in the page cache, bytecode written
        rounds = [{name: _seconds(command) for name, command in commands.items()} for _ in range(options.rounds)]
    print("| command | median, s | lowest to highest | predict takes so many times |")
    print("| --- | --- | --- | --- |")
    for name in commands:
        times = [one[name] for one in rounds]
        ratio = statistics.median(one["boxwright predict"] / one[name] for one in rounds)
        print(f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} to {max(times):.2f} | {ratio:.2f} |")


def _seconds(arguments: Sequence[object]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *map(str, arguments)], check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

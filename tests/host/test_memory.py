import subprocess
import sys

import numpy as np

from boxwright.host.memory import keep_freed_memory, return_freed_memory
from boxwright.runtime import Execution, open_bundle
from boxwright.runtime.backends.onnxruntime import OnnxRuntimeBackend

LEAST = 100_000  # kB that must come back of the 200 MB the program below frees

PROGRAM = """
import re
from pathlib import Path
from boxwright.host.memory import keep_freed_memory, return_freed_memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

assert keep_freed_memory()
taken = [bytes(range(256)) * 40_000 for _ in range(20)]
pin = bytes(1_000_000)  # above them on the heap, so that its top alone cannot be cut off
del taken
kept = resident()
assert return_freed_memory()
print(kept - resident())
"""


def test_freed_memory_is_kept_until_it_is_given_back():
    given_back = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert int(given_back) >= LEAST


LIBRARY = """
import ctypes, sys
from pathlib import Path

class Watched(ctypes.CDLL):
    def __getattr__(self, name):
        assert name != "mallopt", "malloc belongs to the program that imports boxwright"
        return super().__getattr__(name)

ctypes.CDLL = Watched
import boxwright
archive, data = map(Path, sys.argv[1:])
assert len(boxwright.Predictor(archive)(next((data / "test").glob("*.jpg")))) >= 0
print(boxwright.evaluate(archive, data, split="test").figures.map >= 0)
try:
    from boxwright.host.memory import keep_freed_memory
    keep_freed_memory()
except AssertionError:
    print("watched")
"""


def test_imported_as_a_library_it_leaves_malloc_alone(mar, demo_data):
    command = [sys.executable, "-c", LIBRARY, str(mar), str(demo_data)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "watched"], done.stderr


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
    assert not return_freed_memory()


def test_a_loaded_graph_is_not_kept_as_bytes(mar):
    graph = open_bundle(mar).read("model.onnx")
    before = sys.getrefcount(graph)
    backend = OnnxRuntimeBackend(graph, "tiny.mar", Execution("onnxruntime", "fp32"))
    assert sys.getrefcount(graph) == before
    assert len(backend.detect(np.zeros((1, 3, 192, 192), np.uint8))) == 1

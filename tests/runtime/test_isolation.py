"""The runtime travels alone: no torch at import, nothing of boxwright, Python 3.9."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import boxwright.runtime
from boxwright.archiving import RUNTIME_COPY

FOLDER = Path(boxwright.runtime.__file__).parent

SHIPPED = {
    *(
        "__init__.py",
        "bundle.py",
        "detections.py",
        "drawing.py",
        "errors.py",
        "execution.py",
        "lettering.py",
        "pickled.py",
        "picture.py",
    ),
    "picture_parts.py",
    *("predictor.py", "preprocess.py", "spec.py", "strict_json.py", "strict_zip.py", "tiling.py", "torchserve.py"),
    *(f"backends/{name}.py" for name in ("__init__", "base", "graph", "onnxruntime", "openvino", "torch")),
    *(f"networks/{name}.py" for name in ("__init__", "base", "single_stage", "torchvision")),
    *(f"networks/{name}.py" for name in ("transformers_detectors", "two_stage")),
}
"""What a served picture touches, and nothing else: a file that joins must be put down here."""

ALLOWED = {"numpy", "PIL"}
LATER = {"torch", "torchvision", "onnxruntime", "openvino", "supervision"}
"""Imported inside functions only, where a network is built or run."""


def test_this_and_nothing_else_ships(mar):
    with zipfile.ZipFile(mar) as archive:
        members = {name for name in archive.namelist() if name.startswith(f"{RUNTIME_COPY}/")}
        assert members == {f"{RUNTIME_COPY}/{name}" for name in SHIPPED}
        for name in SHIPPED:
            assert archive.read(f"{RUNTIME_COPY}/{name}") == (FOLDER / name).read_bytes()


def test_nothing_but_numpy_and_pillow_is_imported_at_once():
    for name in SHIPPED:
        if name.startswith("networks/"):  # a network needs torch
            continue
        tree = ast.parse((FOLDER / name).read_text())
        at_once, anywhere = _imported(tree.body), _imported(ast.walk(tree))
        assert at_once - set(sys.stdlib_module_names) <= ALLOWED, name
        assert anywhere - set(sys.stdlib_module_names) <= ALLOWED | LATER, name


def _imported(nodes):
    """Top-level names of what is imported; relative imports stay inside the runtime."""
    nodes = list(nodes)
    plain = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}


def test_relative_imports_do_not_leave_it():
    for name in SHIPPED:
        depth = name.count("/") + 1
        for node in ast.walk(ast.parse((FOLDER / name).read_text())):
            assert not isinstance(node, ast.ImportFrom) or node.level <= depth, name


def run_python(code, *flags):
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)


def test_importing_boxwright_loads_no_torch():
    loaded = run_python("import boxwright", "-X", "importtime").stderr
    assert "boxwright" in loaded
    assert "torch" not in loaded


def test_importing_the_runtime_loads_numpy_and_pillow_alone():
    code = (
        "import sys, boxwright.runtime;"
        "heavy = {'torch', 'torchvision', 'lightning', 'pydantic', 'starlette', 'typer', 'rich', 'yaml'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run_python(code).stdout.strip() == "[]"


def test_syntax_and_library_are_python_3_9():

    command = [Path(sys.executable).with_name("vermin"), "-t=3.9-", "--no-tips", "--violations", FOLDER]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout

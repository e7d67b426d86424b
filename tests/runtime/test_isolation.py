"""The runtime travels alone: no torch at import, nothing of boxwright, Python 3.9."""

import subprocess
import sys
from pathlib import Path

import boxwright.runtime

FOLDER = Path(boxwright.runtime.__file__).parent


def run_python(code, *flags):
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)


def test_importing_boxwright_loads_no_torch():
    loaded = run_python("import boxwright", "-X", "importtime").stderr
    assert "boxwright" in loaded
    assert "torch" not in loaded


def test_importing_the_runtime_loads_numpy_and_pillow_alone():
    code = (
        "import sys, boxwright.runtime;"
        "heavy = {'torch', 'torchvision', 'lightning', 'pydantic', 'fastapi', 'typer', 'rich', 'yaml'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run_python(code).stdout.strip() == "[]"


def test_syntax_and_library_are_python_3_9():

    command = [Path(sys.executable).with_name("vermin"), "-t=3.9-", "--no-tips", "--violations", FOLDER]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout

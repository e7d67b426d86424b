"""The examples do what they say, on the demo's drawn pictures."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from boxwright.data import draw_demo_data

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPT = EXAMPLES / "scratch_vs_pretrained.py"
NOTEBOOK = nbformat.read(EXAMPLES / "kaggle_baseline.ipynb", as_version=nbformat.NO_CONVERT)
SMALL = 'EPOCHS = 1\nDRAWN = {"train": 8, "valid": 3, "test": 3}'


def script(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=500
    )


def test_scratch_and_pretrained_end_in_one_chart_each(run, tmp_path):
    data = draw_demo_data(tmp_path / "drawn", sizes={"train": 8, "valid": 4})
    weights = run / "model_state_dict.pth"
    options = ["--model", "fasterrcnn_tiny_fpn", "--weights", weights, "--epochs", 2, "--out", tmp_path]
    done = script(data, *options, "--set", "image_size=96", "--set", "workers=0")
    assert done.returncode == 0, done.stderr
    assert f"{data}: scratch, --weights none" in done.stdout
    assert re.search(rf"Weights:\s\d+\stensors\sfrom\s{weights}", done.stdout)
    page = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    for chart in ("chart-map", "chart-f2"):
        drawn = re.search(rf'<figure id="{chart}">.*?</figure>', page, re.DOTALL)[0]
        assert re.findall(r"</svg>(\w+)</button>", drawn) == ["scratch", "pretrained"]
        paths = re.findall(r'<path class="line"[^>]* d="([^"]+)"', drawn)
        assert len(paths) == 2
        assert paths[0] != paths[1]
    settings = re.search(r'<table id="settings-table">.*?</table>', page, re.DOTALL)[0]
    differing = re.findall(r'<th scope="row">([^<]+)</th>', settings)
    assert set(differing) <= {"name", "weights", "operating point"}


def test_the_script_explains_itself_and_names_what_is_wrong(tmp_path):
    assert "starts from scratch" in script("--help").stdout
    done = script(tmp_path / "nothing", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "nothing" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_notebook_is_valid_and_holds_no_outputs():
    nbformat.validate(NOTEBOOK)
    assert NOTEBOOK.nbformat == 4
    cells = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook, run cell by cell on a few drawn pictures; the cells tagged ``install`` are left out."""
    notebook = nbformat.from_dict(NOTEBOOK)
    notebook.cells = [cell for cell in notebook.cells if "install" not in cell.metadata.get("tags", ())]
    (place,) = [at for at, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(SMALL))
    folder = tmp_path_factory.mktemp("notebook")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return folder, {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def printed(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def shown(outputs):
    return {kind for output in outputs if output.output_type == "display_data" for kind in output.data}


def test_every_cell_of_the_notebook_does_what_it_says(executed):
    folder, outputs = executed
    assert "/kaggle/input/my-folder is not there. Coloured shapes are drawn" in printed(outputs["folder"])
    assert "errors: 0" in printed(outputs["check"])
    (run,) = (folder / "runs").iterdir()
    assert "text/html" in shown(outputs["report"])
    assert re.search(r"^mAP 0\.\d{3}, from 0\.\d{3} to \d\.\d{3}$", printed(outputs["measure"]), re.MULTILINE)
    assert re.match(r"Reported from score 0\.\d{3}: f2 \d\.\d{3} on valid", printed(outputs["point"]))
    assert "image/png" in shown(outputs["predict"])
    assert "onnxruntime-fp32: mAP 0." in printed(outputs["archive"])
    assert (folder / "model-store" / f"{run.name}.mar").is_file()
    assert re.match(rf"http://127\.0\.0\.1:\d+/predictions/{run.name} answered \d+", printed(outputs["serve"]))

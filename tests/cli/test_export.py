import numpy as np
import onnx
import pytest
import torch

from boxwright.runtime import open_bundle
from support.command_line import boxwright


@pytest.mark.parametrize(("to", "name"), [("onnx", "m.onnx"), ("openvino", "m.xml"), ("state-dict", "m.pth")])
def test_export_writes_one_proved_file(run, tmp_path, to, name):
    done = boxwright("export", run, "--to", to, "--out", tmp_path / "new" / name)
    assert done.returncode == 0, done.stderr
    assert "Proved" in done.stdout
    assert "16 pictures" in done.stdout
    written = {path.name for path in (tmp_path / "new").iterdir()}
    assert written == ({"m.xml", "m.bin"} if to == "openvino" else {name})
    if to == "state-dict":
        state = torch.load(tmp_path / "new" / name, weights_only=True)
        assert all(isinstance(value, torch.Tensor) for value in state.values())
    if to == "onnx":
        onnx.checker.check_model(onnx.load(tmp_path / "new" / name))


def test_int8_beyond_its_tolerance_leaves_nothing_and_exits_with_1(run, tmp_path):
    out = tmp_path / "m.onnx"
    done = boxwright("export", run, "--to", "onnx", "--out", out, "--precision", "int8", "--tolerance", "0")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: onnxruntime-int8: mAP")
    assert ".jpg" in done.stderr
    assert not out.exists()


def test_archive_tells_its_proofs_and_keeps_them(run, tmp_path):
    done = boxwright("archive", run, "--store", tmp_path, "--precision", "int8", "--tolerance", "1")
    assert done.returncode == 0, done.stderr
    proved = [line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("Proved")]
    assert proved == [f"Proved {name}-{kind}" for kind in ("fp32", "int8") for name in ("onnxruntime", "openvino")]
    bundle = open_bundle(tmp_path / "tiny.mar")
    assert {"model.onnx", "model.int8.onnx"} <= set(bundle.members)
    assert np.isfinite(bundle.spec.exports["openvino-int8"]["map"])


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["--to", "tflite", "--out", "m.onnx"], "'tflite'"),
        (["--to", "onnx", "--out", "m.txt"], "m.txt"),
        (["--to", "onnx", "--out", "m.onnx", "--precision", "bf16"], "'bf16'"),
        (["--to", "state-dict", "--out", "m.pth", "--precision", "int8"], "'int8'"),
        (["--to", "onnx", "--out", "m.onnx", "--data", "nowhere"], "nowhere"),
    ],
)
def test_wrong_input_gives_one_clear_error(run, tmp_path, monkeypatch, arguments, culprit):
    monkeypatch.chdir(tmp_path)
    done = boxwright("export", run, *arguments)
    assert done.returncode == 2
    assert culprit in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []

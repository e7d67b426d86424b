"""``doctor``, on the machine that the tests run on, and on ones with faults."""

import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from boxwright.cli.doctor import USES
from boxwright.runtime import BACKENDS
from boxwright.tuning import doctor
from boxwright.tuning.doctor import BackendFound, Extra, FolderFound, examine
from boxwright.tuning.probe import matmul_model


@pytest.mark.parametrize("side", [1, 5, 300])
def test_the_model_of_the_probe_multiplies(side):
    session = onnxruntime.InferenceSession(matmul_model(side), providers=["CPUExecutionProvider"])
    a, b = np.random.default_rng(0).standard_normal((2, side, side)).astype(np.float32)
    np.testing.assert_allclose(session.run(None, {"a": a, "b": b})[0], a @ b, rtol=1e-3, atol=1e-4)


def test_the_model_of_the_probe_is_sound():
    import onnx

    onnx.checker.check_model(onnx.load_from_string(matmul_model(7)), full_check=True)


def test_what_is_installed_runs():
    found = examine()
    assert [one.name for one in found.backends] == ["onnxruntime", "openvino", "torch"]
    assert all(one.problem is None and one.gflops > 0.1 for one in found.backends), found.backends
    assert {one.name for one in found.extras} >= {"train", "hf", "openvino"}
    assert all(one.installed for one in found.extras)


def test_every_part_has_its_use():
    from boxwright.tuning.doctor import _extras

    assert {one.name for one in _extras()} <= set(USES)


def test_a_backend_that_does_not_load_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setitem(BACKENDS, "onnxruntime", type("Broken", (), {"package": "json", "extra": "boxwright[x]"}))
    monkeypatch.setattr(doctor, "sys", type("Sys", (), {"executable": "/bin/false"}))
    found = doctor._backend("onnxruntime")
    assert found.problem == "it ended with 1"
    assert found.remedy == "pip install --force-reinstall json"


def test_a_backend_that_is_missing_is_told_with_its_extra(monkeypatch):
    monkeypatch.setattr(BACKENDS["openvino"], "package", "no_such_package")
    found = doctor._backend("openvino")
    assert (found.version, found.problem) == (None, "not installed")
    assert found.remedy == f"pip install '{BACKENDS['openvino'].extra}'"


def advice(train=(), gpus=(), seen=(), backends=None, folder=None):
    """Sentences on a machine; all is well by default but for the GPU."""
    fine = BackendFound("onnxruntime", "1.2", 10.0, 0.1)
    folders = (folder or FolderFound("runs and archives", None, 2**40, None),)
    return list(doctor._advice(backends or (fine,), (Extra("train", {}, tuple(train)),), gpus, seen, folders))


def test_what_is_missing_is_said_with_what_to_do():
    assert advice(gpus=("A",)) == []
    assert "--minutes" in advice()[0]
    assert "pip install 'boxwright[train]'" in advice(train=["torch"])[0]
    assert "PyTorch's build for CUDA" in advice(seen=("H200",))[0]
    broken = BackendFound("onnxruntime", "1.2", problem="no library", remedy="pip install it")
    assert any("does not run: no library. pip install it" in one for one in advice(backends=(broken,)))
    full = FolderFound("cache", None, 2**20, None)
    assert any("0.0 GiB left" in one for one in advice(folder=full))


def test_the_verb_prints_it_and_writes_json(tmp_path):
    told = tmp_path / "told.json"
    command = [sys.executable, "-m", "boxwright", "doctor", "--json", str(told)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("Processor:", "GPU:", "onnxruntime", "openvino", "torch", "cache"))
    document = json.loads(told.read_text())
    assert document["machine"]["cores"] >= 1
    assert {one["name"] for one in document["backends"]} == {"onnxruntime", "openvino", "torch"}

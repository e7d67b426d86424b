"""When ``serve`` says that OpenVINO would be much faster."""

import sys
from dataclasses import replace

import pytest

from boxwright.host.machine import describe_machine
from boxwright.runtime import Execution, open_bundle
from boxwright.tuning import choose_execution
from boxwright.tuning.faster import MUCH, note_on_openvino
from boxwright.tuning.store import bench_file, write_entry
from support.exported import with_export

WHEN = "2026-01-01T00:00:00+00:00"
HERE = describe_machine()
WITH_BF16 = replace(HERE, processor="such a one", instruction_sets=("avx2", "avx512_bf16"))
CHOSEN = Execution("onnxruntime", "fp32")
PROVED = ("onnxruntime-fp32", "openvino-fp32", "openvino-bf16")


@pytest.fixture(autouse=True)
def without_openvino(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "openvino", None)  # so it is not found


@pytest.fixture
def archive(mar, tmp_path):
    return with_export(mar, tmp_path / "a.mar", *PROVED)


def opened(archive, architecture="fasterrcnn_resnet50_fpn"):
    bundle = open_bundle(archive)
    return replace(bundle, spec=replace(bundle.spec, architecture=architecture))


def note(archive, bundle=None, chosen=CHOSEN, machine=WITH_BF16):
    return note_on_openvino(archive, bundle or opened(archive), chosen, machine)


def benched(archive, machine, **speeds):
    base = {"precision": "fp32", "batch": 1, "latency_ms_p50": 10.0, "threads": 1, "sessions": 1}
    runs = [{**base, "backend": backend, "images_per_s": speed} for backend, speed in speeds.items()]
    write_entry(archive, open_bundle(archive), machine, runs, WHEN)


def test_an_architecture_that_was_measured_on_such_processors_is_told(archive):
    said = note(archive)
    assert said.startswith("a.mar: OpenVINO is not installed. It was measured 2.4 times as fast")
    assert said.endswith("pip install 'boxwright[openvino]'")
    better = replace(WITH_BF16, instruction_sets=("avx2", "avx512_bf16", "amx_bf16"))
    assert "5.1 times" in note(archive, machine=better)


def test_what_is_not_much_faster_or_not_known_is_not_said(archive, mar, tmp_path):
    assert note(archive, opened(archive, "ssdlite320_mobilenet_v3_large")) is None
    assert note(archive, opened(archive, "fasterrcnn_tiny_fpn")) is None
    assert note(archive, machine=replace(WITH_BF16, instruction_sets=("avx2",))) is None
    assert note(archive, chosen=Execution("onnxruntime", "int8")) is None
    fp32 = with_export(mar, tmp_path / "b.mar", "onnxruntime-fp32", "openvino-fp32")
    assert note(fp32) is None  # bf16 is not proved, and would not be run


def test_where_it_is_installed_nothing_is_said(archive, monkeypatch):
    assert note(archive) is not None
    monkeypatch.delitem(sys.modules, "openvino")
    assert note(archive) is None


def test_what_bench_measured_of_this_archive_on_such_a_machine_decides(archive):
    tiny = opened(archive, "fasterrcnn_tiny_fpn")
    with_openvino = replace(WITH_BF16, versions={"openvino": "1"})
    benched(archive, with_openvino, onnxruntime=10.0, openvino=10.0 * MUCH + 0.1)
    assert "1.5 times as fast for this archive" in note(archive, tiny)
    benched(archive, with_openvino, onnxruntime=10.0, openvino=12.0)
    assert note(archive, tiny) is None
    assert note(archive) is None  # this archive's own figures count for more than its architecture's


@pytest.mark.parametrize("changed", [{"processor": "x"}, {"cores": 99}, {"instruction_sets": ("avx2",)}])
def test_what_was_measured_on_another_machine_says_nothing(archive, changed):
    benched(archive, replace(WITH_BF16, versions={"openvino": "1"}, **changed), onnxruntime=10.0, openvino=99.0)
    assert note(archive, opened(archive, "fasterrcnn_tiny_fpn")) is None


def test_a_broken_file_says_nothing(archive):
    bench_file(archive).write_text("nonsense")
    assert note(archive, opened(archive, "fasterrcnn_tiny_fpn")) is None


def test_the_choice_tells_it_once_and_only_to_whom_did_not_choose(archive):
    benched(archive, replace(HERE, versions={"openvino": "1"}), onnxruntime=10.0, openvino=40.0)
    chosen = choose_execution(archive, open_bundle(archive), Execution())
    assert chosen.execution.variant == "onnxruntime-fp32"
    (said,) = chosen.notes
    assert "4.0 times as fast for this archive" in said
    for asked in (Execution("onnxruntime"), Execution(precision="fp32")):
        assert choose_execution(archive, open_bundle(archive), asked).notes == ()

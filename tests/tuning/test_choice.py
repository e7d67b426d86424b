"""Which way of running a model ``serve`` takes, and why."""

from dataclasses import replace

import pytest

import boxwright
from boxwright.host.machine import describe_machine
from boxwright.inputs import Predictor
from boxwright.runtime import Execution, PicturePredictor, open_bundle
from boxwright.runtime.backends import usable_executions
from boxwright.tuning import choice, choose_execution, stored_execution
from boxwright.tuning.store import write_entry
from support.exported import with_export


@pytest.fixture
def archive(mar, tmp_path):
    return with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32", "openvino-fp32")


def chosen(archive, **asked):
    return choose_execution(archive, open_bundle(archive), Execution(**asked))


def test_a_warm_up_takes_the_fastest_and_says_what_it_measured(archive, monkeypatch):
    times = iter((30.0, 10.0, 20.0))
    monkeypatch.setattr(choice, "_time", lambda backend, canvas: next(times))
    second = chosen(archive)
    variants = [one.variant for one in usable_executions(open_bundle(archive))]
    assert second.execution.variant == variants[1] == "openvino-fp32"
    assert second.reason == (
        "fastest at warm-up (openvino-fp32 10.0 ms, torch-fp32 20.0 ms, onnxruntime-fp32 30.0 ms per picture)"
    )
    assert second.backend is not None  # it is open already, and is used
    assert PicturePredictor(open_bundle(archive), second.execution, backend=second.backend)._backend is second.backend


def test_every_call_measures_anew(archive, monkeypatch):
    """Nothing is remembered in the process: what is remembered lies beside the archive, for people to see."""
    times = iter(range(100, 0, -1))  # each one measured is faster than those before
    monkeypatch.setattr(choice, "_time", lambda backend, canvas: next(times))
    last = usable_executions(open_bundle(archive))[-1].variant
    assert chosen(archive).execution.variant == chosen(archive).execution.variant == last
    assert next(times) == 100 - 6


def test_one_way_alone_is_not_timed(archive, monkeypatch):
    monkeypatch.setattr(choice, "_time", None)
    assert chosen(archive, backend="onnxruntime").reason == "as asked for"
    bundle = open_bundle(archive)
    unproved = replace(bundle, spec=replace(bundle.spec, exports={}))
    only = choose_execution(archive, unproved, Execution())
    assert (only.execution.variant, only.reason) == ("torch-fp32", "the only one that is proved and can run here")
    asked = choose_execution(archive, unproved, Execution("onnxruntime"))
    assert (asked.execution.variant, asked.reason) == ("onnxruntime-fp32", "as asked for")


def test_predicting_and_measuring_never_time_backends(run, archive, demo_data, monkeypatch):
    monkeypatch.setattr(choice, "choose_execution", None)
    monkeypatch.setattr(choice, "_time", None)
    picture = next((demo_data / "test").glob("*.jpg"))
    assert Predictor(archive).execution.variant == "onnxruntime-fp32"
    assert len(Predictor(archive)(picture)) >= 0
    assert boxwright.evaluate(archive, demo_data, "test").figures.map >= 0


@pytest.mark.parametrize(("seconds", "runs"), [(0.03, 1 + 3), (0.3, 1 + 1)])
def test_a_slow_network_is_timed_less_often(monkeypatch, seconds, runs):
    """The first run does not count; the start of a server waits for all of them."""

    class Clocked:
        now = ran = 0

        def detect(self, canvases):
            self.now += seconds
            self.ran += 1

    backend = Clocked()
    monkeypatch.setattr(choice.time, "perf_counter", lambda: backend.now)
    assert choice._time(backend, None) == pytest.approx(1000 * seconds)
    assert backend.ran == runs


def store(archive, *runs):
    base = {"batch": 1, "latency_ms_p50": 10.0, "precision": "fp32", "threads": 1, "sessions": 1}
    full = [{**base, **run} for run in runs]
    write_entry(archive, open_bundle(archive), describe_machine(), full, "2026-01-01T00:00:00+00:00")


def stored(archive, **asked):
    return stored_execution(archive, open_bundle(archive), Execution(**asked))


def test_what_bench_stored_is_known_without_a_warm_up(archive, monkeypatch):
    monkeypatch.setattr(choice, "open_backend", None)
    assert stored(archive) is None
    store(
        archive,
        {"backend": "openvino", "sessions": 2, "images_per_s": 30.0},
        {"backend": "torch", "threads": 2, "images_per_s": 20.0},
        {"backend": "onnxruntime", "precision": "int8", "images_per_s": 99.0},  # not proved
    )
    assert stored(archive) == Execution("openvino", "fp32", threads=1, sessions=2)
    assert stored(archive, sessions=1) == Execution("torch", "fp32", threads=2, sessions=1)
    assert stored(archive, backend="onnxruntime") is None
    assert stored(archive, backend="openvino", precision="fp32", threads=1, sessions=2) is None  # nothing is open
    assert stored(archive, device="cuda:0") is None  # another machine, as it were
    assert chosen(archive).execution == stored(archive)

"""Sessions: how many run at once, what they answer, and why these."""

import shutil
import subprocess
import sys
import threading
import time

import pytest
import torch

from boxwright.host.machine import describe_machine
from boxwright.inputs import Predictor
from boxwright.runtime import ConfigError, Execution, open_bundle
from boxwright.serving.engine import DefaultVersion, Engine, Registered, load_models
from boxwright.serving.intake import Body
from boxwright.serving.jobs import Draining, Loading, ModelNotFound, VersionNotFound
from boxwright.tuning.store import write_entry
from support.exported import with_export


@pytest.fixture(autouse=True)
def torchs_threads():
    """PyTorch's number of threads is the process's: other tests count on theirs."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def pictures(demo_data):
    return [path.read_bytes() for path in sorted((demo_data / "valid").glob("*.jpg"))]


def ask_all(engine, pictures):
    """Answers in order; all are asked at once."""
    (model,) = engine.models.values()
    futures = [engine.submit(model.name, Body.of(picture))[1] for picture in pictures]
    return [future.result(60).detections.filter_by_score(model.thresholds) for future in futures]


def predictors(model):
    """Of the workers in this process."""
    return [worker.predictor for _, worker, _ in model.workers]


class Counting:
    """A backend that counts how many of its kind run, and stays until as many as wanted do."""

    def __init__(self, backend, seen, wanted):
        self.backend, self.seen, self.wanted = backend, seen, wanted

    def detect(self, canvases):
        with self.seen["changed"]:
            self.seen["running"] += 1
            self.seen["most"] = max(self.seen["most"], self.seen["running"])
            self.seen["changed"].notify_all()
            self.seen["changed"].wait_for(lambda: self.seen["most"] >= self.wanted, timeout=10)
        time.sleep(0.02)  # time for one too many to come in
        found = self.backend.detect(canvases)
        with self.seen["changed"]:
            self.seen["running"] -= 1
        return found


@pytest.mark.parametrize("sessions", [1, 2, 3])
def test_as_many_run_at_once_as_there_are_sessions(mar, pictures, sessions):
    engine = Engine(load_models([mar], Execution("torch", sessions=sessions)))
    seen = {"running": 0, "most": 0, "changed": threading.Condition()}
    for predictor in predictors(engine.models["tiny"]):
        predictor._backend = Counting(predictor._backend, seen, wanted=sessions)
    ask_all(engine, pictures[:8])
    assert seen["most"] == sessions
    assert seen["running"] == 0


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_two_sessions_answer_as_the_predictor_does(mar, pictures, backend):
    engine = Engine(load_models([mar], Execution(backend, threads=1, sessions=2)))
    predictor = Predictor(mar, backend=backend, threads=1)
    names = predictor.spec.class_names
    expected = [predictor(picture).to_answer(names) for picture in pictures]
    assert any(expected)
    assert [detections.to_answer(names) for detections in ask_all(engine, pictures)] == expected


_AT_ONCE = """
import pathlib, sys, threading
import numpy as np
from boxwright.runtime import Execution
from boxwright.serving.engine import load_models
(model,) = load_models([pathlib.Path(sys.argv[1])], Execution("openvino", threads=1, sessions=2)).values()
canvas = np.zeros((1, 3, model.spec.input.height, model.spec.input.width), np.uint8)
predictors = [worker.predictor for _, worker, _ in model.workers]
start = threading.Barrier(2)
def detect(backend):
    start.wait()
    for _ in range(100):
        backend.detect(canvas)
sessions = [threading.Thread(target=detect, args=(one._backend,)) for one in predictors]
for session in sessions: session.start()
for session in sessions: session.join()
print("answered")
"""


def test_openvinos_sessions_start_together(mar, tmp_path):
    """Two first uses in a process at the same time waited for each other for ever, one time in three."""
    archive = with_export(mar, tmp_path / "a.mar", "openvino-fp32")
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", _AT_ONCE, str(archive)], capture_output=True, text=True, timeout=60
        )
        assert done.stdout == "answered\n", done.stderr


def test_openvinos_sessions_may_use_different_cores(mar, tmp_path):
    archive = with_export(mar, tmp_path / "a.mar", "openvino-fp32")
    (model,) = load_models([archive], Execution("openvino", threads=1, sessions=2)).values()
    assert [one._backend._model.get_property("ENABLE_CPU_PINNING") for one in predictors(model)] == [False] * 2


def opened(archive, **asked):
    (model,) = load_models([archive], Execution(**asked)).values()
    return model


@pytest.fixture
def stored(mar, tmp_path):
    """An archive whose best is stored: two sessions in OpenVINO; then torch."""
    archive = with_export(mar, tmp_path / "tiny.mar", "openvino-fp32")
    base = {"batch": 1, "latency_ms_p50": 10.0, "precision": "fp32"}
    runs = [
        {**base, "backend": "openvino", "threads": 1, "sessions": 2, "images_per_s": 30.0},
        {**base, "backend": "openvino", "threads": 2, "sessions": 1, "images_per_s": 20.0},
        {**base, "backend": "torch", "threads": 1, "sessions": 1, "images_per_s": 10.0},
        {**base, "backend": "openvino", "precision": "int8", "threads": 1, "sessions": 1, "images_per_s": 99.0},
    ]
    write_entry(archive, open_bundle(archive), describe_machine(), runs, "2026-01-01T00:00:00+00:00")
    return archive


def test_the_stored_best_of_what_was_proved_is_opened(stored):
    model = opened(stored)
    assert str(model.choice.execution) == "openvino-fp32, 1 thread x 2 sessions"
    assert model.choice.reason == "stored by boxwright bench, 30.0 pictures/s"
    first, second = predictors(model)
    assert [first.execution.variant, second.execution.variant] == ["openvino-fp32"] * 2
    assert first._backend is not second._backend


@pytest.mark.parametrize(
    ("asked", "setting", "reason"),
    [
        ({"sessions": 1}, "openvino-fp32, 2 threads x 1 session", "the best of what was asked for, 20.0"),
        ({"backend": "torch"}, "torch-fp32, 1 thread x 1 session", "the best of what was asked for, 10.0"),
        ({"backend": "torch", "threads": 1, "sessions": 2}, "torch-fp32, 1 thread x 2 sessions", "as asked for"),
        (
            {"backend": "openvino", "precision": "fp32", "threads": 2, "sessions": 1},
            "openvino-fp32, 2 threads x 1 session",
            "as asked for",
        ),
    ],
)
def test_what_is_asked_for_is_kept(stored, asked, setting, reason):
    model = opened(stored, **asked)
    assert str(model.choice.execution) == setting
    assert reason in model.choice.reason


def test_of_another_archive_nothing_is_used(stored, mar):
    shutil.copy(mar, stored)
    assert "stored" not in opened(stored).choice.reason


def test_nothing_stored_leaves_it_to_the_warm_up(mar, tmp_path):
    archive = with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32", "openvino-fp32")
    model = opened(archive, sessions=2)
    assert model.choice.reason.startswith("fastest at warm-up")
    assert len({predictor.execution for predictor in predictors(model)}) == 1


def test_nothing_is_timed_while_requests_are_answered(mar, pictures, tmp_path, monkeypatch):
    """Choosing by measurement belongs to the start: a picture must not wait for a warm-up."""
    archive = with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32", "openvino-fp32")
    engine = Engine(load_models([archive], Execution(sessions=2)))
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *line, **options: started.append(line))
    Predictor(archive)(pictures[0])
    ask_all(engine, pictures)
    assert started == []


def test_a_broken_file_is_noted_and_the_archive_served(mar, tmp_path):
    archive = shutil.copy(mar, tmp_path / "tiny.mar")
    (tmp_path / "tiny.bench.json").write_text("nonsense")
    (note,) = opened(archive).choice.notes
    assert note.endswith("tiny.bench.json is ignored: it is not JSON.")


def test_an_unknown_backend_is_named(mar):
    with pytest.raises(ConfigError, match="caffe"):
        load_models([mar], Execution("caffe"))


class TestVersions:
    @pytest.fixture
    def engine(self, mar):
        engine = Engine(load_models([mar], Execution("onnxruntime")))
        yield engine
        assert engine.close(30)

    @pytest.fixture
    def second(self, mar):
        (model,) = load_models([mar], Execution("onnxruntime")).values()
        model.version = "2.0"
        return model

    def test_the_first_is_the_default_until_it_is_changed(self, engine, second):
        engine.add(second)
        assert engine.find("tiny").version == "1.0"
        assert engine.find("tiny", "2.0") is second
        engine.set_default("tiny", "2.0")
        assert engine.find("tiny") is second
        assert [model.version for model in engine.versions("tiny")] == ["2.0", "1.0"]

    def test_what_is_not_there_is_named(self, engine):
        with pytest.raises(ModelNotFound, match="other"):
            engine.find("other")
        with pytest.raises(VersionNotFound, match=r"9\.9"):
            engine.find("tiny", "9.9")
        engine.loading = True
        for ask in (engine.find, engine.versions, lambda name: engine.set_default(name, "1.0")):
            with pytest.raises(Loading):
                ask("other")

    def test_a_version_that_is_taken_out_meanwhile_does_not_become_the_default(self, engine, second, monkeypatch):
        engine.add(second)
        found = Engine.find

        def find(self, name, version=None):
            model = found(self, name, version)
            self.remove(name, version)  # as another thread may, right after
            return model

        monkeypatch.setattr(Engine, "find", find)
        engine.set_default("tiny", "2.0")
        assert [model.version for model in engine.models.values()] == ["2.0"]

    def test_a_version_is_served_once(self, engine, mar):
        (same,) = load_models([mar]).values()
        with pytest.raises(Registered):
            engine.add(same)

    def test_a_default_with_others_stays(self, engine, second):
        engine.add(second)
        with pytest.raises(DefaultVersion):
            engine.remove("tiny")
        engine.remove("tiny", "2.0")
        engine.remove("tiny")
        assert engine.models == {}

    def test_swapped_under_load_nothing_is_lost(self, engine, second, mar, pictures):
        """Pictures come from several threads all the time; a version takes the place of another twice."""
        over, answered, failed = threading.Event(), [], []

        def ask():
            while not over.is_set():
                try:
                    model, future = engine.submit("tiny", Body.of(pictures[0]))
                    future.result(60)
                    answered.append(model.version)
                except Exception as error:
                    failed.append(error)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        (third,) = load_models([mar], Execution("onnxruntime")).values()
        third.version = "3.0"
        for model in (second, third):
            wanted = len(answered) + 8
            while len(answered) < wanted and not failed:
                time.sleep(0.01)
            engine.replace(model)
        wanted = len(answered) + 8
        while len(answered) < wanted and not failed:
            time.sleep(0.01)
        over.set()
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert set(answered) == {"1.0", "2.0", "3.0"}
        assert answered[-1] == "3.0"

    def test_observers_are_told_what_became_of_each(self, engine, pictures):
        told = []
        engine.observers.append(lambda model, outcome: told.append((model.name, type(outcome).__name__)))
        ask_all(engine, pictures[:1])
        _, future = engine.submit("tiny", Body.of(b"no picture"))
        assert future.exception(60)
        assert sorted(told) == [("tiny", "Answer"), ("tiny", "UnsupportedPicture")]

    def test_a_closed_engine_refuses(self, mar, pictures):
        engine = Engine(load_models([mar], Execution("onnxruntime")))
        assert engine.close(30)
        with pytest.raises(Draining):
            engine.submit("tiny", Body.of(pictures[0]))

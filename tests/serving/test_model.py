"""One version: queue, batches, workers, cancelling, deadlines, failures."""

import os
import shutil
import signal
import threading
import time
import weakref
from collections import deque
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from boxwright.runtime import Execution, PictureError, open_bundle
from boxwright.serving import model as serving
from boxwright.serving import workers as working
from boxwright.serving.engine import Engine
from boxwright.serving.jobs import Busy, Draining, Expired, Job, NoWorkers, OutOfMemory, WorkerFailed
from boxwright.serving.model import ModelOptions, ServedModel, load_model
from boxwright.serving.workers import WorkerDied
from boxwright.tuning import Choice
from support.hostile_archives import listed, members_of, packed

ONNX = Execution("onnxruntime", "fp32", threads=1, sessions=1)


class Worker:
    """A worker that answers as the real one does, once it is let; it writes down its batches."""

    def __init__(self, worker, gate, batches, fault=None):
        self.worker, self.gate, self.batches, self.fault = worker, gate, batches, fault
        self.pid = worker.pid

    def detect(self, prepared):
        assert self.gate.wait(30)
        self.batches.append(len(prepared))
        if self.fault:
            self.fault(prepared)
        return self.worker.detect(prepared)

    def close(self):
        self.worker.close()


@pytest.fixture
def decoders():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def pictures(demo_data):
    return [path.read_bytes() for path in sorted((demo_data / "valid").glob("*.jpg"))]


@pytest.fixture
def make(mar, monkeypatch):
    """A version whose workers wait for ``model.gate``, open at first."""
    made = []

    def build(workers=1, fault=None, **options):
        model = ServedModel(open_bundle(mar), Path(mar), Choice(ONNX, "a test"), ModelOptions(**options))
        model.gate, model.batches = threading.Event(), []
        model.gate.set()
        hire = model._hired
        monkeypatch.setattr(model, "_hired", lambda: Worker(hire(), model.gate, model.batches, fault))
        model.scale(workers)
        made.append(model)
        return model

    yield build
    for model in made:
        model.gate.set()
        assert model.close(30)


class Bytes:
    """A picture; that it is released is looked at where it matters."""

    def __init__(self, content):
        self.content = content

    def read(self):
        return self.content

    def release(self):
        self.released = True


def job(picture, seconds=60.0):
    return Job(Bytes(picture), time.monotonic() + seconds)


def submit_all(model, decoders, pictures, seconds=60.0):
    return [model.submit(job(picture, seconds), decoders) for picture in pictures]


def submit_behind(model, decoders, pictures):
    """The first one runs, as far as the gate; the others wait."""
    model.gate.clear()
    first = model.submit(job(pictures[0]), decoders)
    until(first.running)
    return first, submit_all(model, decoders, pictures[1:])


def until(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come")


def test_each_picture_gets_its_own_answer(make, decoders, pictures, mar):
    from boxwright.inputs import Predictor

    predictor = Predictor(mar, backend="onnxruntime", threads=1)
    model = make(workers=2)
    answers = [future.result(60) for future in submit_all(model, decoders, pictures)]
    for picture, answer in zip(pictures, answers, strict=True):
        assert np.array_equal(answer.detections.filter_by_score(model.thresholds).boxes, predictor(picture).boxes)
    assert model.counts.answered == len(pictures)
    assert model.pending == 0


def test_one_more_than_the_queue_holds_is_refused_at_once(make, decoders, pictures):
    model = make(queue_size=3)
    model.gate.clear()
    futures = submit_all(model, decoders, pictures[:3])
    with pytest.raises(Busy, match="3 pictures waiting") as refused:
        model.submit(job(pictures[3]), decoders)
    assert refused.value.retry_after >= 1
    model.gate.set()
    assert all(future.result(60) for future in futures)


def test_what_would_come_too_late_is_refused_at_once(make, decoders, pictures):
    model = make(fault=lambda prepared: time.sleep(0.2))
    submit_all(model, decoders, pictures[:1])[0].result(60)
    model.gate.clear()
    waiting = submit_all(model, decoders, pictures[:10])
    with pytest.raises(Busy, match="would answer in"):
        model.submit(job(pictures[0], seconds=0.5), decoders)
    model.gate.set()
    assert all(future.result(60) for future in waiting)


def test_cancelled_pictures_are_not_computed_and_free_their_places(make, decoders, pictures):
    model = make(queue_size=8)
    first, others = submit_behind(model, decoders, pictures[:8])
    assert all(future.cancel() for future in others)
    assert model.pending == 1
    model.gate.set()
    assert first.result(60)
    last = model.submit(job(pictures[0]), decoders)
    assert last.result(60)
    assert model.batches == [1, 1]
    assert model.counts.cancelled == 7
    with pytest.raises(CancelledError):
        others[0].result(1)


def test_a_picture_past_its_deadline_is_not_computed(make, decoders, pictures):
    model = make()
    model.gate.clear()
    first = model.submit(job(pictures[0]), decoders)
    until(first.running)
    late = model.submit(job(pictures[1], seconds=0.05), decoders)
    time.sleep(0.1)
    model.gate.set()
    with pytest.raises(Expired):
        late.result(60)
    assert first.result(60)
    assert model.batches == [1]
    assert model.counts.expired == 1


def test_what_waits_is_given_up_at_its_deadline_though_no_worker_is_free(make, decoders, pictures):
    model = make(timeout=0.3)
    model.gate.clear()
    engine = Engine({model.name: model})
    _, first = engine.submit(model.name, Bytes(pictures[0]))
    until(first.running)
    _, late = engine.submit(model.name, Bytes(pictures[1]))
    with pytest.raises(Expired):
        late.result(60)
    assert not first.done()
    assert (model.counts.expired, model.waiting, model.pending) == (1, 0, 1)
    model.gate.set()
    assert first.result(60)
    assert engine.submit(model.name, Bytes(pictures[2]))[1].result(60)
    assert engine.close(30)


def test_the_time_it_takes_itself_counts_unless_nothing_else_waits(make, decoders, pictures):
    model = make(fault=lambda prepared: time.sleep(0.4))
    submit_all(model, decoders, pictures[:1])[0].result(60)
    model.gate.clear()
    alone = model.submit(job(pictures[0], seconds=0.1), decoders)  # slower than its deadline, yet it begins in time
    until(alone.running)
    with pytest.raises(Busy, match="would answer in"):  # two times .4 s
        model.submit(job(pictures[0], seconds=0.6), decoders)
    model.gate.set()
    assert alone.result(60)


def test_a_batch_takes_what_waits_and_no_more_than_its_size(make, decoders, pictures):
    model = make(batch_size=4)
    _, futures = submit_behind(model, decoders, pictures[:11])
    until(lambda: len(model._ready) >= 8)
    model.gate.set()
    answers = [future.result(60) for future in futures]
    assert model.batches[1] == 4
    assert max(model.batches) == 4
    assert sum(model.batches) == 11
    assert {answer.batch for answer in answers} <= {1, 2, 3, 4}


def test_the_window_opens_with_the_first_picture(make, decoders, pictures):
    model = make(batch_size=2, batch_delay=30.0)
    first = model.submit(job(pictures[0]), decoders)
    until(lambda: not model._ready or len(model._ready) == 1)
    assert not first.done()  # it waits for a second one
    second = model.submit(job(pictures[1]), decoders)
    assert (first.result(20).batch, second.result(20).batch) == (2, 2)


def test_one_bad_picture_fails_alone(make, decoders, pictures):
    def fault(prepared):
        if any(one.canvases[0, 0, 0, 0] == poison for one in prepared):
            raise RuntimeError("poison")

    model = make(batch_size=4, fault=fault)
    prepared = [model._prepared(picture) for picture in pictures[:4]]
    poison = int(prepared[2].canvases[0, 0, 0, 0])
    bad = [int(one.canvases[0, 0, 0, 0]) == poison for one in prepared]
    model.gate.clear()
    futures = submit_all(model, decoders, pictures[:4])
    until(lambda: len(model._ready) + sum(f.running() for f in futures) == 4)
    model.gate.set()
    for future, is_bad in zip(futures, bad, strict=True):
        if is_bad:
            with pytest.raises(WorkerFailed):
                future.result(60)
        else:
            assert future.result(60)
    assert model.counts.failed == sum(bad)


def test_memory_that_is_not_enough_halves_the_batch(make, decoders, pictures):
    def fault(prepared):
        if len(prepared) > 2:
            raise MemoryError

    model = make(batch_size=8, fault=fault)
    first, futures = submit_behind(model, decoders, pictures[:9])
    until(lambda: len(model._ready) == 8)
    model.gate.set()
    assert all(future.result(60) for future in [first, *futures])
    assert model.batches == [1, 8, 4, 2, 2, 4, 2, 2]


def test_memory_that_is_not_enough_for_one_is_said(make, decoders, pictures):
    def fault(prepared):
        raise MemoryError

    model = make(fault=fault)
    with pytest.raises(OutOfMemory):
        model.submit(job(pictures[0]), decoders).result(60)


def test_a_broken_picture_is_its_own_error(make, decoders, pictures):
    model = make()
    bad, good = submit_all(model, decoders, [b"\xff\xd8\xff\xe0" + b"0" * 99, pictures[0]])
    with pytest.raises(PictureError):
        bad.result(60)
    assert good.result(60)
    assert model.pending == 0


def test_workers_come_and_go(make, decoders, pictures):
    model = make(workers=1)
    model.scale(3)
    assert len({number for number, _, _ in model.workers}) == 3
    model.scale(1)
    assert [number for number, _, _ in model.workers] == [9000]
    model.scale(0)
    with pytest.raises(NoWorkers, match="has no worker"):
        model.submit(job(pictures[0]), decoders)
    model.scale(1)
    assert model.submit(job(pictures[0]), decoders).result(60)


def test_scaled_to_none_what_waits_is_answered(make, decoders, pictures):
    model = make()
    first, others = submit_behind(model, decoders, pictures[:4])
    scaling = threading.Thread(target=model.scale, args=(0,))
    scaling.start()
    model.gate.set()
    scaling.join(60)
    assert first.result(60)
    for future in others:
        with pytest.raises(NoWorkers):
            future.result(60)


def test_what_was_given_up_is_not_taken_by_the_next_worker(make, decoders, pictures):
    model = make()
    _, others = submit_behind(model, decoders, pictures[:4])
    until(lambda: model._ready)
    scaling = threading.Thread(target=model.scale, args=(0,))
    scaling.start()
    until(lambda: not model.workers)
    model.gate.set()
    scaling.join(60)
    assert all(future.done() for future in others)
    model.scale(1)
    assert all(future.result(60) for future in submit_all(model, decoders, pictures[:4]))


def test_a_job_that_was_given_up_does_not_begin(pictures):
    given_up = job(pictures[0])
    given_up.fail(Draining("it ends"))
    given_up.fail(NoWorkers("too late"))
    assert given_up.begin() is False
    with pytest.raises(Draining):
        given_up.future.result(1)
    running = job(pictures[0])
    assert running.begin()
    running.fail(Draining("it ends"))
    with pytest.raises(Draining):
        running.future.result(1)


def test_a_worker_that_hangs_does_not_hold_up_the_end(make, decoders, pictures, monkeypatch):
    monkeypatch.setattr("boxwright.serving.model._SECONDS_TO_LEAVE", 0.1)
    model = make()
    submit_behind(model, decoders, pictures[:1])
    thread = model._posts[0].thread
    assert model.close(0.1) is False
    assert thread.is_alive()  # it waits for the gate still
    model.gate.set()
    thread.join(60)
    assert not thread.is_alive()


def test_a_version_that_has_ended_gets_no_workers(make):
    model = make()
    assert model.close(30)
    model.scale(2)
    assert model.workers == []


def test_workers_of_a_version_that_cannot_have_all_of_them_end(mar, monkeypatch):
    hired, closed = [], []

    class Failing(ServedModel):
        def _hired(self):
            if hired:
                raise MemoryError
            hired.append(super()._hired())
            hired[0].close = lambda: closed.append(True)
            return hired[0]

    monkeypatch.setattr("boxwright.serving.model.ServedModel", Failing)
    with pytest.raises(MemoryError):
        load_model(Path(mar), open_bundle(mar), ONNX, workers=2)
    assert closed == [True]


def test_nothing_of_a_picture_is_kept_once_it_is_answered(make, decoders, pictures):
    model = make()
    prepare, kept = model._prepared, []

    def prepared(picture):
        found = prepare(picture)
        kept.append(weakref.ref(found))
        return found

    model._prepared = prepared
    assert model.submit(job(pictures[0]), decoders).result(60)
    until(lambda: kept[0]() is None)


def test_closing_finishes_what_was_accepted_and_refuses_the_rest(make, decoders, pictures):
    model = make()
    model.gate.clear()
    futures = submit_all(model, decoders, pictures[:5])
    closed = deque()
    closing = threading.Thread(target=lambda: closed.append(model.close(60)))
    closing.start()
    until(lambda: model._closed)
    with pytest.raises(Draining):
        model.submit(job(pictures[0]), decoders)
    model.gate.set()
    closing.join(60)
    assert closed == deque([True])
    assert all(future.result(1) for future in futures)


def test_what_is_not_finished_in_time_is_told_so(make, decoders, pictures):
    model = make()
    first, (second,) = submit_behind(model, decoders, pictures[:2])
    opening = threading.Timer(0.5, model.gate.set)
    opening.start()
    assert model.close(0.1) is False
    for future in (first, second):  # what still runs is given up, too
        with pytest.raises(Draining):
            future.result(1)
    opening.join()


class TestProcesses:
    @pytest.fixture
    def served(self, mar):
        model = load_model(Path(mar), open_bundle(mar), ONNX, ModelOptions(own_processes=True), workers=2)
        yield model
        assert model.close(30)

    def test_killed_workers_are_replaced_and_no_answer_is_lost(self, served, decoders, pictures):
        before = {worker.pid for _, worker, _ in served.workers}
        assert os.getpid() not in before
        futures = submit_all(served, decoders, pictures)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        answers = [future.result(120) for future in futures]
        more = [future.result(120) for future in submit_all(served, decoders, pictures)]
        for one, other in zip(answers, more, strict=True):
            assert np.array_equal(one.detections.boxes, other.detections.boxes)
        assert served.counts.replaced >= 1

    def test_a_picture_that_kills_workers_does_not_go_on_for_ever(self, mar, decoders, pictures):
        model = load_model(Path(mar), open_bundle(mar), ONNX, ModelOptions(own_processes=True), workers=1)
        hire = model._hired

        def killing():
            worker = hire()
            os.kill(worker.pid, signal.SIGKILL)
            return worker

        os_worker = model.workers[0][1]
        model._hired = killing
        os.kill(os_worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerFailed):
            model.submit(job(pictures[0]), decoders).result(120)
        model._hired = hire
        assert model.submit(job(pictures[0]), decoders).result(120)
        assert model.close(30)

    def test_a_worker_runs_what_was_loaded_and_not_what_the_file_holds_now(
        self, mar, decoders, pictures, tmp_path, monkeypatch
    ):
        """One that cannot be replaced is not there, so that whoever asks learns of it, and is tried again later."""
        monkeypatch.setattr(serving, "_SECONDS_TO_TRY", 0.2)
        path = tmp_path / "tiny.mar"
        shutil.copy(mar, path)
        model = load_model(path, open_bundle(path), ONNX, ModelOptions(own_processes=True), workers=1)
        members = members_of(path)
        path.write_bytes(packed(listed({**members, "more.txt": b"another model"})))
        os.kill(model.workers[0][1].pid, signal.SIGKILL)
        with pytest.raises(WorkerFailed):
            model.submit(job(pictures[0]), decoders).result(120)
        assert (model.workers, model.least, model.counts.replaced) == ([], 1, 0)
        shutil.copy(mar, path)
        end = time.monotonic() + 60
        while not model.workers and time.monotonic() < end:
            time.sleep(0.05)
        assert model.submit(job(pictures[0]), decoders).result(120)
        assert (len(model.workers), model.counts.replaced) == (1, 1)
        assert model.close(30)

    def test_a_worker_that_hangs_at_its_start_is_given_up(self, mar, monkeypatch):
        monkeypatch.setattr(working, "_SECONDS_TO_START", 0.01)
        with pytest.raises(WorkerDied):
            load_model(Path(mar), open_bundle(mar), ONNX, ModelOptions(own_processes=True), workers=1)

    def test_a_worker_that_hangs_is_killed_and_replaced(self, mar, decoders, pictures):
        """Also while the batch is handed over, which is larger than what a pipe holds."""
        options = ModelOptions(own_processes=True, timeout=5.0, batch_size=8, batch_delay=1.0)
        model = load_model(Path(mar), open_bundle(mar), ONNX, options, workers=1)
        hanging = model.workers[0][1].pid
        os.kill(hanging, signal.SIGSTOP)
        futures = submit_all(model, decoders, pictures[:8], seconds=60.0)
        assert max(future.result(120).batch for future in futures) == 8
        assert [worker.pid for _, worker, _ in model.workers] != [hanging]
        assert model.counts.replaced == 1
        assert model.close(30)

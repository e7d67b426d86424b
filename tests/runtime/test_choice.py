"""Which backend ``auto`` takes, and that it keeps to it."""

import pytest
import torch

from boxwright.runtime import Predictor, backends, open_bundle
from support.exported import with_export


@pytest.fixture(autouse=True)
def torchs_threads():
    """PyTorch's number of threads is the process's: other tests count on theirs."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_what_was_fastest_once_stays_chosen(mar, tmp_path, monkeypatch):
    archive = with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32", "openvino-fp32")
    first = Predictor(archive).chosen
    times = iter(range(100, 0, -1))  # from now on each one measured is faster than those before
    monkeypatch.setattr(backends, "_time", lambda backend, canvas: next(times))
    second = Predictor(archive).chosen
    assert (second.variant, second.reason, second.milliseconds) == (first.variant, first.reason, first.milliseconds)
    assert second.backend is not first.backend
    last = backends.candidates(open_bundle(archive))[-1]
    assert Predictor(archive, threads=1).chosen.variant == last  # another question: measured anew
    with_export(mar, archive, "openvino-fp32", "onnxruntime-fp32")
    assert Predictor(archive).chosen.variant == backends.candidates(open_bundle(archive))[-1]  # another archive


@pytest.mark.parametrize(("seconds", "runs"), [(0.03, 1 + 3), (0.3, 1 + 1)])
def test_a_slow_network_is_timed_less_often(monkeypatch, seconds, runs):
    """The first run does not count; whoever starts a server waits for all of them."""

    class Clocked:
        now = ran = 0

        def detect(self, canvases):
            self.now += seconds
            self.ran += 1

    backend = Clocked()
    monkeypatch.setattr(backends.time, "perf_counter", lambda: backend.now)
    assert backends._time(backend, None) == pytest.approx(1000 * seconds)
    assert backend.ran == runs


def test_torch_takes_the_threads_it_is_given(run):
    Predictor(run, backend="torch", threads=1)
    assert torch.get_num_threads() == 1
    Predictor(run, backend="torch", threads=3)
    Predictor(run, backend="torch")
    assert torch.get_num_threads() == 3  # not asked, not touched

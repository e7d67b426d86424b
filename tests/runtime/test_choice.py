"""Which backend ``auto`` takes, and that it keeps to it."""

import pytest
import torch

from boxwright.runtime import Predictor, backends, open_bundle
from exported import with_export


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


def test_torch_takes_the_threads_it_is_given(run):
    Predictor(run, backend="torch", threads=1)
    assert torch.get_num_threads() == 1
    Predictor(run, backend="torch", threads=3)
    Predictor(run, backend="torch")
    assert torch.get_num_threads() == 3  # not asked, not touched

"""Calls that would take all memory, or hours, are told before they are made."""

import time

import numpy as np

from boxwright.runtime import Execution
from boxwright.tuning.asking import ask
from boxwright.tuning.worker import _too_much
from support.exported import with_export

CANVASES = np.zeros((1, 3, 32, 32), np.uint8)


class Slow:
    """A backend that takes its time."""

    def detect(self, canvases):
        time.sleep(0.02)


def test_a_batch_without_room_is_one_sentence_and_the_others_are_measured(mar, tmp_path):
    archive = with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32")
    common = {"archive": str(archive), "seconds": 0.01, "least_calls": 2, "uncounted_calls": 0}
    one, many = ask(Execution("onnxruntime", "fp32", threads=1, sessions=1), common, (1, 10**9), 60)
    assert "error" not in one
    assert "MiB are free; lower --batch" in many["error"]


def test_a_call_that_would_take_minutes_is_not_made():
    assert _too_much([Slow()], CANVASES, 10) is None
    assert _too_much([Slow()], CANVASES, 50_000).startswith("One call would take about ")

"""The process that measures: it ends, whatever becomes of who asked."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from boxwright.runtime import Execution
from boxwright.tuning.asking import ask
from support.exported import with_export

_ASK = """
import sys
from boxwright.runtime import Execution
from boxwright.tuning.asking import ask
ask(Execution("onnxruntime", "fp32", threads=1, sessions=1), {"archive": sys.argv[1], "seconds": 300}, (1,), 300)
"""


def wait_for(condition):
    end = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_an_answer_for_each_batch_and_a_made_up_picture(mar, tmp_path):
    archive = with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32")
    common = {"archive": str(archive), "seconds": 0.01, "least_calls": 2, "uncounted_calls": 0}
    one, three = ask(Execution("onnxruntime", "fp32", threads=1, sessions=1), common, (1, 3), 60)
    assert (one["batch"], three["batch"]) == (1, 3)
    assert min(len(one["latencies_ms"]), len(three["latencies_ms"])) >= 2


def test_one_that_takes_too_long_is_ended(mar):
    (late,) = ask(Execution("torch", "fp32", threads=1), {"archive": str(mar), "seconds": 60}, (1,), 0.05)
    assert late == {"batch": 1, "error": "It took more than 0.05 s."}


def test_it_ends_with_its_caller_and_hears_nothing_of_the_terminal(mar, tmp_path):
    archive = with_export(mar, tmp_path / "a.mar", "onnxruntime-fp32")
    caller = subprocess.Popen([sys.executable, "-c", _ASK, str(archive)])
    try:
        (worker,) = wait_for(lambda: children(caller.pid))
        wait_for(lambda: os.getsid(worker) == worker)
        # it has begun when it has read the request: from then on only its caller's end can end it
        wait_for(lambda: b"onnxruntime" in Path(f"/proc/{worker}/maps").read_bytes())
    finally:
        caller.send_signal(signal.SIGKILL)
        caller.wait(10)
    wait_for(lambda: not alive(worker))


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False

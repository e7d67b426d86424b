"""Loader processes, each test with a real script in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from boxwright.data import workers
from boxwright.data.workers import BatchMemory
from boxwright.runtime import ConfigError

LOCKED = """
import threading
from boxwright.data.dataset import PictureDataset

LOCK = threading.Lock()


class Locked(PictureDataset):
    def __getitems__(self, indices):
        with LOCK:
            return super().__getitems__(indices)
"""

LOADER = """
import sys
from pathlib import Path
from torch.utils.data import DataLoader
from boxwright.data.dataset import PictureDataset, collate
from boxwright.data.workers import BatchMemory
from boxwright.host.processes import WorkerContext, ready_worker, start_server
start_server()
from boxwright.data import read_folder
from boxwright.runtime import InputSpec

split = read_folder(Path(DATA)).splits["valid"]
memory = BatchMemory(2, 4, (4, 3, 96, 96))


def loader(kind=PictureDataset):
    dataset = kind(split, InputSpec(96, 96), memory=memory)
    return DataLoader(dataset, 4, num_workers=2, collate_fn=collate, persistent_workers=True, timeout=60,
                      worker_init_fn=ready_worker, multiprocessing_context=WorkerContext())
"""

UNGUARDED = """
print("once", flush=True)
before = vars(sys.modules["__main__"]).get("__file__"), __spec__
print([index for batch in loader() for index in batch.indices] == list(range(16)))
print((vars(sys.modules["__main__"]).get("__file__"), __spec__) == before)
"""

HELD_LOCK = """
import locked

with locked.LOCK:
    print(sum(len(batch.indices) for batch in loader(locked.Locked)))
"""

ENDLESS = """
endless = loader()
try:
    batches = iter(endless)
    next(batches)
    print(*[worker.pid for worker in batches._workers], flush=True)
    while True:
        sum(len(batch.indices) for batch in endless)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def script(tmp_path, data, text):
    """A script file beside a module of its own."""
    (tmp_path / "locked.py").write_text(LOCKED)
    path = tmp_path / "script.py"
    path.write_text(f"DATA = {str(data)!r}\n{LOADER}{text}")
    return path


def started(*arguments, text=None):
    pipe, command = subprocess.PIPE, [sys.executable, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    process.stdin.write(text or "")
    process.stdin.close()
    process.stdin = None
    return process


def test_scripts_need_no_guard(tmp_path, demo_data):
    """As a file and from standard input: each runs its first line once."""
    path = script(tmp_path, demo_data, UNGUARDED)
    processes = [started(path), started("-", text=path.read_text())]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (out.split(), err) == (["once", "True", "True"], ""), process.args


def test_a_lock_held_by_the_caller_is_not_inherited(tmp_path, demo_data):
    out, err = started(script(tmp_path, demo_data, HELD_LOCK)).communicate(timeout=120)
    assert (out, err) == ("16\n", "")


@pytest.fixture
def endless(tmp_path, demo_data):
    """A process that loads for ever, and the ids of its loader processes."""
    process = started(script(tmp_path, demo_data, ENDLESS))
    numbers = [int(word) for word in process.stdout.readline().split()]
    assert len(numbers) == 2
    yield process, numbers
    process.kill()
    process.communicate()


def gone(numbers, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(os.path.exists(f"/proc/{number}") for number in numbers):
        time.sleep(0.05)
    return not any(os.path.exists(f"/proc/{number}") for number in numbers)


def test_ctrl_c_is_the_callers_alone_and_ends_all(endless):
    process, numbers = endless
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "stopped\n", "")
    assert gone(numbers, 10)


def test_loader_processes_end_with_a_killed_caller(endless):
    process, numbers = endless
    process.kill()
    assert gone(numbers, 10)


@pytest.fixture
def as_worker(monkeypatch):
    """Makes this process pass for a loader process."""
    return lambda number: monkeypatch.setattr(workers, "get_worker_info", lambda: SimpleNamespace(id=number))


def test_a_slot_is_free_again_when_the_last_tensor_on_it_is_gone(as_worker):
    memory = BatchMemory(2, 1, (3, 3, 32, 32))
    as_worker(1)
    canvases, parked = memory.take(2)
    canvases.fill_(7)
    assert memory.take(1) is None
    arrived = parked.collect()
    assert arrived.shape == (2, 3, 32, 32)
    assert (arrived == 7).all()
    part = arrived[1, 0]
    del arrived
    assert memory.take(1) is None  # a view still shows it
    assert (part == 7).all()
    del part
    assert memory.take(3)[0].shape == (3, 3, 32, 32)


def test_processes_have_slots_of_their_own(as_worker):
    memory = BatchMemory(2, 2, (1, 3, 32, 32))
    taken = []
    for number in (0, 1):
        as_worker(number)
        taken += [memory.take(1)[1].slot for _ in range(2)]
        assert memory.take(1) is None
    assert sorted(taken) == [0, 1, 2, 3]


def test_only_loader_processes_take_slots_and_only_for_what_fits(as_worker):
    memory = BatchMemory(1, 1, (2, 3, 32, 32))
    assert memory.take(1) is None
    as_worker(0)
    assert memory.take(3) is None
    assert torch.equal(memory.take(2)[0], memory._canvases[0])


def test_shared_memory_without_room_is_told():
    with pytest.raises(ConfigError, match="workers"):
        BatchMemory(16, 4, (4096, 3, 4096, 4096))

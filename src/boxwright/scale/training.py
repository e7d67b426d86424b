"""``train`` on a cluster: Ray places the processes and starts them again; the training is the one of torchrun."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from boxwright.config import CONFIG_FILE, load_config
from boxwright.host.places import is_url
from boxwright.inputs.stores import local_place
from boxwright.runtime import ConfigError, ModelSpec
from boxwright.runtime.bundle import RUN_SPEC
from boxwright.training.launch import Task, failure_of

from .cluster import LOCAL, connected, require_processors
from .shared import SharedFolder

__all__ = ["launcher"]

_STARTS = 5  # of the processes, after nodes or processes were lost
_BEGUN = "begun.txt"
_RUN = "run.txt"
_OUTCOME = re.compile(r"(\d+)\.json")
_LISTEN = 0.2  # seconds between two times that the ear is asked
_LAST_WORDS = 5.0  # seconds that they may take


def launcher(
    on: str = LOCAL, tell: Callable[[str], object] = lambda text: None
) -> Callable[[Task, int], dict[str, Any]]:
    """What starts the processes of a training on a cluster; see ``launch`` of ``boxwright.train``.

    Ray gives each process a processor or, where the cluster has them, a GPU. If one is lost, all are started again on
    what is left, up to five times, and go on from the run's last checkpoint. Data and runs must be in folders that all
    machines see, or in remote storage.

    Args:
        on: see ``require_ray``.
        tell: see ``connected``.
    """

    def launch(task: Task, processes: int) -> dict[str, Any]:
        require_processors(on, processes, f"devices = {processes}")
        place = SharedFolder(_place(task))
        place.write(_BEGUN, b"")  # what cannot be written is told at once
        try:
            with connected(on, tell), _heard() as ear:
                _fit(task, place, processes, ear)
                return _outcome(place, on)
        finally:
            place.delete()

    return launch


class _Ear:
    """An actor that the first process talks to."""

    def __init__(self) -> None:
        self._text = ""

    def say(self, text: str) -> None:
        """Called by the process."""
        self._text += text

    def hear(self) -> str:
        """Called by the command: what was said since the last time."""
        text, self._text = self._text, ""
        return text


class _Voice(io.TextIOBase):
    """A file whose lines an ear gets."""

    def __init__(self, ear: Any) -> None:
        super().__init__()
        self._ear = ear
        self._line = ""
        self._said: Any = None

    def write(self, text: str) -> int:
        """Say it when the line is complete."""
        self._line += text
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Say what there is."""
        if self._line:
            self._said, self._line = self._ear.say.remote(self._line), ""

    def wait(self) -> None:
        """Wait until all was heard."""
        import ray

        self.flush()
        if self._said is not None:
            ray.wait([self._said], timeout=_LAST_WORDS)


@contextmanager
def _heard() -> Iterator[Any]:
    """An ear; what it hears is printed, as it comes. What Ray says of itself stays in its logs."""
    import ray

    ear = ray.remote(_Ear).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    ended = threading.Event()

    def follow() -> None:
        last = False
        while not last:
            last = ended.wait(_LISTEN)
            with suppress(ray.exceptions.RayError, ConnectionError):  # its machine was lost; there will be another ear
                sys.stdout.write(ray.get(ear.hear.remote(), timeout=_LAST_WORDS))
                sys.stdout.flush()

    listener = threading.Thread(target=follow, name="progress", daemon=True)
    listener.start()
    try:
        yield ear
    finally:
        ended.set()
        listener.join()


def _place(task: Task) -> str:
    """Where the processes write down how it went: beside the runs, which all machines see."""
    settings = task.settings
    out = _above(settings["run"]) if task.verb == "resume" else settings["out"]
    return f"{out.rstrip('/')}/.ray-{os.getpid()}-{os.urandom(4).hex()}"


def _above(run: str) -> str:
    return run.rstrip("/").rpartition("/")[0] if is_url(run) else str(Path(run).parent)


def _wants_gpus(task: Task) -> bool:
    if task.verb == "resume":
        return load_config(local_place(task.settings["run"]) / CONFIG_FILE).gpus != 0
    return task.settings.get("gpus") != 0


def _fit(task: Task, place: SharedFolder, processes: int, ear: Any) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    there = ray.cluster_resources()
    on_gpus = _wants_gpus(task) and there.get("GPU", 0) > 0
    kind = "GPU" if on_gpus else "CPU"
    if there.get(kind, 0) < processes:
        raise ConfigError(
            f"devices = {processes}: the cluster has {there.get(kind, 0):g} {kind}s.", "Ask for fewer --devices."
        )
    trainer = TorchTrainer(
        _one_of_them,
        # not in a file: a URL among the settings may hold a key
        train_loop_config={"verb": task.verb, "settings": dict(task.settings), "place": place.place, "ear": ear},
        torch_config=TorchConfig(backend="nccl" if on_gpus else "gloo"),
        # fewer are enough, should a machine be lost for good
        scaling_config=ScalingConfig(num_workers=(1, processes) if processes > 1 else 1, use_gpu=on_gpus),
        run_config=RunConfig(name="ray", **_storage(place), failure_config=FailureConfig(max_failures=_STARTS)),
    )
    handler = signal.getsignal(signal.SIGINT)
    try:
        with suppress(ray.train.TrainingFailedError):  # what each process wrote down says more
            trainer.fit()
    except SystemExit:  # how Ray ends a training after Ctrl-C
        raise KeyboardInterrupt from None
    finally:
        with suppress(ValueError):  # not on the main thread, where Ray has set none
            signal.signal(signal.SIGINT, handler)


def _storage(place: SharedFolder) -> dict[str, Any]:
    """Where Ray keeps what it must know to start processes again."""
    if not is_url(place.place):
        return {"storage_path": place.place}
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    return {"storage_path": place.root, "storage_filesystem": PyFileSystem(FSSpecHandler(place.files))}


def _one_of_them(given: Mapping[str, Any]) -> None:
    """What Ray runs in each process; raises if the training failed, so that the others are ended."""
    import torch.distributed as dist

    from boxwright.training.process import perform

    place, rank = SharedFolder(given["place"]), int(os.environ["RANK"])
    os.environ["TORCHELASTIC_RUN_ID"] = "boxwright"  # how a process knows that it is one of several
    task = {"verb": given["verb"], "settings": given["settings"]}
    plan = [_plan(place, task) if rank == 0 else None]
    dist.broadcast_object_list(plan, src=0)
    if plan[0] is None:
        return
    voice = _Voice(given["ear"])
    with redirect_stdout(voice):  # only the first process says anything
        code = perform(lambda outcome: place.write(f"{rank}.json", json.dumps(outcome).encode()), plan[0])
    voice.wait()
    if code == 0:
        return
    size = dist.get_world_size()
    dist.destroy_process_group()  # the others, who wait for this one, notice
    if not _all_ended(place, size):
        raise RuntimeError(f"process {rank} has written down why")


def _all_ended(place: SharedFolder, size: int) -> bool:
    """Whether all processes have written down their end within some seconds, with an error of ours among them.

    It would only come again. Of all other failures Ray is told, and starts the processes once more.
    """
    until = time.monotonic() + _LAST_WORDS
    while True:
        told = [one for one in _told(place).values() if set(one) - {"folder"}]
        if len(told) == size or time.monotonic() > until:
            return len(told) == size and any("error" in one for one in told)
        time.sleep(_LISTEN)


def _plan(place: SharedFolder, task: dict[str, Any]) -> dict[str, Any] | None:
    """What to do at this start: the task, or going on with the run; None if there is nothing left to do.

    The folder of the run is remembered in a file of its own: what the processes write down is new at each start.
    """
    told = _told(place)
    if "interrupted" in told.get(0, {}) or any("error" in one for one in told.values()):
        return None
    folder = next((one["folder"] for one in told.values() if one.get("folder")), None)
    if folder:
        place.write(_RUN, folder.encode())
    for rank in told:
        place.remove(f"{rank}.json")
    run = _run(place)
    there = SharedFolder(run).names() if run is not None else set()
    if task["verb"] != "train" or CONFIG_FILE not in there:
        return task
    assert run is not None, "it has names"
    if RUN_SPEC in there and _is_finished(run):  # its process was lost later
        done = {"folder": run, "interrupted": False, "store": run if is_url(run) else None}
        place.write("0.json", json.dumps(done).encode())
        return None
    return {"verb": "resume", "settings": {"run": run, "data": task["settings"]["data"], "devices": None}}


def _is_finished(run: str) -> bool:
    spec = ModelSpec.from_json(SharedFolder(run).read(RUN_SPEC).decode(), run)
    return bool(spec.provenance.get("finished"))


def _told(place: SharedFolder) -> dict[int, dict[str, Any]]:
    """What the processes wrote down, by rank."""
    ranks = sorted(int(found[1]) for name in place.names() if (found := _OUTCOME.fullmatch(name)))
    return {rank: json.loads(place.read(f"{rank}.json")) for rank in ranks}


def _run(place: SharedFolder) -> str | None:
    """The run that was begun, if one was lost."""
    return place.read(_RUN).decode() if _RUN in place.names() else None


def _outcome(place: SharedFolder, on: str) -> dict[str, Any]:
    """How it went for the first process, which alone writes the run."""
    told = _told(place)
    if "interrupted" in told.get(0, {}):
        return told[0]
    folder = next((one["folder"] for one in told.values() if one.get("folder")), _run(place))
    go_on = f"boxwright train --resume {shlex.quote(folder)} --on {on}" if folder else "the same command"
    lost = ConfigError(
        "Processes that train together were ended from outside, or their machines were lost, more than "
        f"{_STARTS} times; memory may have run out.",
        f"To go on: {go_on}",
    )
    raise failure_of(list(told.values())) or lost

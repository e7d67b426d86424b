"""``train`` on a cluster: Ray places the processes and starts them again; the training is the one of torchrun."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from boxwright.config import CONFIG_FILE, load_config
from boxwright.host.files import write_text
from boxwright.runtime import ConfigError
from boxwright.training.launch import Task, failure_of

from .cluster import LOCAL, connected

__all__ = ["launcher"]

_STARTS = 5  # of the processes, after nodes or processes were lost
_TASK = "task.json"
_RUN = "run.txt"
_SAID = "said.txt"
_LISTEN = 0.2  # seconds between two looks at what was said


def launcher(on: str = LOCAL) -> Callable[[Task, int], dict[str, Any]]:
    """What starts the processes of a training on a cluster; see ``launch`` of ``boxwright.train``.

    Ray gives each process a processor or, where the cluster has them, a GPU. If one is lost, all are started again on
    what is left, up to five times, and go on from the run's last checkpoint. Data and runs must be in folders that all
    machines see.

    Args:
        on: see ``require_ray``.
    """

    def launch(task: Task, processes: int) -> dict[str, Any]:
        place = _place(task)
        place.mkdir(parents=True)
        try:
            write_text(place / _TASK, json.dumps({"verb": task.verb, "settings": dict(task.settings)}))
            with connected(on), _heard(place / _SAID):
                _fit(place, processes, _wants_gpus(task))
            return _outcome(place)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    return launch


@contextmanager
def _heard(said: Path) -> Iterator[None]:
    """Print what the first process says, as it comes; what Ray says of itself stays in its logs."""
    ended = threading.Event()
    said.touch()

    def follow() -> None:
        with said.open(encoding="utf-8", errors="replace") as file:
            while True:
                last = ended.wait(_LISTEN)
                sys.stdout.write(file.read())
                sys.stdout.flush()
                if last:
                    return

    listener = threading.Thread(target=follow, name="progress", daemon=True)
    listener.start()
    try:
        yield
    finally:
        ended.set()
        listener.join()


def _place(task: Task) -> Path:
    """Where the processes write down how it went: beside the runs, which all machines see."""
    settings = task.settings
    out = Path(settings["run"]).resolve().parent if task.verb == "resume" else Path(settings["out"])
    return out / f".ray-{os.getpid()}-{os.urandom(4).hex()}"


def _wants_gpus(task: Task) -> bool:
    if task.verb == "resume":
        return load_config(Path(task.settings["run"]) / CONFIG_FILE).gpus != 0
    return task.settings.get("gpus") != 0


def _fit(place: Path, processes: int, gpus: bool) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    there = ray.cluster_resources()
    on_gpus = gpus and there.get("GPU", 0) > 0
    kind = "GPU" if on_gpus else "CPU"
    if there.get(kind, 0) < processes:
        raise ConfigError(
            f"devices = {processes}: the cluster has {there.get(kind, 0):g} {kind}s.", "Ask for fewer --devices."
        )
    trainer = TorchTrainer(
        _one_of_them,
        train_loop_config={"place": str(place)},
        torch_config=TorchConfig(backend="nccl" if on_gpus else "gloo"),
        # fewer are enough, should a machine be lost for good
        scaling_config=ScalingConfig(num_workers=(1, processes) if processes > 1 else 1, use_gpu=on_gpus),
        run_config=RunConfig(name="ray", storage_path=str(place), failure_config=FailureConfig(max_failures=_STARTS)),
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


def _one_of_them(given: Mapping[str, str]) -> None:
    """What Ray runs in each process; raises if the training failed, so that the others are ended."""
    import torch.distributed as dist

    from boxwright.training.process import perform

    place, rank = Path(given["place"]), int(os.environ["RANK"])
    os.environ["TORCHELASTIC_RUN_ID"] = "boxwright"  # how a process knows that it is one of several
    plan = [_plan(place) if rank == 0 else None]
    dist.broadcast_object_list(plan, src=0)
    if plan[0] is None:
        return
    with (place / _SAID).open("a", buffering=1, encoding="utf-8") as said, redirect_stdout(said):
        code = perform(place, rank, plan[0])  # only the first process says anything
    if code == 0:
        return
    dist.destroy_process_group()  # the others, who wait for this one, notice
    if not any("error" in one for one in _told(place)):  # one of ours would only come again
        raise RuntimeError(f"process {rank} has written down why")


def _plan(place: Path) -> dict[str, Any] | None:
    """What to do at this start: the task, or going on with the run; None if there is nothing left to do.

    The folder of the run is remembered in a file of its own: what the processes write down is new at each start.
    """
    task: dict[str, Any] = json.loads((place / _TASK).read_text())
    told = _told(place)
    if any("error" in one or "interrupted" in one for one in told):
        return None
    folder = next((one["folder"] for one in told if one.get("folder")), None)
    if folder:
        write_text(place / _RUN, folder)
    for file in place.glob("[0-9]*.json"):
        file.unlink()
    run = Path((place / _RUN).read_text()) if (place / _RUN).is_file() else None
    if task["verb"] == "train" and run is not None and (run / CONFIG_FILE).is_file():
        return {"verb": "resume", "settings": {"run": str(run), "data": None, "devices": None}}
    return task


def _told(place: Path) -> list[dict[str, Any]]:
    """What the processes wrote down, by rank."""
    found = []
    for file in sorted(place.glob("[0-9]*.json"), key=lambda one: int(one.stem)):
        with suppress(ValueError):
            found.append(json.loads(file.read_text()))
    return found


def _outcome(place: Path) -> dict[str, Any]:
    told = _told(place)
    done = next((one for one in told if "interrupted" in one), None)
    if done is not None:
        return done
    run = (place / _RUN).read_text() if (place / _RUN).is_file() else None
    folder = next((one["folder"] for one in told if one.get("folder")), run)
    go_on = f"boxwright train --resume {shlex.quote(folder)} --on ray" if folder else "the same command"
    lost = ConfigError(
        "Processes that train together were ended from outside, or their machines were lost, more than "
        f"{_STARTS} times; memory may have run out.",
        f"To go on: {go_on}",
    )
    raise failure_of(told) or lost

"""``tune`` on a cluster: each training is a task of Ray's; sampler, pruner and study stay where they are."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from boxwright.runtime import BoxwrightError, ModelError
from boxwright.search.study import RunTrial, train_trial
from boxwright.training.launch import failure_of

__all__ = ["on_cluster"]

_TRIES = 3  # of a training, after its node or process was lost; it goes on from its last checkpoint


class _Mailbox:
    """What trainings tell after each epoch, and whether they are to end."""

    def __init__(self) -> None:
        self._told: dict[str, asyncio.Queue[tuple[int, int, float]]] = defaultdict(asyncio.Queue)
        self._answers: dict[str, asyncio.Queue[bool]] = defaultdict(asyncio.Queue)

    async def tell(self, trial: str, epoch: int, epochs: int, value: float) -> bool:
        """Called by a training: whether to end."""
        await self._told[trial].put((epoch, epochs, value))
        return await self._answers[trial].get()

    async def hear(self, trial: str) -> tuple[int, int, float]:
        """Called by the search: what a training tells next."""
        return await self._told[trial].get()

    async def answer(self, trial: str, end: bool) -> None:
        """Called by the search: the answer to what it heard."""
        await self._answers[trial].put(end)


def on_cluster(at_once: int | None = None) -> dict[str, Any]:
    """What ``boxwright.tune`` is given to train on the connected cluster; all its machines must see the folders.

    Args:
        at_once: trainings at the same time, one device each; as many as the cluster has by default.

    Returns:
        ``run_trial``, ``run_final`` and ``at_once``.
    """
    import ray

    there = ray.cluster_resources()
    run_trial = _trial_runner(on_gpu=there.get("GPU", 0) > 0)
    room = int(there.get("GPU", 0)) or int(there.get("CPU", 1))
    return {
        "run_trial": run_trial,
        "run_final": lambda settings, folder: run_trial(settings, folder, lambda epoch, epochs, value: False),
        "at_once": at_once or max(room, 1),
    }


def _trial_runner(on_gpu: bool) -> RunTrial:
    import ray

    mailbox = ray.remote(_Mailbox).options(num_cpus=0).remote()
    task = ray.remote(_train).options(num_cpus=1, num_gpus=int(on_gpu), max_retries=_TRIES)

    def run_trial(settings: Mapping[str, Any], folder: Path, report: Callable[[int, int, float], bool]) -> float:
        trial = str(folder.resolve())
        done = task.remote(mailbox, trial, dict(settings))
        heard = mailbox.hear.remote(trial)
        while True:
            ready, _ = ray.wait([done, heard], num_returns=1)
            if heard in ready:
                mailbox.answer.remote(trial, report(*ray.get(heard)))
                heard = mailbox.hear.remote(trial)
                continue
            try:
                best, failed = ray.get(done)
            except ray.exceptions.RayError as error:
                lost = f"it was ended from outside, or its machines were lost, more than {_TRIES} times"
                raise ModelError(f"{trial}: {lost}: {type(error).__name__}.", "Memory may have run out.") from error
            if failed:
                raise failure_of([failed]) or AssertionError("it has written down why")
            return float(best)

    return run_trial


def _train(mailbox: Any, trial: str, settings: Mapping[str, Any]) -> tuple[float, dict[str, str] | None]:
    """In a process of Ray's: the best figure, or why there is none."""
    import ray

    def report(epoch: int, epochs: int, value: float) -> bool:
        return bool(ray.get(mailbox.tell.remote(trial, epoch, epochs, value)))

    try:
        return train_trial(settings, Path(trial), report), None
    except BoxwrightError as error:  # Ray would wrap it in one of its own
        return 0.0, {"error": type(error).__name__, "message": error.message, "remedy": error.remedy or ""}

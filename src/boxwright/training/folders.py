"""Where a run lies, and that it lies there alone."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from boxwright.config import TrainConfig
from boxwright.host.places import name_of
from boxwright.inputs.stores import local_copy, names_in, work_folder
from boxwright.runtime import ConfigError

__all__ = [
    "CHECKPOINTS",
    "RunTaken",
    "brought_run",
    "claimed",
    "fetched_run",
    "free_name",
    "make_folders",
    "run_folder",
    "stored_run",
]

CHECKPOINTS = "checkpoints"
"""The folder of a run that its checkpoints lie in; where it is, a run has begun."""

_CLAIM = ".claim"


class RunTaken(ConfigError):
    """The run folder is another training's."""


def free_name(config: TrainConfig) -> str:
    """A name that no folder in ``out`` has: the data folder's, and a number."""
    stem = re.sub("[^A-Za-z0-9]+", "-", name_of(config.data).removesuffix(".zip")).strip("-") or "run"
    taken = names_in(config.out) if isinstance(config.out, str) else set()
    number = 1
    while f"{stem}-{number}" in taken or _folder(config, f"{stem}-{number}").exists():
        number += 1
    return f"{stem}-{number}"


def run_folder(config: TrainConfig) -> Path:
    """The folder of a new run on this machine; it need not exist yet.

    Raises:
        RunTaken: a run of that name exists.
    """
    assert config.name is not None, "resolved settings have a name"
    run = _folder(config, config.name)
    taken = str(run) if (run / CHECKPOINTS).exists() else None
    if isinstance(config.out, str) and config.name in names_in(config.out):
        taken = stored_run(config)
    if taken is not None:
        raise RunTaken(f"{taken} exists.", f"Choose another --name, or continue it with --resume {shlex.quote(taken)}.")
    return run


def stored_run(config: TrainConfig) -> str | None:
    """The URL of a run, if ``out`` is one."""
    return f"{config.out.rstrip('/')}/{config.name}" if isinstance(config.out, str) else None


def fetched_run(url: str) -> Path:
    """Bring a run of remote storage to where it goes on, on this machine; what was there is replaced.

    Raises:
        BoxwrightError: see ``local_copy``.
        RunTaken: it is being trained here just now.
    """
    copy, run = local_copy(url), work_folder(url)
    if copy.is_file():  # an archive; the caller says so
        return copy
    with claimed(run):
        for one in run.iterdir():
            if one.name != _CLAIM:
                shutil.rmtree(one) if one.is_dir() else one.unlink()
        shutil.copytree(copy, run, dirs_exist_ok=True)
    return run


def brought_run(url: str) -> Path:
    """Bring a run of remote storage to this machine; if several processes train it, each of them calls this.

    The first process, or the only one, goes on writing it, see ``fetched_run``; the others, on whatever machine, only
    read it.
    """
    from lightning.pytorch.utilities import rank_zero_only

    return local_copy(url) if cast(Any, rank_zero_only).rank else fetched_run(url)


def _folder(config: TrainConfig, name: str) -> Path:
    return config.out / name if isinstance(config.out, Path) else work_folder(f"{config.out.rstrip('/')}/{name}")


@contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Keep a run folder for this process alone; it is made if it is missing, and removed if it is empty at the end.

    The system frees what a process has claimed when the process ends, however it ends.

    Raises:
        ConfigError: the folder cannot be made or written to.
        RunTaken: another process has it.
    """
    new_parents = [one for one in run.parents if not one.exists()]
    _make(run)
    lock = FileLock(run / _CLAIM)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        remedy = "Choose another --name, or wait for its end."
        raise RunTaken(f"{run}: another training writes to this folder just now.", remedy) from None
    except OSError as error:
        raise ConfigError(f"{run}: cannot be written to: {error.strerror}.", "Make it writable.") from error
    try:
        yield
    finally:
        (run / _CLAIM).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # not empty, as a rule
            for one in (run, *new_parents):
                one.rmdir()


def make_folders(run: Path, config: TrainConfig) -> None:
    """Make every folder that will be written to, before hours are spent.

    Raises:
        ConfigError: a folder cannot be made.
    """
    for folder in filter(None, (run, config.checkpoint_out, config.state_dict_out)):
        _make(folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}.", "Choose another folder.") from error

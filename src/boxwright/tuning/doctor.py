"""``doctor``: what is installed, what runs here and how fast, what is missing and how to get it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from boxwright.host.dependencies import versions
from boxwright.host.files import cache_folder
from boxwright.host.machine import Machine, describe_machine, free_memory
from boxwright.runtime import BACKENDS

__all__ = ["BackendFound", "Diagnosis", "Extra", "FolderFound", "examine"]

_NOT_FOR_USERS = {"dev", "docs"}
_PROBE_SECONDS = 120.0
_GIB = 2**30
_LITTLE_ROOM = 2 * _GIB  # a run of a large detector with its checkpoints
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+).*;.*extra == ['\"](?P<extra>[\w-]+)['\"]")


@dataclass(frozen=True)
class Extra:
    """A part of boxwright that is installed by name.

    Attributes:
        name: as in ``boxwright[name]``.
        installed: version by package, of those that are there.
        missing: packages that are not.
    """

    name: str
    installed: dict[str, str]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class BackendFound:
    """What can run a model.

    Attributes:
        name: of the backend.
        version: of its package; None if it is not installed.
        gflops: 10^9 operations per second of a matrix product in fp32 on the processor; None if it failed.
        load_s: seconds until it was ready.
        problem: why it does not run here; None if it does.
        remedy: what to type.
    """

    name: str
    version: str | None
    gflops: float | None = None
    load_s: float | None = None
    problem: str | None = None
    remedy: str | None = None


@dataclass(frozen=True)
class FolderFound:
    """A folder that boxwright uses.

    Attributes:
        use: what for.
        path: where; None if there is no home folder.
        free: bytes on its disk; None if unknown.
        problem: why it cannot be used; None if it can.
    """

    use: str
    path: Path | None
    free: int | None
    problem: str | None


@dataclass(frozen=True)
class Diagnosis:
    """All that ``doctor`` found.

    Attributes:
        boxwright: its version.
        machine: the processor's description.
        free_memory: bytes that can still be taken; None if unknown.
        gpus: names of the GPUs that PyTorch can use.
        extras: in the order of ``pyproject.toml``.
        backends: in the registry's order, without variants of one package.
        folders: this one, and the cache.
        advice: sentences, each with what to do; empty if all is well.
    """

    boxwright: str
    machine: Machine
    free_memory: int | None
    gpus: tuple[str, ...]
    extras: tuple[Extra, ...]
    backends: tuple[BackendFound, ...]
    folders: tuple[FolderFound, ...]
    advice: tuple[str, ...]


def examine(advance: Callable[[str, int, int], object] | None = None) -> Diagnosis:
    """Look at this machine; nothing is changed, and nothing is asked of the network.

    Args:
        advance: called with (what is being done, done, in all).
    """
    kinds = {kind.package: name for name, kind in reversed(BACKENDS.items())}  # torch-compile is torch
    names = [name for name in BACKENDS if name in kinds.values()]
    found = []
    for done, name in enumerate(names):
        if advance:
            advance(f"try {name}", done, len(names))
        found.append(_backend(name))
    extras = tuple(_extras())
    gpus, seen = _gpus(), _nvidia_gpus()
    folders = (_folder("runs and archives", Path.cwd()), _folder("cache", cache_folder()))
    advice = tuple(_advice(tuple(found), extras, gpus, seen, folders))
    machine = describe_machine()
    version = machine.versions["boxwright"]
    return Diagnosis(version, machine, free_memory(), gpus, extras, tuple(found), folders, advice)


def _backend(name: str) -> BackendFound:
    kind = BACKENDS[name]
    version = versions([kind.package]).get(kind.package)
    if find_spec(kind.package) is None:
        return BackendFound(name, None, problem="not installed", remedy=f"pip install '{kind.extra}'")
    line = [sys.executable, "-P", "-m", "boxwright.tuning.probe", name]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=_PROBE_SECONDS, start_new_session=True)
    except subprocess.TimeoutExpired:
        return BackendFound(name, version, problem=f"it took more than {_PROBE_SECONDS:.0f} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        return BackendFound(name, version, problem=last, remedy=f"pip install --force-reinstall {kind.package}")
    figures = json.loads(done.stdout.splitlines()[-1])
    return BackendFound(name, version, figures["gflops"], figures["load_s"])


def _extras() -> Iterator[Extra]:
    """As the installed package names them."""
    packages: dict[str, list[str]] = {}
    for line in metadata.requires("boxwright") or ():
        if (found := _REQUIREMENT.fullmatch(line.strip())) and found["extra"] not in _NOT_FOR_USERS:
            packages.setdefault(found["extra"], []).append(found["name"])
    for name, needed in packages.items():
        installed = versions(needed)
        yield Extra(name, installed, tuple(one for one in needed if one not in installed))


def _gpus() -> tuple[str, ...]:
    """Names of the GPUs that PyTorch can use; asked in a process of its own, as CUDA keeps memory once it is asked."""
    if find_spec("torch") is None:
        return ()
    code = "import torch; print(*(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())), sep='\\n')"
    return _lines([sys.executable, "-P", "-W", "ignore", "-c", code])


def _nvidia_gpus() -> tuple[str, ...]:
    """Names of the GPUs that the driver knows."""
    tool = shutil.which("nvidia-smi")
    return _lines([tool, "--query-gpu=name", "--format=csv,noheader"]) if tool else ()


def _lines(command: list[str]) -> tuple[str, ...]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, start_new_session=True)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip()) if not done.returncode else ()


def _folder(use: str, path: Path | None) -> FolderFound:
    if path is None:
        return FolderFound(use, None, None, "there is no home folder; XDG_CACHE_HOME may name another")
    there = next((one for one in (path, *path.parents) if one.exists()), path)
    problem = None if there.is_dir() and os.access(there, os.W_OK | os.X_OK) else "cannot be written to"
    try:
        return FolderFound(use, path, shutil.disk_usage(there).free, problem)
    except OSError as error:
        return FolderFound(use, path, None, problem or f"{error.strerror}")


def _advice(
    backends: tuple[BackendFound, ...],
    extras: tuple[Extra, ...],
    gpus: tuple[str, ...],
    seen: tuple[str, ...],
    folders: tuple[FolderFound, ...],
) -> Iterator[str]:
    train = next((one for one in extras if one.name == "train"), None)
    if train is None or train.missing:
        yield "Without boxwright[train] models can be served and measured, not trained: pip install 'boxwright[train]'"
    elif seen and not gpus:
        yield f"The driver knows {', '.join(seen)}, but this PyTorch cannot use it: install PyTorch's build for CUDA."
    elif not gpus:
        yield "No GPU: boxwright train chooses a small network and says how long it takes; --minutes N ends in time."
    if not any(one.problem is None for one in backends):
        yield "Nothing here can run a model: pip install --force-reinstall onnxruntime"
    for one in backends:
        if one.problem is not None and one.version is not None:
            yield f"{one.name} {one.version} does not run: {one.problem}. {one.remedy or ''}".rstrip()
    for folder in folders:
        if folder.problem:
            yield f"The folder for {folder.use}, {folder.path}: {folder.problem}."
        elif folder.free is not None and folder.free < _LITTLE_ROOM:
            yield f"The disk of {folder.path} has {folder.free / _GIB:.1f} GiB left; a run may need more."

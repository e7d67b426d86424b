"""This machine, as far as it decides how fast a model runs."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .dependencies import versions

__all__ = ["Machine", "cores", "describe_machine", "free_memory", "has_bf16"]

# for which the runtimes have kernels of their own
_INSTRUCTION_SETS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),  # ARM
)
_PACKAGES = ("boxwright", "numpy", "onnxruntime", "openvino", "torch", "torchvision")
_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """A machine, without its name or its users'.

    Attributes:
        processor: its model.
        cores: how many this process may use.
        instruction_sets: those that matter to a network, in the kernel's names; empty where the system does not say.
        memory_bytes: of the machine; None where the system does not say.
        system: operating system, its release, and the architecture.
        python: version.
        versions: of the packages that run a model, as installed.
        gpu: its name; None for the processor.
    """

    processor: str
    cores: int
    instruction_sets: tuple[str, ...]
    memory_bytes: int | None
    system: str
    python: str
    versions: Mapping[str, str]
    gpu: str | None = None

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when what decides the speed does."""
        parts = [self.processor, self.cores, sorted(self.instruction_sets), sorted(self.versions.items()), self.gpu]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def to_document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "fingerprint": self.fingerprint}


def describe_machine(device: str = "cpu", proc: Path = _PROC) -> Machine:
    """This machine, for models that run on ``device``; torch is imported for the name of a GPU alone.

    Args:
        device: a torch device.
        proc: where Linux describes itself.
    """
    facts = _cpuinfo(proc)
    return Machine(
        processor=_processor(facts),
        cores=cores(proc),
        instruction_sets=_instruction_sets(facts),
        memory_bytes=_memory_bytes(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=versions(_PACKAGES),
        gpu=None if device == "cpu" else _gpu(device),
    )


def cores(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int:
    """Processors this process may use: by affinity and, in a container, by quota, rounded up.

    Args:
        proc: where Linux describes processes.
        cgroup: where it keeps their quotas, version 1 or 2.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [math.ceil(quota) for quota in _quotas(proc, cgroup)]
    return max(1, min([allowed, *quotas]))


def free_memory(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int | None:
    """Bytes that this process can still take: of the machine's and, in a container, of its limit; None if unknown.

    Args:
        proc: where Linux describes processes.
        cgroup: where it keeps their limits, version 1 or 2.
    """
    known = re.search(r"^MemAvailable:\s+(\d+) kB", _text(proc / "meminfo"), re.MULTILINE)
    left = [int(known[1]) * 1024] if known else []
    for folder in _groups(proc, cgroup, "memory"):
        limit = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")
        used = _text(folder / "memory.current") or _text(folder / "memory.usage_in_bytes")
        if limit.strip().isdigit() and used.strip().isdigit():  # a limit may be "max"
            left.append(max(int(limit) - int(used), 0))
    return min(left) if left else None


def _quotas(proc: Path, cgroup: Path) -> Iterator[float]:
    """Processors by each quota above this process; a lower one further up counts as well."""
    for folder in _groups(proc, cgroup, "cpu"):
        yield from _quota(folder)


def _groups(proc: Path, cgroup: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control groups, up to the root."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroup / controllers if controllers else cgroup
        inside = PurePosixPath(group.lstrip("/"))
        yield from {root, *(root / part for part in (inside, *inside.parents))}


def _quota(folder: Path) -> Iterator[float]:
    whole = _text(folder / "cpu.max") or _text(folder / "cpu.cfs_quota_us") + " " + _text(folder / "cpu.cfs_period_us")
    if numbers := re.fullmatch(r"(\d+)\s+(\d+)\s*", whole):  # else "max", -1, or nothing there
        quota, period = map(int, numbers.groups())
        if quota and period:
            yield quota / period


def _cpuinfo(proc: Path) -> dict[str, str]:
    """What Linux says of the first processor."""
    first = _text(proc / "cpuinfo").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _processor(facts: Mapping[str, str]) -> str:
    if "model name" in facts:
        return facts["model name"]
    if "CPU part" in facts:  # ARM gives numbers alone
        return f"ARM implementer {facts.get('CPU implementer', '?')} part {facts['CPU part']}"
    return platform.processor() or platform.machine()


def _instruction_sets(facts: Mapping[str, str]) -> tuple[str, ...]:
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return tuple(name for name in _INSTRUCTION_SETS if name in flags)


def has_bf16(proc: Path = _PROC) -> bool:
    """Whether the processor multiplies in bf16.

    Args:
        proc: where Linux describes itself.
    """
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(_instruction_sets(_cpuinfo(proc)))


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows, or a system without these names
        return None


def _gpu(device: str) -> str:
    try:
        import torch

        return torch.cuda.get_device_name(device)
    except Exception:  # no torch, no such device: opening the model says so better
        return device


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

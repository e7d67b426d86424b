"""TorchServe's metrics by its own names, for dashboards and tests that were made for it.

Its text has a comma after the last label, and counters without ``_total``; the client library writes neither.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SystemFigures", "Totals", "torchserve_text"]

_MEGABYTE = 1024**2
_GIGABYTE = 1024**3
_PROC = Path("/proc")

_ByModel = Mapping[tuple[str, str], tuple[Mapping[str, float], int, Mapping[str, float]]]
_Samples = list[tuple[dict[str, str], float]]


@dataclass(frozen=True)
class Totals:
    """What is known when metrics are asked for.

    Attributes:
        requests: answers by class of their status: ``Requests2XX`` and so on.
        models: by name and version, the default one as ``default``: seconds by stage of all answered pictures, how
            many these are, and seconds by stage of the newest.
    """

    requests: Mapping[str, int]
    models: _ByModel


class SystemFigures:
    """Load of the machine; what its system does not say is left out."""

    def __init__(self) -> None:
        self._before = _processor_times()

    def now(self) -> dict[str, tuple[float, str]]:
        """Figure and unit by TorchServe's name. The processors' load is that since the last call."""
        return {**self._processors(), **_memory(), **_disk()}

    def _processors(self) -> dict[str, tuple[float, str]]:
        before, self._before = self._before, _processor_times()
        if before is None or self._before is None:
            return {}
        idle, total = (after - earlier for after, earlier in zip(self._before, before, strict=True))
        return {"CPUUtilization": (100.0 * (1 - idle / total) if total else 0.0, "Percent")}


def _processor_times() -> tuple[int, int] | None:
    """Idle and all time of all processors, in ticks."""
    try:
        ticks = [int(one) for one in (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return (ticks[3] + ticks[4], sum(ticks)) if len(ticks) > 4 else None


def _memory() -> dict[str, tuple[float, str]]:
    try:
        lines = (line.split() for line in (_PROC / "meminfo").read_text().splitlines())
        kilobytes = {line[0].rstrip(":"): int(line[1]) for line in lines}
        total, free = kilobytes["MemTotal"] * 1024, kilobytes["MemAvailable"] * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return {}
    return {
        "MemoryUsed": ((total - free) / _MEGABYTE, "Megabytes"),
        "MemoryAvailable": (free / _MEGABYTE, "Megabytes"),
        "MemoryUtilization": (100.0 * (total - free) / total, "Percent"),
    }


def _disk() -> dict[str, tuple[float, str]]:
    try:
        usage = shutil.disk_usage(Path.cwd())
    except OSError:
        return {}
    return {
        "DiskUsage": (usage.used / _GIGABYTE, "Gigabytes"),
        "DiskAvailable": (usage.free / _GIGABYTE, "Gigabytes"),
        "DiskUtilization": (100.0 * usage.used / usage.total if usage.total else 0.0, "Percent"),
    }


def torchserve_text(totals: Totals, system: SystemFigures, names: frozenset[str] = frozenset()) -> str:
    """TorchServe's metrics, in Prometheus' text format as its Java client writes it.

    Args:
        totals: what happened so far.
        system: the machine.
        names: only these; all if empty.
    """
    host = socket.gethostname()
    families = (*_requests(totals, host), *_counters(totals, host), *_gauges(totals, host), *_system(system, host))
    return "".join(_family(*family) for family in families if (not names or family[0] in names) and family[3])


def _family(name: str, kind: str, unit: str, samples: _Samples) -> str:
    lines = [f"# HELP {name} As TorchServe has it, in {unit}.", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = "".join(f'{label}="{_escaped(text)}",' for label, text in labels.items())
        lines.append(f"{name}{{{inside}}} {float(value)!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _requests(totals: Totals, host: str) -> Iterator[tuple[str, str, str, _Samples]]:
    for name in ("Requests2XX", "Requests4XX", "Requests5XX"):
        yield name, "counter", "Count", [({"Level": "Host", "Hostname": host}, totals.requests.get(name, 0))]


def _counters(totals: Totals, host: str) -> Iterator[tuple[str, str, str, _Samples]]:
    pictures: _Samples = []
    latency: _Samples = []
    queue: _Samples = []
    for (model, version), (seconds, count, _) in totals.models.items():
        labels = {"model_name": model, "model_version": version, "hostname": host}
        pictures.append((labels, count))
        latency.append((labels, 1e6 * _total(seconds)))
        queue.append((labels, 1e6 * seconds["queue"]))
    yield "ts_inference_requests_total", "counter", "Count", pictures
    yield "ts_inference_latency_microseconds", "counter", "Microseconds", latency
    yield "ts_queue_latency_microseconds", "counter", "Microseconds", queue


def _total(seconds: Mapping[str, float]) -> float:
    """From the moment a picture is accepted to its detections."""
    return seconds["decode"] + seconds["queue"] + seconds["network"]


def _gauges(totals: Totals, host: str) -> Iterator[tuple[str, str, str, _Samples]]:
    """Of the newest picture of each model. A handler decodes and computes, so its time is both."""
    newest = {model: last for (model, _), (_, _, last) in totals.models.items() if last}
    if newest:
        at_host = {"Level": "Host", "Hostname": host}
        last = next(reversed(newest.values()))
        yield "QueueTime", "gauge", "Milliseconds", [(at_host, 1e3 * last["queue"])]
        yield "WorkerThreadTime", "gauge", "Milliseconds", [(at_host, 1e3 * last["decode"])]
    for name in ("HandlerTime", "PredictionTime"):
        yield (
            name,
            "gauge",
            "Milliseconds",
            [
                ({"ModelName": model, "Level": "Model", "Hostname": host}, 1e3 * (last["decode"] + last["network"]))
                for model, last in newest.items()
            ],
        )


def _system(system: SystemFigures, host: str) -> Iterator[tuple[str, str, str, _Samples]]:
    for name, (value, unit) in system.now().items():
        yield name, "gauge", unit, [({"Level": "Host", "Hostname": host}, value)]

"""Which of several executions is fastest: timed once per archive and machine, in processes that end.

What was found lies in the user's cache folder, as ``NAME-DIGEST.warmup.json`` with an entry per machine, by its
fingerprint. That changes with the processor, the cores and the versions of what runs a model.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boxwright.host.files import cache_folder, write_text
from boxwright.host.machine import Machine
from boxwright.runtime import BACKENDS, PRECISIONS, Bundle, Execution

from .asking import ask
from .store import archive_digest

__all__ = ["WarmUp", "recalled", "warm_up"]

FORMAT = 1

_TIMEOUT_SECONDS = 600.0  # of one execution; torch.compile is never among several
_MEASURED = {"seconds": 0.3, "least_calls": 1, "uncounted_calls": 1}  # the start of a server waits for these calls
_MOST = 1e9  # milliseconds, threads, sessions: beyond it nothing was measured


@dataclass(frozen=True)
class WarmUp:
    """How several executions did.

    Attributes:
        milliseconds: least per picture, all sessions busy; of those that ran.
        failed: why, of the others.
        notes: sentences about what is remembered.
        day: when it was measured, ISO 8601, if that was before this call; else None.
        path: where it is remembered; None where it is not.
    """

    milliseconds: Mapping[Execution, float]
    failed: Mapping[Execution, str]
    notes: tuple[str, ...] = ()
    day: str | None = None
    path: Path | None = None


def warm_up(archive: Path, bundle: Bundle, executions: Sequence[Execution], machine: Machine) -> WarmUp:
    """Time executions, or recall what was measured of all of them on this machine.

    Args:
        archive: path of the archive; the processes open it again.
        bundle: the archive, opened.
        executions: settled, all on one device.
        machine: this one.

    Raises:
        OSError: the system starts no process.
    """
    digest = archive_digest(bundle)
    path = _place(archive, digest)
    machines, notes = _read(path, digest)
    records = machines.get(machine.fingerprint, {}).get("timings", [])
    known = {_execution_of(record, executions[0].device): record for record in records}
    if path is not None and all(one in known for one in executions):
        day = machines[machine.fingerprint]["measured"][:10]
        return WarmUp(*_sorted_out({one: known[one] for one in executions}), notes, day, path)
    new = {one: _time(archive, one) for one in executions}
    milliseconds, failed = _sorted_out(new)
    if not milliseconds:
        return WarmUp(milliseconds, failed, notes)
    kept = [_record(one, found) for one, found in new.items()]
    kept += [record for one, record in known.items() if one not in new]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    machines[machine.fingerprint] = {"measured": now, "timings": kept}
    problem = _write(path, {"format": FORMAT, "archive": digest, "machines": machines})
    if problem is not None:
        return WarmUp(milliseconds, failed, (*notes, problem))
    return WarmUp(milliseconds, failed, notes, path=path)


def recalled(archive: Path, bundle: Bundle, machine: Machine) -> dict[Execution, float]:
    """Milliseconds per picture of what was timed of this archive on this machine; nothing is timed now.

    Args:
        archive: path of the archive.
        bundle: the archive, opened.
        machine: this one; its device is the processor.
    """
    digest = archive_digest(bundle)
    machines, _ = _read(_place(archive, digest), digest)
    records = machines.get(machine.fingerprint, {}).get("timings", [])
    return _sorted_out({_execution_of(record, "cpu"): record for record in records})[0]


def _place(archive: Path, digest: str) -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / f"{archive.stem}-{digest[:16]}.warmup.json"


def _time(archive: Path, execution: Execution) -> dict[str, Any]:
    """``ms``, or ``reason``."""
    (answer,) = ask(execution, {"archive": str(archive), **_MEASURED}, (1,), _TIMEOUT_SECONDS)
    if "error" in answer:
        return {"reason": answer["error"]}
    return {"ms": round(min(answer["latencies_ms"]), 3)}


def _sorted_out(found: Mapping[Execution, Mapping[str, Any]]) -> tuple[dict[Execution, float], dict[Execution, str]]:
    milliseconds = {one: record["ms"] for one, record in found.items() if "ms" in record}
    failed = {one: record["reason"] for one, record in found.items() if "ms" not in record}
    return milliseconds, failed


def _record(execution: Execution, found: Mapping[str, Any]) -> dict[str, Any]:
    named = asdict(execution)
    del named["device"]  # in the fingerprint
    return {**named, **found}


def _execution_of(record: Mapping[str, Any], device: str) -> Execution:
    return Execution(record["backend"], record["precision"], device, record["threads"], record["sessions"])


def _write(path: Path | None, document: Mapping[str, Any]) -> str | None:
    """None, or why it is not remembered."""
    lost = "The warm-up is not remembered, and every start measures again"
    if path is None:
        return f"{lost}: there is no home folder; XDG_CACHE_HOME may name another."
    try:
        write_text(path, json.dumps(document, indent=2) + "\n")
    except OSError as error:
        return f"{lost}: {path} cannot be written: {error.strerror or error}."
    return None


def _read(path: Path | None, digest: str) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Entries by fingerprint, and a note on a file that cannot be used."""
    if path is None:
        return {}, ()
    try:
        return _entries(path, digest), ()
    except FileNotFoundError:
        return {}, ()
    except (OSError, ValueError, RecursionError) as error:
        reason = f"it cannot be read: {error.strerror}" if isinstance(error, OSError) else "it is not a warm-up's"
        return {}, (f"{path} is ignored: {reason}.",)


def _entries(path: Path, digest: str) -> dict[str, dict[str, Any]]:
    """Entries of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else.
        RecursionError: so deeply nested that it cannot be this.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or (document.get("format"), document.get("archive")) != (FORMAT, digest):
        raise ValueError("of another version, or of another archive")
    machines = document.get("machines")
    if not isinstance(machines, dict) or not all(map(_is_entry, machines.values())):
        raise ValueError("an entry is malformed")
    return machines


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("measured"), str):
        return False
    datetime.date.fromisoformat(entry["measured"][:10])  # its ValueError says as much as False
    timings = entry.get("timings")
    return isinstance(timings, list) and all(map(_is_record, timings))


def _is_record(record: object) -> bool:
    if not isinstance(record, dict):
        return False
    named = record.get("backend") in BACKENDS and record.get("precision") in PRECISIONS
    counted = all(_is_count(record.get(key, "missing")) for key in ("threads", "sessions"))
    ms = record.get("ms")
    timed = isinstance(ms, (int, float)) and not isinstance(ms, bool) and 0 < ms < _MOST
    return named and counted and (timed or ("ms" not in record and isinstance(record.get("reason"), str)))


def _is_count(value: object) -> bool:
    return value is None or (type(value) is int and 0 < value < _MOST)

"""What ``boxwright bench`` measured, kept beside the archive for ``boxwright serve``.

``NAME.bench.json`` holds one entry per machine, by its fingerprint. An entry is of one archive, by the SHA-256
of its members: nothing in it is used for a changed archive, or on another machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.host.files import cache_folder, write_text
from boxwright.host.machine import Machine
from boxwright.runtime import BACKENDS, PRECISIONS, Bundle, Execution

__all__ = [
    "MAX_SESSIONS",
    "Stored",
    "archive_digest",
    "bench_file",
    "best_run",
    "execution_of",
    "read_entry",
    "runs_on_such",
    "write_entry",
]

FORMAT = 1
MAX_SESSIONS = 16
"""Largest number of sessions that is tried: each holds a network of its own."""

TIE = 0.05
"""Share of the most pictures per second within which the lower latency decides."""

_MOST = 1e9  # a figure beyond it, or one that is not a number, was not measured


@dataclass(frozen=True)
class Stored:
    """What was measured of an archive on a machine.

    Attributes:
        runs: as ``boxwright bench --json`` writes them.
        path: the file they are from; None without runs.
        notes: a sentence for each file that could not be used.
    """

    runs: tuple[Mapping[str, Any], ...] = ()
    path: Path | None = None
    notes: tuple[str, ...] = ()


def archive_digest(bundle: Bundle) -> str:
    """SHA-256 (hex) of an archive's members and their names."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(bundle.members.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def bench_file(archive: Path) -> Path:
    """Where an archive's measurements lie."""
    named = archive.absolute()  # "." has no name
    return named.with_name(f"{named.stem}.bench.json")


def read_entry(archive: Path, bundle: Bundle, machine: Machine) -> Stored:
    """What was measured of this archive on this machine; a file that cannot be used becomes a note.

    Args:
        archive: path of the archive; of its neighbour and the cache folder's file, what was measured last counts.
        bundle: the archive opened.
        machine: this one.
    """
    digest = archive_digest(bundle)
    notes, entries = [], []
    for path in _places(archive, digest):
        try:
            entry = _entries(path, digest).get(machine.fingerprint)
        except ValueError as error:
            notes.append(f"{path} is ignored: {error}.")
            continue
        if entry is not None:
            entries.append((entry["measured"], path, entry["runs"]))
    if not entries:
        return Stored(notes=tuple(notes))
    _, path, runs = max(entries, key=lambda one: one[0])
    return Stored(tuple(runs), path, tuple(notes))


def runs_on_such(archive: Path, bundle: Bundle, machine: Machine) -> list[Sequence[Mapping[str, Any]]]:
    """What was measured of this archive where other versions are installed, on the same kind of machine.

    Args:
        archive: path of the archive.
        bundle: the archive opened.
        machine: this one; processor, cores and instruction sets have to be equal.

    Returns:
        The runs of each such entry. Files that cannot be used are left out: ``read_entry`` tells of them.
    """
    digest = archive_digest(bundle)
    own = (machine.processor, machine.cores, list(machine.instruction_sets))
    found = []
    for path in _places(archive, digest):
        for entry in _others(path, digest).values():
            other = entry.get("machine")
            if isinstance(other, dict) and own == tuple(map(other.get, ("processor", "cores", "instruction_sets"))):
                found.append(entry["runs"])
    return found


def write_entry(
    archive: Path,
    bundle: Bundle,
    machine: Machine,
    runs: Iterable[Mapping[str, Any]],
    when: str,
    tried: Iterable[Mapping[str, Any]] = (),
) -> Stored:
    """Keep what was measured, beside the archive or, where nothing can be written, in the user's cache folder.

    Earlier runs of variants that were not tried now stay; entries of other archives go.

    Args:
        archive: path of the archive.
        bundle: the archive opened.
        machine: this one.
        runs: as ``boxwright bench --json`` writes them.
        when: date and time in UTC, ISO 8601.
        tried: what could not be measured, with the same keys.

    Returns:
        All that is kept for this machine; ``path`` is None if it could be written nowhere.
    """
    digest = archive_digest(bundle)
    earlier = read_entry(archive, bundle, machine)
    new = [dict(run) for run in runs]
    measured = {_variant(run) for run in (*new, *tried)}
    kept = (*new, *(run for run in earlier.runs if _variant(run) not in measured))
    entry = {"archive": digest, "measured": when, "machine": machine.to_document(), "runs": list(kept)}
    notes = list(earlier.notes)
    for path in _places(archive, digest):
        try:
            document = {"format": FORMAT, "machines": {**_others(path, digest), machine.fingerprint: entry}}
            write_text(path, json.dumps(document, indent=2) + "\n")
        except OSError as error:
            notes.append(f"{path} cannot be written: {error.strerror}.")
            continue
        return Stored(kept, path, tuple(notes))
    return Stored(kept, None, tuple(notes))


def best_run(runs: Iterable[Mapping[str, Any]], usable: Sequence[Execution]) -> Mapping[str, Any] | None:
    """The run that answers the most single pictures per second; within 5 %, the one with the lower median latency.

    Args:
        runs: as ``boxwright bench --json`` writes them.
        usable: what may run here; others are passed over, and so are batches of more than one picture.
    """
    variants = {one.variant for one in usable}
    single = [run for run in runs if run["batch"] == 1 and execution_of(run).variant in variants]
    if not single:
        return None
    most = max(run["images_per_s"] for run in single)
    return min(
        (run for run in single if run["images_per_s"] >= (1 - TIE) * most), key=lambda run: run["latency_ms_p50"]
    )


def execution_of(run: Mapping[str, Any], device: str = "cpu") -> Execution:
    """How a measured run was made, on a torch device."""
    return Execution(run["backend"], run["precision"], device, run["threads"], run["sessions"])


def _variant(run: Mapping[str, Any]) -> tuple[str, str]:
    return run["backend"], run["precision"]


def _places(archive: Path, digest: str) -> tuple[Path, ...]:
    """Beside the archive, and in the user's cache folder, if there is one."""
    beside = bench_file(archive)
    cache = cache_folder()
    return (beside,) if cache is None else (beside, cache / f"{archive.stem}-{digest[:16]}.bench.json")


def _others(path: Path, digest: str) -> dict[str, dict[str, Any]]:
    """The entries of a file; none where it cannot be used."""
    try:
        return _entries(path, digest)
    except ValueError:
        return {}


def _entries(path: Path, digest: str) -> dict[str, dict[str, Any]]:
    """Entries of one archive by fingerprint.

    Raises:
        ValueError: the file cannot be read, or holds something else; says what.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError("boxwright bench of this version did not write it")
    machines = document.get("machines")
    if not isinstance(machines, dict) or not all(map(_is_entry, machines.values())):
        raise ValueError("an entry of it is malformed")
    return {name: entry for name, entry in machines.items() if entry["archive"] == digest}


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("archive", "measured")):
        return False
    runs = entry.get("runs")
    return isinstance(runs, list) and all(map(_is_run, runs))


def _is_run(run: object) -> bool:
    """Whether ``serve`` can make use of it."""
    if not isinstance(run, dict):
        return False
    most = {"threads": _MOST, "sessions": MAX_SESSIONS, "batch": _MOST}
    counted = all(type(run.get(key)) is int and 0 < run[key] <= limit for key, limit in most.items())
    figures = ("images_per_s", "latency_ms_p50")
    measured = all(type(run.get(key)) in (int, float) and 0 < run[key] < _MOST for key in figures)
    return counted and measured and run.get("backend") in BACKENDS and run.get("precision") in PRECISIONS

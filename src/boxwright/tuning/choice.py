"""Which way to run a model on this machine: as ``boxwright bench`` measured it, or by a short warm-up."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boxwright.host.machine import cores, describe_machine, has_bf16
from boxwright.runtime import BACKENDS, ArchiveError, Bundle, Execution
from boxwright.runtime.backends import candidates, usable_executions
from boxwright.runtime.backends.graph import GraphBackend
from boxwright.runtime.backends.torch import CompiledTorchBackend
from boxwright.runtime.execution import AUTO

from .faster import note_on_openvino
from .store import best_run, execution_of, read_entry
from .warmup import WarmUp, recalled, warm_up

__all__ = ["Choice", "choose_execution", "stored_execution"]

_MOST_SESSIONS = 4  # of PyTorch without a word: each holds the weights once more
_HARDLY_LATER = 1.25  # times the milliseconds of one picture, all sessions busy, that several sessions may cost
_MANY = 100  # pictures from which on a runtime that takes half a second longer to be ready has made up for it
_WORTH_SESSIONS = 1.15  # times as many answers from which on they are worth their memory


@dataclass(frozen=True)
class Choice:
    """How a model is going to run.

    Attributes:
        execution: settled.
        reason: why this one, a clause for a person.
        notes: sentences for a person: files that could not be used, executions that failed, what would be faster.
    """

    execution: Execution
    reason: str
    notes: tuple[str, ...] = ()


def choose_execution(archive: Path, bundle: Bundle, asked: Execution) -> Choice:
    """Settle what was asked for: by what ``boxwright bench`` stored beside the archive, else by a warm-up.

    Nothing is opened in this process. What has to be timed is timed in processes that end, once per archive and
    machine; see ``warmup``.

    Args:
        archive: path of the archive; its measurements lie beside it.
        bundle: the archive, opened.
        asked: what is settled already.

    Raises:
        ConfigError: see ``backends.candidates``.
        MissingDependency: see ``backends.candidates``.
        ArchiveError: several executions were timed, and all failed.
    """
    choice = _chosen(archive, bundle, asked)
    if (asked.backend, asked.precision) != (AUTO, AUTO):
        return choice
    hint = note_on_openvino(archive, bundle, choice.execution, describe_machine(asked.device))
    return choice if hint is None else replace(choice, notes=(*choice.notes, hint))


def _chosen(archive: Path, bundle: Bundle, asked: Execution) -> Choice:
    best, notes = _stored_best(archive, bundle, asked)
    if best is not None:
        of = "" if asked == Execution(device=asked.device) else ", the best of what was asked for"
        reason = f"stored by boxwright bench{of}, {best['images_per_s']:.1f} pictures/s"
        return Choice(execution_of(best, asked.device), reason, notes)
    sessions = asked.sessions or 1
    fair = replace(asked, sessions=sessions, threads=asked.threads or _fair_share(sessions))
    choice = _settled(archive, bundle, candidates(bundle, fair), asked)
    return replace(choice, notes=(*notes, *choice.notes))


def stored_execution(archive: Path, bundle: Bundle, asked: Execution, pictures: int = 1) -> Execution | None:
    """The best execution of what was asked for, by what ``boxwright bench`` or a server's warm-up measured here before.

    Nothing is timed. If PyTorch was not asked for by name and ``bench`` did not find it best, it is not taken: to
    load it costs more than it saves on a few pictures.

    Args:
        archive: path of the archive; its measurements lie beside it.
        bundle: the archive, opened.
        asked: what is settled already. Ask for ``sessions=1`` where one picture runs at a time.
        pictures: how many there will be. For few, what a warm-up found is not asked for: the fastest runtime is not the
            one that is ready first.

    Returns:
        None where nothing that fits was measured on this machine, or nothing was left open.
    """
    best, _ = _stored_best(archive, bundle, asked)
    if best is not None:
        return execution_of(best, asked.device)
    if asked.settled or asked.device != "cpu" or pictures < _MANY:
        return None
    usable = {one.variant for one in usable_executions(bundle)}
    known = {
        one: took
        for one, took in recalled(archive, bundle, describe_machine()).items()
        if asked.admits(one) and one.variant in usable and issubclass(BACKENDS[one.backend], GraphBackend)
    }
    return min(known, key=known.__getitem__) if known else None


def _stored_best(archive: Path, bundle: Bundle, asked: Execution) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    """The best stored run that fits and was proved, if anything was left open; and notes on unusable files."""
    stored = read_entry(archive, bundle, describe_machine(asked.device))
    if asked.settled and None not in (asked.threads, asked.sessions):
        return None, stored.notes
    fitting = [run for run in stored.runs if asked.admits(execution_of(run, asked.device))]
    return best_run(fitting, usable_executions(bundle, asked.device)), stored.notes


def _fair_share(sessions: int) -> int | None:
    """Threads per session; None, the backend's own choice, where one session may use the whole machine.

    Backends know nothing of a container's quota and would start a thread for each of the host's processors.
    """
    allowed = cores()
    if sessions == 1 and allowed == os.cpu_count():
        return None
    return max(1, allowed // sessions)


def _settled(archive: Path, bundle: Bundle, executions: Sequence[Execution], asked: Execution) -> Choice:
    """Of the exported graphs the fastest; without any, or if all fail, of the others.

    PyTorch takes seconds and hundreds of megabytes in the server's process. It runs only what nothing else can, what
    is asked for by name, and what ``boxwright bench`` stored.
    """
    executions = _worth_timing(executions)
    graphs = [one for one in executions if issubclass(BACKENDS[one.backend], GraphBackend)]
    others = [one for one in executions if one not in graphs]
    if asked.threads is None and asked.sessions is None:
        others += [shared for one in others for shared in _side_by_side(one)]
    notes: tuple[str, ...] = ()
    for group in filter(None, (graphs, others)):
        if len(group) == 1:
            return Choice(group[0], _why_alone(asked, left_out=others if group is graphs else ()), notes)
        choice, more = _fastest(archive, bundle, group)
        notes += more
        if choice is not None:
            return replace(choice, notes=notes)
    raise ArchiveError(f"{archive}: nothing here can run this model. {' '.join(notes)}", "Archive it again.")


def _worth_timing(executions: Sequence[Execution]) -> list[Execution]:
    """Without bf16 on a processor that has none, if fp32 is there too.

    OpenVINO computes the same as in fp32 there, and PyTorch takes six times as long: seconds per picture. Where the
    system does not say what the processor has, all are timed.
    """
    has_none = bool(describe_machine().instruction_sets) and not has_bf16()
    slow = {one for one in executions if one.precision == "bf16" and one.device == "cpu" and has_none}
    return [one for one in executions if one not in slow or replace(one, precision="fp32") not in executions]


def _side_by_side(execution: Execution) -> list[Execution]:
    """The same as several sessions, each on its share of the processors; none where that is not worth trying.

    What PyTorch's Python part takes is not shorter on more threads, so two pictures on one thread each may be answered
    sooner than one after the other on two. An exported graph has no such part; ``boxwright bench`` tries it anyway.
    """
    sessions = min(cores(), _MOST_SESSIONS)
    if sessions == 1 or execution.device != "cpu" or execution.backend == CompiledTorchBackend.name:
        return []
    return [replace(execution, sessions=sessions, threads=_fair_share(sessions))]


def _why_alone(asked: Execution, left_out: Sequence[Execution]) -> str:
    if asked.backend != AUTO:
        return "as asked for"
    return "the only proved export that can run here" if left_out else "the only way to run this model here"


def _fastest(archive: Path, bundle: Bundle, executions: Sequence[Execution]) -> tuple[Choice | None, tuple[str, ...]]:
    """The fastest, None if all fail; and what a person should know."""
    try:
        found = warm_up(archive, bundle, executions, describe_machine(executions[0].device))
    except OSError as error:
        note = f"Nothing could be timed: no process can be started: {error.strerror or error}."
        return Choice(executions[0], "the first that is proved; nothing was timed"), (note,)
    notes = (*found.notes, *(_left_out(found, one) for one in found.failed))
    if not found.milliseconds:
        return None, notes
    ranked = sorted(found.milliseconds.items(), key=lambda one: one[1])
    measured = ", ".join(f"{_named(execution)} {took:.1f} ms" for execution, took in ranked)
    when = "" if found.day is None else f" here on {found.day}"
    return Choice(_best(found.milliseconds), f"fastest at warm-up{when} ({measured} per picture)"), notes


def _best(milliseconds: Mapping[Execution, float]) -> Execution:
    """The fastest for one picture; or the same as several sessions, if that answers more and one hardly later."""
    fewest = min(one.sessions or 1 for one in milliseconds)
    fastest = min((one for one in milliseconds if (one.sessions or 1) == fewest), key=milliseconds.__getitem__)
    for other, took in milliseconds.items():
        slower = took / milliseconds[fastest]
        more = (other.sessions or 1) / fewest / slower
        if other.variant == fastest.variant and slower <= _HARDLY_LATER and more >= _WORTH_SESSIONS:
            return other
    return fastest


def _named(execution: Execution) -> str:
    sessions = execution.sessions or 1
    return execution.variant if sessions == 1 else f"{execution.variant} {sessions} at a time"


def _left_out(found: WarmUp, execution: Execution) -> str:
    reason = found.failed[execution].rstrip(".")
    again = "" if found.path is None else f" To time it again, delete {found.path}."
    return f"{_named(execution)} is left out: {reason}.{again}"

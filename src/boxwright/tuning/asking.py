"""Asks a process of its own how fast one execution is; see ``worker``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from boxwright.runtime import Execution

__all__ = ["ask"]


def ask(
    execution: Execution, common: Mapping[str, Any], batches: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """A process's answer for each batch size; whatever ends the process is an answer as well.

    Args:
        execution: settled.
        common: the other fields of ``worker.Request``.
        batches: pictures per call, ascending.
        seconds: after which the process is ended.

    Returns:
        For each batch size the document of ``worker``, or ``{"batch": ..., "error": a sentence}``.

    Raises:
        OSError: the system starts no process.
    """
    request = {**common, "execution": asdict(execution), "batches": list(batches)}
    line = [sys.executable, "-P", "-m", "boxwright.tuning.worker"]
    try:
        # in a session of its own: a terminal's Ctrl-C is for the caller, and would be taken for a crash here
        done = subprocess.run(
            line, input=json.dumps(request).encode(), capture_output=True, timeout=seconds, start_new_session=True
        )
        output, end = done.stdout, _why(done)
    except subprocess.TimeoutExpired as late:
        output, end = late.stdout or b"", f"It took more than {seconds:g} s."
    # a line for each batch size; what ended in the middle of one leaves a part of it
    answers: list[dict[str, Any]] = [
        json.loads(line) for line in output.splitlines(keepends=True) if line.endswith(b"\n")
    ]
    return [*answers, *({"batch": batch, "error": end} for batch in batches[len(answers) :])]


def _why(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode < 0:
        return f"Ended by signal {-done.returncode}; 9 is mostly the system's, short of memory."
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return (lines or [f"Ended with {done.returncode}."])[-1]

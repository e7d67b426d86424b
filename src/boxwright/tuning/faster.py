"""What would run a model much faster here if it were installed, as far as it was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from boxwright.host.machine import Machine
from boxwright.runtime import Bundle, Execution
from boxwright.runtime.backends import usable_executions
from boxwright.runtime.backends.openvino import OpenVinoBackend

from .store import execution_of, runs_on_such

__all__ = ["note_on_openvino"]

MUCH = 1.5
"""Times as fast from which on it is worth a sentence."""

_BF16 = {
    "amx_bf16": {
        "fasterrcnn_mobilenet_v3_large_fpn": 2.9,
        "fasterrcnn_resnet50_fpn": 5.1,
        "ssdlite320_mobilenet_v3_large": 1.2,
    },
    "avx512_bf16": {
        "fasterrcnn_mobilenet_v2_fpn_v2": 2.3,
        "fasterrcnn_mobilenet_v3_large_fpn": 2.4,
        "fasterrcnn_resnet50_fpn": 2.4,
        "ssdlite320_mobilenet_v3_large": 1.3,
    },
}
"""openvino-bf16 against onnxruntime-fp32 by instruction set, the better one first, and architecture; measured, see
docs/decisions/0035-openvino-in-the-bare-install.md. What is not here is not known."""


def note_on_openvino(archive: Path, bundle: Bundle, chosen: Execution, machine: Machine) -> str | None:
    """A sentence if OpenVINO is missing and would be much faster; None else, also where nobody knows.

    Args:
        archive: path of the archive; what ``boxwright bench`` measured lies beside it.
        bundle: the archive, opened.
        chosen: how it runs without OpenVINO.
        machine: this one.
    """
    proved = [one for one in bundle.spec.exports if one.startswith(f"{OpenVinoBackend.name}-")]
    if not proved or chosen.device != "cpu" or find_spec(OpenVinoBackend.package) is not None:
        return None
    of_this = _times_measured(archive, bundle, proved, machine)
    times = _times_known(bundle, chosen, proved, machine) if of_this is None else of_this
    if times is None or times < MUCH:
        return None
    measured = "this archive" if of_this is not None else bundle.spec.architecture
    return (
        f"{archive.name}: OpenVINO is not installed. It was measured {times:.1f} times as fast for {measured} on such "
        f"a processor: pip install '{OpenVinoBackend.extra}'"
    )


def _times_measured(archive: Path, bundle: Bundle, proved: Iterable[str], machine: Machine) -> float | None:
    """By ``boxwright bench``, of this archive, on such a machine where OpenVINO is installed."""
    here = {one.variant for one in usable_executions(bundle)}
    ratios = []
    for runs in runs_on_such(archive, bundle, machine):
        there, without = _most(runs, proved), _most(runs, here)
        if there is not None and without is not None:
            ratios.append(there / without)
    return max(ratios, default=None)


def _most(runs: Iterable[Mapping[str, Any]], variants: Iterable[str]) -> float | None:
    """Single pictures per second."""
    wanted = set(variants)
    speeds = [run["images_per_s"] for run in runs if run["batch"] == 1 and execution_of(run).variant in wanted]
    return max(speeds, default=None)


def _times_known(bundle: Bundle, chosen: Execution, proved: Iterable[str], machine: Machine) -> float | None:
    """By the instruction sets, for an architecture that was measured."""
    if chosen.variant != "onnxruntime-fp32" or "openvino-bf16" not in proved:
        return None
    table = next((_BF16[one] for one in _BF16 if one in machine.instruction_sets), {})
    return table.get(bundle.spec.architecture)

"""What people see of exports and their proofs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from boxwright.cli.verbs.options import shown
from boxwright.runtime import ModelSpec

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_proofs", "proof_line"]


def print_proofs(console: Console, spec: ModelSpec) -> None:
    """One line for each export of an archive: what was compared, and what came of it."""
    for variant, proof in spec.exports.items():
        console.print(proof_line(variant, proof))


def proof_line(variant: str, proof: Mapping[str, Any]) -> str:
    """One line; the proof as it stands in the archive."""
    figures = ", ".join(
        f"{name} {shown(proof[f'{key}_before'])} -> {shown(proof[key])}" for name, key in (("mAP", "map"), ("F2", "f2"))
    )
    return (
        f"Proved {variant}: {figures}; of {proof['detections']} detections on {proof['pictures']} pictures "
        f"{proof['equal']} equal, {proof['matched']} matched; at most {proof['largest_box_difference']:.2g} px and "
        f"{proof['largest_score_difference']:.2g} of score apart"
    )

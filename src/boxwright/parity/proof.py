"""An export is held to the trained model, picture by picture and figure by figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from boxwright.evaluation.results import SplitResults
from boxwright.metrics.figures import figures_of
from boxwright.runtime import (
    BACKENDS,
    Backend,
    Detections,
    Execution,
    ModelSpec,
    OutOfTolerance,
    postprocess,
    preprocess,
)

from .agreement import Agreement, agreement

__all__ = ["TOLERANCES", "Proof", "prove"]

TOLERANCES: Mapping[str, float] = {"fp32": 0.0005, "bf16": 0.002, "int8": 0.01}
"""By how much mAP and F2 may differ from the trained model's, by precision."""


@dataclass(frozen=True)
class Proof:
    """What was found.

    Attributes:
        execution: what ran.
        agreement: with the trained model's detections.
        worst_picture: file name of the one that agrees least.
        map: COCO's mAP of the export on these pictures.
        map_before: of the trained model.
        f2: at the operating point, of the export.
        f2_before: of the trained model.
        tolerance: largest accepted difference of mAP and of F2.
    """

    execution: Execution
    agreement: Agreement
    worst_picture: str
    map: float
    map_before: float
    f2: float
    f2_before: float
    tolerance: float

    @property
    def difference(self) -> float:
        """The larger of the differences of mAP and of F2."""
        return max(_apart(self.map, self.map_before), _apart(self.f2, self.f2_before))

    def require(self) -> None:
        """Nothing, within the tolerance.

        Raises:
            OutOfTolerance: beyond it; the worst picture is named.
        """
        if self.difference <= self.tolerance:
            return
        raise OutOfTolerance(
            f"{self.execution.variant}: mAP {self.map:.4f} instead of {self.map_before:.4f}, F2 {self.f2:.4f} instead "
            f"of {self.f2_before:.4f}: beyond {self.tolerance:g}. Picture {self.worst_picture!r} differs most.",
            f"{self._remedy}, or give a wider --tolerance.",
        )

    @property
    def _remedy(self) -> str:
        if self.execution.precision != "fp32":
            return "Leave this precision out"
        if 0 < self.agreement.detections == self.agreement.equal:  # as with a model that says the same everywhere
            return "Every detection has its equal; some lie as close to the threshold as rounding does. Train longer"
        return "Choose the threshold anew (boxwright threshold)"

    def to_document(self) -> dict[str, Any]:
        """What stands in the archive under ``exports``."""
        found = asdict(self.agreement)
        del found["worst"]
        return {
            "member": BACKENDS[self.execution.backend].member(self.execution.precision),
            **found,
            "worst_picture": self.worst_picture,
            **{name: _null_if_nan(getattr(self, name)) for name in ("map", "map_before", "f2", "f2_before")},
            "tolerance": self.tolerance,
        }


def _apart(one: float, other: float) -> float:
    """0 where neither is defined, infinite where one is."""
    if np.isnan(one) or np.isnan(other):
        return 0.0 if np.isnan(one) and np.isnan(other) else float("inf")
    return abs(one - other)


def _null_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def prove(
    backend: Backend,
    execution: Execution,
    spec: ModelSpec,
    trained: SplitResults,
    pictures: Path,
    tolerance: float | None = None,
    advance: Callable[[int, int], object] | None = None,
) -> Proof:
    """Run an export on the pictures of a split and compare with what the trained model found there.

    Args:
        backend: runs the export.
        execution: how it runs.
        spec: of the model.
        trained: what the trained model found, every detection.
        pictures: folder of the split's pictures.
        tolerance: largest accepted difference of mAP and F2; that of the precision by default. It is not
            enforced here; see ``Proof.require``.
        advance: called with (pictures done, pictures in all).

    Raises:
        PictureError: a picture is not there or cannot be decoded.
    """
    found = []
    for number, name in enumerate(trained.file_names, start=1):
        found.append(_detect(backend, spec, pictures / name))
        if advance:
            advance(number, len(trained.file_names))
    exported = replace(trained, detections=tuple(found))
    agreed = agreement(trained.detections, exported.detections)
    thresholds = np.array(spec.operating_point.thresholds(spec.class_names))
    before, after = (figures_of(results.matches(), thresholds) for results in (trained, exported))
    return Proof(
        execution=execution,
        agreement=agreed,
        worst_picture="" if agreed.worst is None else trained.file_names[agreed.worst],
        map=after.map,
        map_before=before.map,
        f2=after.f2,
        f2_before=before.f2,
        tolerance=TOLERANCES[execution.precision] if tolerance is None else tolerance,
    )


def _detect(backend: Backend, spec: ModelSpec, picture: Path) -> Detections:
    canvas, placement = preprocess(picture, spec.input)
    return postprocess(backend.detect(canvas[None])[0], placement)

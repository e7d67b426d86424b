"""Proves that executions of a model give the detections and the figures of the trained model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.results import SplitResults
from boxwright.metrics import none_if_nan
from boxwright.metrics.figures import figures_of
from boxwright.runtime import BACKENDS, Execution, OutOfTolerance, PicturePredictor
from boxwright.runtime.spec import HARDLY_ANYTHING

from .agreement import COMPARED, LEAST_SCORE, TOLERANCES, Agreement, compare_pictures
from .pictures import Advance, detect_pictures
from .reference import Reference, thresholds_of

__all__ = ["Proof", "prove"]


@dataclass(frozen=True, kw_only=True)
class Proof(Agreement):
    """How all detections of one execution agree with the trained model's.

    The pictures are compared from ``LEAST_SCORE`` on; the figures are mAP, and F2 at the operating point.

    Attributes:
        execution: what ran.
        milliseconds: median per picture; see ``Detected``.
    """

    execution: Execution
    milliseconds: float

    def require(self) -> None:
        """Raise unless the figures are within the tolerance.

        Raises:
            OutOfTolerance: they are not; the worst picture is named.
        """
        if self.figures_fault:
            named = f" Picture {self.worst.name!r} differs most." if self.worst else ""
            raise OutOfTolerance(
                f"{self.execution.variant}: {self.figures_fault}{named}",
                f"{self._remedy}{self._enough}.",
            )

    @property
    def _enough(self) -> str:
        """The tolerance that would do, to one digit."""
        if not 0 < self.difference < 1:
            return ""
        unit = 10.0 ** math.floor(math.log10(self.difference))
        return f", or give --tolerance {math.ceil(self.difference / unit * (1 - 1e-9)) * unit:.1g}"

    @property
    def _remedy(self) -> str:
        if self.execution.precision != "fp32":
            return "Leave this precision out"
        if 0 < self.detections == self.equal:  # as with a model that finds the same everywhere
            return "Every detection has its equal; some lie as close to the threshold as rounding does. Train longer"
        if self.reference["f2"] < HARDLY_ANYTHING:
            return "The model finds hardly anything yet, so that rounding decides. Train it longer"
        return "Choose the threshold anew (boxwright threshold)"

    def to_document(self) -> dict[str, Any]:
        """What the archive holds under ``exports``."""
        counts = ("detections", "matched", "equal", "largest_box_difference", "largest_score_difference")
        sides = {"": self.figures, "_before": self.reference}
        return {
            "member": BACKENDS[self.execution.backend].member(self.execution.precision),
            "pictures": len(self.pictures),
            **{name: getattr(self, name) for name in counts},
            "worst_picture": self.worst.name if self.worst else "",
            **{f"{key}{suffix}": side[key] for key in COMPARED for suffix, side in sides.items()},
            "tolerance": self.tolerance,
        }


def prove(
    reference: Reference,
    executions: Sequence[Callable[[], PicturePredictor]],
    tolerance: float | None = None,
    advance: Advance | None = None,
) -> tuple[Proof, ...]:
    """Run executions on the validation pictures and compare with what the trained model found there.

    Args:
        reference: the run.
        executions: see ``detect_pictures``.
        tolerance: largest accepted difference of mAP and F2; that of the precision by default. It is not
            enforced here; see ``Proof.require``.
        advance: for long work.

    Returns:
        One per execution.

    Raises:
        PictureError: a picture is not there or cannot be decoded.
    """
    trained, thresholds, proofs = reference.results, thresholds_of(reference.spec), []
    for detected in detect_pictures(reference.spec, executions, reference.pictures, advance):
        allowed = TOLERANCES[detected.execution.precision]
        allowed = replace(allowed, figures=allowed.figures if tolerance is None else tolerance)
        found = [one.filter_by_score(LEAST_SCORE - allowed.score) for one in detected.detections]
        proof = Proof(
            pictures=compare_pictures(trained.file_names, trained.detections, found, LEAST_SCORE, allowed),
            figures=_figures(replace(trained, detections=detected.detections), thresholds),
            reference=_figures(trained, thresholds),
            allowed=allowed,
            execution=detected.execution,
            milliseconds=detected.milliseconds,
        )
        proofs.append(proof)
    return tuple(proofs)


def _figures(results: SplitResults, thresholds: NDArray[np.float64]) -> dict[str, float | None]:
    figures = figures_of(results.matches(), thresholds)
    return {key: none_if_nan(getattr(figures, key)) for key in COMPARED}

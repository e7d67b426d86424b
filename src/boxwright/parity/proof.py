"""Proves that executions of a model give the detections and the figures of the trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.results import SplitResults
from boxwright.metrics import none_if_nan
from boxwright.metrics.figures import figures_of
from boxwright.runtime import BACKENDS, Execution, OutOfTolerance, PicturePredictor

from .agreement import COMPARED, LEAST_SCORE, TOLERANCES, Agreement, agreement
from .pictures import Advance, detect_pictures
from .reference import Reference, thresholds_of

__all__ = ["Proof", "prove"]


@dataclass(frozen=True)
class Proof:
    """How one execution compares with the trained model.

    Attributes:
        execution: what ran.
        agreement: of all detections from ``LEAST_SCORE`` on; the figures are mAP, and F2 at the operating point.
        milliseconds: median per picture; see ``Detected``.
    """

    execution: Execution
    agreement: Agreement
    milliseconds: float = 0.0

    def require(self) -> None:
        """Raise unless the figures are within the tolerance.

        Raises:
            OutOfTolerance: they are not; the worst picture is named.
        """
        fault, worst = self.agreement.figures_fault, self.agreement.worst
        if fault:
            named = f" Picture {worst.name!r} differs most." if worst else ""
            raise OutOfTolerance(
                f"{self.execution.variant}: {fault}{named}", f"{self._remedy}, or give a wider --tolerance."
            )

    @property
    def _remedy(self) -> str:
        if self.execution.precision != "fp32":
            return "Leave this precision out"
        if 0 < self.agreement.detections == self.agreement.equal:  # as with a model that finds the same everywhere
            return "Every detection has its equal; some lie as close to the threshold as rounding does. Train longer"
        return "Choose the threshold anew (boxwright threshold)"

    def to_document(self) -> dict[str, Any]:
        """What the archive holds under ``exports``."""
        agreed = self.agreement
        counts = ("detections", "matched", "equal", "largest_box_difference", "largest_score_difference")
        return {
            "member": BACKENDS[self.execution.backend].member(self.execution.precision),
            "pictures": len(agreed.pictures),
            **{name: getattr(agreed, name) for name in counts},
            "worst_picture": agreed.worst.name if agreed.worst else "",
            **{
                f"{key}{suffix}": side[key]
                for key in COMPARED
                for suffix, side in (("", agreed.figures), ("_before", agreed.reference))
            },
            "tolerance": agreed.tolerance.figures,
        }


def prove(
    reference: Reference,
    predictors: Sequence[PicturePredictor],
    tolerance: float | None = None,
    advance: Advance | None = None,
) -> tuple[Proof, ...]:
    """Run executions on the validation pictures and compare with what the trained model found there.

    Args:
        reference: the run.
        predictors: one per execution; one at least.
        tolerance: largest accepted difference of mAP and F2; that of the precision by default. It is not
            enforced here; see ``Proof.require``.
        advance: for long work.

    Returns:
        One per predictor.

    Raises:
        PictureError: a picture is not there or cannot be decoded.
    """
    trained, thresholds = reference.results, thresholds_of(reference.spec)
    before = _figures(trained, thresholds)
    proofs = []
    for predictor, detected in zip(predictors, detect_pictures(predictors, reference.pictures, advance), strict=True):
        allowed = TOLERANCES[predictor.execution.precision]
        found = [one.filter_by_score(LEAST_SCORE - allowed.score) for one in detected.detections]
        compared = agreement(trained.found, found, trained.file_names, LEAST_SCORE, allowed)
        after = _figures(replace(trained, found=detected.detections), thresholds)
        if tolerance is not None:
            allowed = replace(allowed, figures=tolerance)
        compared = replace(compared, figures=after, reference=before, tolerance=allowed)
        proofs.append(Proof(predictor.execution, compared, detected.milliseconds))
    return tuple(proofs)


def _figures(results: SplitResults, thresholds: NDArray[np.float64]) -> dict[str, float | None]:
    figures = figures_of(results.matches(), thresholds)
    return {key: none_if_nan(getattr(figures, key)) for key in COMPARED}

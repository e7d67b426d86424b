"""Measures a running endpoint on a split and holds it to the figures that its archive promises."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.data import SPLITS, read_split
from boxwright.evaluation.compare import read_run
from boxwright.evaluation.evaluate import Progress, detect_split
from boxwright.evaluation.operating import reported_figures
from boxwright.evaluation.results import RESULTS, SplitResults
from boxwright.runtime import ContractError, DataError, Detections, ModelSpec, OutOfTolerance, open_bundle
from boxwright.runtime.bundle import RUN_SPEC

from .answers import STRICT, PictureDifference, compare_answer
from .clients import Answer, Client, Refusal, open_client

__all__ = [
    "COMPARED",
    "TOLERANCE",
    "EndpointEvaluation",
    "answered_detections",
    "apart",
    "evaluate_endpoint",
    "tolerance_of",
]

TOLERANCE = 0.0005
"""By how much mAP and F2 may differ where the archive carries no lower precision."""

COMPARED = {"map": "mAP", "f2": "F2"}
"""Figures that must be within the tolerance, and what people call them."""


@dataclass(frozen=True, eq=False)
class EndpointEvaluation:
    """What an endpoint's answers are worth, beside what they should be.

    Attributes:
        url: that was posted to.
        spec: of the model it should be.
        split: whose pictures were posted.
        figures: of the answers; see ``reported_figures``.
        reference: the same figures of the model.
        reference_from: where they are from, for a person.
        tolerance: largest accepted difference of mAP and of F2.
        refused: by file name, the pictures that were answered with an error.
        unknown: how many detections were of classes that the model does not know, by name.
        faint: how many detections lie below the operating point, which a server does not report.
        worst: the picture that differs most; None where it is not known what each should be.
        seconds: from the first picture to the last answer.
    """

    url: str
    spec: ModelSpec
    split: str
    figures: Mapping[str, Any]
    reference: Mapping[str, Any]
    reference_from: str
    tolerance: float
    refused: Mapping[str, Refusal]
    unknown: Mapping[str, int]
    faint: int
    worst: PictureDifference | None
    seconds: float

    @property
    def failures(self) -> tuple[str, ...]:
        """What is wrong, a sentence each; empty where the endpoint gives the model's figures."""
        found = list(apart(self.figures, self.reference, self.tolerance))
        if found and self.worst and self.worst.wrong:
            found.append(f"Most differs {self.worst}.")
        if self.refused:
            name, refusal = next(iter(self.refused.items()))
            found.append(
                f"{len(self.refused)} of {self.figures['images']} pictures were refused, first {name!r} with "
                f"{refusal.status}: {refusal.message}"
            )
        if self.faint:
            found.append(f"{self.faint} detections below the model's threshold were answered.")
        if self.unknown:
            found.append(f"Classes that the model does not have were answered: {', '.join(sorted(self.unknown))}.")
        return tuple(found)

    def require(self) -> None:
        """Nothing, where the endpoint gives the model's figures.

        Raises:
            OutOfTolerance: it does not.
        """
        if self.failures:
            raise OutOfTolerance(
                f"{self.url} does not give the figures of {self.spec.name!r}. {' '.join(self.failures)}",
                "Serve this very archive, or find what changes pictures or answers on the way.",
            )

    def to_document(self) -> dict[str, Any]:
        """What ``boxwright evaluate --endpoint --json`` writes."""
        return {
            "url": self.url,
            "split": self.split,
            "figures": dict(self.figures),
            "reference": dict(self.reference),
            "reference_from": self.reference_from,
            "tolerance": self.tolerance,
            "within_tolerance": not self.failures,
            "failures": list(self.failures),
            "refused": {name: [one.status, one.message] for name, one in self.refused.items()},
            "unknown_classes": dict(self.unknown),
            "below_threshold": self.faint,
            "worst_picture": self.worst.name if self.worst else None,
            "seconds": round(self.seconds, 3),
        }


def evaluate_endpoint(
    source: str | Path,
    data: str | Path,
    split: str = "valid",
    *,
    url: str,
    tolerance: float | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> EndpointEvaluation:
    """Post every picture of a split to an endpoint and compare its figures with the model's.

    An endpoint reports from the operating point on, so that is what is compared: by the figures that the
    archive holds of this split, or where it holds none, by running the model here.

    Args:
        source: run folder or ``.mar``.
        data: folder with the split.
        split: ``train``, ``valid`` or ``test``.
        url: of the endpoint; see ``clients.FORMS``.
        tolerance: largest accepted difference of mAP and F2; that of the archive's least precise export by default.
        device: a torch device, for the model if it runs here.
        progress: called with (pictures done, pictures in all).

    Raises:
        ArchiveError: the model cannot be read.
        ConfigError: the URL is none.
        ContractError: the data, or the endpoint, has other classes.
        DataError: the data cannot be read.
        ServingError: the endpoint cannot be reached, or gives no answers.
    """
    spec = open_bundle(source).spec
    if split not in SPLITS:
        raise DataError(f"There is no split {split!r}.", f"Use {', '.join(SPLITS)}.")
    with open_client(url, spec.name, spec.class_names) as client:
        records = read_split(Path(data), split, spec.classes)
        started = time.perf_counter()
        answers = client.ask_all([record.path for record in records.pictures], progress)
        seconds = time.perf_counter() - started
    unknown = _unknown(client, answers)
    answered = SplitResults.of(records, Path(data) / split, spec.class_names, answered_detections(answers))
    thresholds = np.array(spec.operating_point.thresholds(spec.class_names))
    reference, origin, each = _reference(Path(source), spec, answered, thresholds, Path(data), device)
    return EndpointEvaluation(
        url=client.url,
        spec=spec,
        split=split,
        figures=reported_figures(answered, thresholds),
        reference=reference,
        reference_from=origin,
        tolerance=tolerance_of(spec) if tolerance is None else tolerance,
        refused={name: one for name, one in zip(answered.file_names, answers, strict=True) if isinstance(one, Refusal)},
        unknown=unknown,
        faint=sum(_faint(one, thresholds) for one in answered.detections),
        worst=_worst(each, answered, thresholds) if each else None,
        seconds=seconds,
    )


def tolerance_of(spec: ModelSpec) -> float:
    """The widest that the archive's exports were proved with; whichever of them answers keeps to it."""
    return max([TOLERANCE, *(float(proof.get("tolerance", 0.0)) for proof in spec.exports.values())])


def apart(figures: Mapping[str, Any], reference: Mapping[str, Any], tolerance: float) -> tuple[str, ...]:
    """A sentence for mAP and F2 each, where they differ by more than the tolerance."""
    return tuple(
        f"{name} is {_shown(figures.get(key))} instead of {_shown(reference.get(key))}, beyond {tolerance:g}."
        for key, name in COMPARED.items()
        if not _within(figures.get(key), reference.get(key), tolerance)
    )


def _within(one: float | None, other: float | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= tolerance


def _shown(figure: float | None) -> str:
    return "none" if figure is None else f"{figure:.4f}"


def answered_detections(answers: Sequence[Answer | Refusal]) -> tuple[Detections, ...]:
    """One a picture; of one that was refused, none."""
    return tuple(one.detections if isinstance(one, Answer) else Detections.empty() for one in answers)


def _unknown(client: Client, answers: Sequence[Answer | Refusal]) -> Mapping[str, int]:
    """Classes answered that the model does not know.

    Raises:
        ContractError: there are no others: it is another model's endpoint.
    """
    answered = [one for one in answers if isinstance(one, Answer)]
    unknown = Counter(name for one in answered for name in one.unknown)
    if unknown and not any(len(one.detections) for one in answered):
        raise ContractError(
            f"{client.url} answers {', '.join(sorted(unknown))}; this model knows {', '.join(client.class_names)}.",
            "It serves another model: check the name in the URL.",
        )
    return unknown


def _faint(found: Detections, thresholds: NDArray[np.float64]) -> int:
    return int((found.scores < thresholds[found.labels] - STRICT.score).sum())


def _reference(
    source: Path,
    spec: ModelSpec,
    answered: SplitResults,
    thresholds: NDArray[np.float64],
    data: Path,
    device: str,
) -> tuple[Mapping[str, Any], str, SplitResults | None]:
    """The figures to hold the endpoint to, where they are from, and the model's detections if they are known."""
    if (source / RUN_SPEC).is_file() and (source / RESULTS).is_file():
        kept, _ = read_run(source)
        if kept.split == answered.split and kept.file_names == answered.file_names:
            kept = replace(
                answered, detections=kept.detections
            )  # held to the same boxes, should these have changed since
            return reported_figures(kept, thresholds), f"{source / RESULTS}", kept
    measured = spec.measured.get(answered.split, {})
    if isinstance(measured.get("reported"), Mapping) and _measured_on(measured, answered):
        return measured["reported"], f"{source}", None
    local, _ = detect_split(source, data, answered.split, device=device)
    return reported_figures(local, thresholds), f"{source}, run here", local


def _measured_on(document: Mapping[str, Any], answered: SplitResults) -> bool:
    """Whether the figures are of as many pictures, and as many boxes of each class: else it is other data."""
    boxes = dict(zip(answered.class_names, answered.matches().boxes_per_class.tolist(), strict=True))
    recorded = {name: row.get("boxes") for name, row in document.get("per_class", {}).items()}
    return document.get("images") == len(answered.file_names) and recorded == boxes


def _worst(expected: SplitResults, answered: SplitResults, thresholds: NDArray[np.float64]) -> PictureDifference | None:
    differences = [
        compare_answer(name, wanted.filter_by_score(thresholds), found, thresholds)
        for name, wanted, found in zip(expected.file_names, expected.detections, answered.detections, strict=True)
    ]
    return max(differences, key=lambda one: one.badness, default=None)

"""Measures a running endpoint on a split and compares it with the figures that its archive promises."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from boxwright.data import read_split, split_named
from boxwright.evaluation.operating import reported_figures
from boxwright.evaluation.results import RESULTS, SplitResults
from boxwright.evaluation.results_files import is_results_file
from boxwright.evaluation.run import data_for, read_run
from boxwright.inputs.stores import local_place
from boxwright.runtime import (
    Bundle,
    ConfigError,
    ContractError,
    Detections,
    Execution,
    ModelSpec,
    OutOfTolerance,
    PicturePredictor,
    open_bundle,
)
from boxwright.runtime.bundle import RUN_SPEC

from .agreement import EXACT, Agreement, PictureDifference, Tolerance, compare_pictures
from .clients import Answer, Client, Refusal, open_client
from .pictures import Advance, detect_pictures
from .reference import thresholds_of

__all__ = [
    "EndpointEvaluation",
    "compared",
    "evaluate_endpoint",
    "first_of",
    "post_pictures",
    "tolerance_of",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class EndpointEvaluation(Agreement):
    """How an endpoint's answers agree with the model; the figures are those of ``reported_figures``.

    Attributes:
        url: that was posted to.
        spec: of the model it should be.
        split: whose pictures were posted.
        reference_from: where the model's figures are from, for a person.
        refused: by file name, the pictures that were answered with an error.
        unknown: how many detections were of classes that the model does not know, by name.
        faint: how many detections lie below the operating point, which a server does not report.
        seconds: from the first picture to the last answer.
    """

    url: str
    spec: ModelSpec
    split: str
    reference_from: str
    refused: Mapping[str, Refusal]
    unknown: Mapping[str, int]
    faint: int
    seconds: float

    @property
    def failures(self) -> tuple[str, ...]:
        """What is wrong, one sentence each; empty where the endpoint gives the model's figures."""
        fault = self.figures_fault
        failures = [fault] if fault else []
        if fault and self.worst and self.worst.wrong:
            failures.append(f"Most differs {self.worst}.")
        if self.refused:
            failures.append(f"{len(self.refused)} of {self.figures['images']} pictures were {first_of(self.refused)}")
        if self.faint:
            failures.append(f"{self.faint} detections below the model's threshold were answered.")
        if self.unknown:
            failures.append(f"Classes that the model does not have were answered: {', '.join(sorted(self.unknown))}.")
        return tuple(failures)

    def require(self) -> None:
        """Raise unless the endpoint gives the model's figures.

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
        failures = self.failures
        return {
            "url": self.url,
            "split": self.split,
            "figures": dict(self.figures),
            "reference": dict(self.reference),
            "reference_from": self.reference_from,
            "tolerance": self.tolerance,
            "within_tolerance": not failures,
            "failures": list(failures),
            "refused": {name: [one.status, one.message] for name, one in self.refused.items()},
            "unknown_classes": dict(self.unknown),
            "below_threshold": self.faint,
            "worst_picture": self.worst.name if self.worst else None,
            "seconds": round(self.seconds, 3),
        }


def evaluate_endpoint(
    source: str | Path,
    data: str | Path | None = None,
    split: str = "valid",
    *,
    url: str,
    tolerance: float | None = None,
    device: str = "cpu",
    progress: Advance | None = None,
) -> EndpointEvaluation:
    """Post every picture of a split to an endpoint and compare its figures with the model's.

    An endpoint reports from the operating point on, so that is what is compared: with the detections that a run
    keeps of this split, or with the figures that an archive holds of it. Where there are neither, the model runs here.

    Args:
        source: run folder or ``.mar``.
        data: folder with the split; by default the one that a run was trained on.
        split: ``train``, ``valid`` or ``test``.
        url: of the endpoint; see ``clients.FORMS``.
        tolerance: largest accepted difference of mAP and F2; that of the archive's least precise export by default.
        device: a torch device, for the model if it runs here.
        progress: called with (pictures done, pictures in all).

    Raises:
        ArchiveError: the model cannot be read.
        ConfigError: the URL is not one of an endpoint, or the source is a results file.
        ContractError: the data, or the endpoint, has other classes.
        DataError: the data cannot be read.
        ServingError: the endpoint cannot be reached, or does not answer with detections.
    """
    if is_results_file(source):
        raise ConfigError(f"{source}: a results file cannot be held against an endpoint.", "Give a run or an archive.")
    source = local_place(source)
    data, split = data_for(source, data), split_named(split)
    bundle, folder = open_bundle(source), data / split
    spec = bundle.spec
    with open_client(url, spec.name, spec.class_names) as client:
        records = read_split(data, split, spec.classes)
        empty = SplitResults.of(records, folder, spec.class_names, [Detections.empty()] * len(records.pictures))
        answered, evaluation = post_pictures(client, spec, empty, folder, progress)
    expected, origin = _expected(Path(source), bundle, answered, folder, device)
    allowed = replace(EXACT, figures=tolerance_of(spec) if tolerance is None else tolerance)
    return replace(compared(evaluation, expected, answered, allowed), reference_from=origin)


def post_pictures(
    client: Client, spec: ModelSpec, results: SplitResults, folder: Path, advance: Advance | None = None
) -> tuple[SplitResults, EndpointEvaluation]:
    """Post the pictures of ``results`` as they lie in a folder.

    Returns:
        The results with the detections that were answered, and what else there is to say about the answers.

    Raises:
        ContractError: only other classes are answered: it is another model's endpoint.
        ServingError: the endpoint cannot be reached, or does not answer with detections.
    """
    started = time.perf_counter()
    replies = client.ask_all([folder / name for name in results.file_names], advance)
    seconds = time.perf_counter() - started
    answers = [one for one in replies if isinstance(one, Answer)]
    unknown = Counter(name for one in answers for name in one.unknown)
    if unknown and not any(len(one.detections) for one in answers):
        raise ContractError(
            f"{client.url} answers {', '.join(sorted(unknown))}; this model knows {', '.join(spec.class_names)}.",
            "It serves another model: check the name in the URL.",
        )
    found = tuple(one.detections if isinstance(one, Answer) else Detections.empty() for one in replies)
    refused = {name: one for name, one in zip(results.file_names, replies, strict=True) if isinstance(one, Refusal)}
    thresholds = thresholds_of(spec)
    faint = sum(int((one.scores < thresholds[one.labels] - EXACT.score).sum()) for one in found)
    evaluation = EndpointEvaluation(
        url=client.url,
        spec=spec,
        split=results.split,
        reference_from="",
        refused=refused,
        unknown=unknown,
        faint=faint,
        seconds=seconds,
    )
    return replace(results, detections=found), evaluation


def compared(
    evaluation: EndpointEvaluation,
    expected: SplitResults | Mapping[str, Any],
    answered: SplitResults,
    allowed: Tolerance,
) -> EndpointEvaluation:
    """The evaluation with the model's detections, or if these are not known its ``reported_figures``, beside it."""
    pictures: tuple[PictureDifference, ...] = ()
    thresholds = thresholds_of(evaluation.spec)
    if isinstance(expected, SplitResults):
        pictures = compare_pictures(answered.file_names, expected.detections, answered.detections, thresholds, allowed)
        expected = reported_figures(expected, thresholds)
    figures = reported_figures(answered, thresholds)
    return replace(evaluation, pictures=pictures, figures=figures, reference=expected, allowed=allowed)


def first_of(refused: Mapping[str, Refusal]) -> str:
    """The end of a sentence about pictures that were refused."""
    name, refusal = next(iter(refused.items()))
    return f"refused, first {name!r} with {refusal.status}: {refusal.message}"


def tolerance_of(spec: ModelSpec) -> float:
    """The widest that the archive's exports were proved with; it holds for whichever of them answers."""
    return max([EXACT.figures, *(float(proof.get("tolerance", 0.0)) for proof in spec.exports.values())])


def _expected(
    source: Path, bundle: Bundle, answered: SplitResults, folder: Path, device: str
) -> tuple[SplitResults | Mapping[str, Any], str]:
    """What the endpoint should answer, or else the figures of that, and where they are from."""
    if (source / RUN_SPEC).is_file() and (source / RESULTS).is_file():
        kept, _ = read_run(source)
        if kept.split == answered.split and kept.file_names == answered.file_names:
            # compared with the same boxes as the answers, should the annotations have changed since
            return replace(answered, detections=kept.detections), f"{source / RESULTS}"
    measured = bundle.spec.measured.get(answered.split, {})
    if isinstance(measured.get("reported"), Mapping) and _measured_on(measured, answered):
        return measured["reported"], f"{source}"
    pictures = [folder / name for name in answered.file_names]
    (local,) = detect_pictures(bundle.spec, [lambda: PicturePredictor(bundle, Execution(device=device))], pictures)
    return replace(answered, detections=local.detections), f"{source}, run here"


def _measured_on(document: Mapping[str, Any], answered: SplitResults) -> bool:
    """Whether the figures are of as many pictures, and as many boxes of each class; else it is other data."""
    boxes = dict(zip(answered.class_names, answered.matches().boxes_per_class.tolist(), strict=True))
    recorded = {name: row.get("boxes") for name, row in document.get("per_class", {}).items()}
    return document.get("images") == len(answered.file_names) and recorded == boxes

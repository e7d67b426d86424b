"""Checks that a server gives the detections of the training, picture by picture, in whatever file a picture comes.

What is expected comes from the run's ``detections.npz``, written when the model was validated, so that no fault of the
code that serves can be on both sides of the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from boxwright.evaluation.results import RESULTS
from boxwright.runtime import Detections, Execution, ModelSpec, OutOfTolerance

from .agreement import TOLERANCES, PictureDifference, compare_picture
from .clients import CONCURRENCY, Answer, Client, Refusal, open_client
from .endpoint import EndpointEvaluation, compared, first_of, post_pictures, tolerance_of
from .pictures import Advance
from .probes import Probe, probes_of
from .reference import Reference, thresholds_of

__all__ = ["SHUT", "GateReport", "check_server"]

SHUT = "the gate stays shut, the archive was not released."

_UNSURE = (
    "This model finds hardly anything, and boxes with nearly equal scores change places with the last bit: a "
    "wider --tolerance does not help. Train it longer; without --gate its exports alone are proved."
)

_PROBED = 3  # validation pictures that are encoded anew in other formats


@dataclass(frozen=True, eq=False)
class GateReport:
    """What a gate saw.

    Attributes:
        evaluation: of the server; what is expected are the training's detections.
        variant: that answered, ``BACKEND-PRECISION``.
        probes: how the answers to other encodings differ from those that they should equal.
        refused: by name, the probes that were answered with an error.
    """

    evaluation: EndpointEvaluation
    variant: str
    probes: tuple[PictureDifference, ...]
    refused: Mapping[str, Refusal]

    @property
    def failures(self) -> tuple[str, ...]:
        """Checks that failed, one sentence each, by how much and on which picture; empty where all passed."""
        agreed = self.evaluation
        failures = list(agreed.failures)
        if agreed.detections_fault:
            failures.append(f"Boxes: {agreed.detections_fault}")
        differing = [one for one in self.probes if one.wrong > agreed.allowed.share * one.expected]
        if differing:
            count = f"{len(differing)} of {len(self.probes)}"
            failures.append(f"Probes: {count} encodings are answered otherwise, first {differing[0]}.")
        if self.refused:
            failures.append(f"Probes: {len(self.refused)} encodings were {first_of(self.refused)}")
        return tuple(failures)

    @property
    def lines(self) -> tuple[str, ...]:
        """What was compared, for a person."""
        agreed = self.evaluation
        probed = f"{len(self.probes)} other encodings" if self.probes else "no other encodings, as nothing is detected"
        compared = f"{len(agreed.pictures)} pictures of {agreed.split} with {agreed.detections} boxes"
        largest = f"{agreed.largest_box_difference:.2g} pixels, score {agreed.largest_score_difference:.2g}"
        return (
            f"Gate: {compared} through {self.variant}; largest difference {largest}",
            f"Gate: of what it reports, {agreed} (tolerance {agreed.tolerance:g}); {probed}",
        )

    def require(self) -> None:
        """Raise unless all checks passed.

        Raises:
            OutOfTolerance: one did not.
        """
        if self.failures:
            spec, why = self.evaluation.spec, "The endpoint would not give the figures seen in training."
            raise OutOfTolerance(
                f"{spec.name}: {SHUT} {' '.join(self.failures)} {why}",
                _UNSURE if spec.finds_hardly_anything else "Please report this message.",
            )


def check_server(
    base: str, spec: ModelSpec, reference: Reference, largest: int, advance: Advance | None = None
) -> GateReport:
    """Post the validation pictures, and some of them in other encodings, to a server of ours.

    Args:
        base: its URL.
        spec: of the archive that it serves.
        reference: the run that the archive was made from.
        largest: bytes of the largest file to post; probes that are larger are left out.
        advance: for long work.

    Raises:
        ServingError: the server does not answer.
    """
    results, names, thresholds = reference.results, spec.class_names, thresholds_of(spec)
    folder = reference.data / results.split
    expected = [one.filter_by_score(thresholds) for one in results.detections]
    with (
        open_client(f"{base}/predictions/{spec.name}", spec.name, names) as client,
        open_client(f"{base}/v2/models/{spec.name}", spec.name, names) as protocol,
        ThreadPoolExecutor(CONCURRENCY) as pool,  # one probe is encoded while another is answered
    ):
        variant = protocol.platform()
        tolerance = replace(TOLERANCES[Execution.of_variant(variant).precision], figures=tolerance_of(spec))
        answered, evaluation = post_pictures(client, spec, results, folder, advance)

        def check(one: tuple[Probe, Detections]) -> tuple[str, PictureDifference | Refusal | None]:
            probe, like = one
            if probe.like:
                shallow = _answer(client, probe.like, largest)
                if not isinstance(shallow, Answer):
                    return probe.like.name, shallow
                like = shallow.detections
            answer = _answer(protocol if probe.protocol == "v2" else client, probe, largest)
            if not isinstance(answer, Answer):
                return probe.name, answer
            return probe.name, compare_picture(probe.name, like, answer.detections, thresholds, tolerance)

        probes = [
            (probe, expected[index])
            for index in _telling(expected)
            for probe in probes_of(folder / results.file_names[index])
        ]
        checked = list(pool.map(check, probes))
    evaluation = compared(evaluation, results, answered, tolerance)
    evaluation = replace(evaluation, reference_from=f"{reference.run / RESULTS}")
    differences = tuple(one for _, one in checked if isinstance(one, PictureDifference))
    return GateReport(
        evaluation, variant, differences, {name: one for name, one in checked if isinstance(one, Refusal)}
    )


def _answer(client: Client, probe: Probe, largest: int) -> Answer | Refusal | None:
    """None if the file is too large to post."""
    encoded = probe.encode()
    return client.ask(encoded) if len(encoded) <= largest else None


def _telling(expected: Sequence[Detections]) -> list[int]:
    """Pictures to probe: some that have detections, spread over the split."""
    telling = [index for index, one in enumerate(expected) if len(one)]
    picked = np.linspace(0, len(telling) - 1, min(_PROBED, len(telling))).round().astype(int)
    return [telling[index] for index in picked]

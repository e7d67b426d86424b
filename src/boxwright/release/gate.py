"""Lets an archive out only when a server that serves it gives the detections of the training.

What is expected comes from the run's ``detections.npz``, written when the model was validated, so that
no fault of the code that serves can be on both sides of the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.evaluation.compare import read_run
from boxwright.evaluation.operating import reported_figures
from boxwright.evaluation.pictures import find_data
from boxwright.parity.answers import LOOSE, STRICT, PictureDifference, Slack, compare_answer
from boxwright.parity.clients import Answer, Client, Refusal, open_client
from boxwright.parity.endpoint import COMPARED, answered_detections, apart, tolerance_of
from boxwright.parity.probes import grey_pair, plain_pixels, probes_of
from boxwright.runtime import (
    ArchiveError,
    Detections,
    OutOfTolerance,
    ServingError,
    open_bundle,
)
from boxwright.serving.app import MAX_BODY
from boxwright.serving.engine import load_models
from boxwright.serving.server import background_server

__all__ = ["GateReport", "check_archive", "release"]

PROBED = 3
"""Validation pictures that are encoded anew in other formats."""

_SHUT = "the gate stays shut, the archive was not released."
_LARGEST = MAX_BODY * 3 // 4 - 1024  # what the server accepts, in base64 as well

Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class GateReport:
    """What a gate saw.

    Attributes:
        model: its name.
        variant: that answered, ``BACKEND-PRECISION``.
        split: whose pictures were posted.
        figures: of the answers; see ``reported_figures``.
        expected: the same of the training's detections.
        tolerance: largest accepted difference of mAP and F2.
        pictures: how each answer differs.
        slack: what counted as the same.
        probes: how the answers to other encodings differ from those that they should equal.
        refused: pictures and probes that got an error, a clause each.
    """

    model: str
    variant: str
    split: str
    figures: dict[str, Any]
    expected: dict[str, Any]
    tolerance: float
    pictures: tuple[PictureDifference, ...]
    slack: Slack
    probes: tuple[PictureDifference, ...]
    refused: tuple[str, ...]

    @property
    def boxes(self) -> int:
        """Detections that were expected."""
        return sum(one.expected for one in self.pictures)

    @property
    def failures(self) -> tuple[str, ...]:
        """Checks that failed, a sentence each, by how much and on which picture; empty where all passed."""
        figures = [f"Figures: {sentence}" for sentence in apart(self.figures, self.expected, self.tolerance)]
        refused = [f"Refused: {self.refused[0]} ({len(self.refused)} in all)."] if self.refused else []
        return (*figures, *self._boxes_apart(), *self._probes_apart(), *refused)

    def _boxes_apart(self) -> list[str]:
        wrong = sum(one.wrong for one in self.pictures)
        if wrong <= self.slack.share * self.boxes:
            return []
        differing = [one for one in self.pictures if one.wrong]
        worst = max(differing, key=lambda one: one.badness)
        return [f"Boxes: {len(differing)} of {len(self.pictures)} pictures differ, most {worst}."]

    def _probes_apart(self) -> list[str]:
        differing = [one for one in self.probes if one.wrong > self.slack.share * one.expected]
        if not differing:
            return []
        first = differing[0]
        return [f"Probes: {len(differing)} of {len(self.probes)} encodings are answered otherwise, first {first}."]

    @property
    def lines(self) -> tuple[str, ...]:
        """What was compared, for a person."""
        box = max((one.box for one in self.pictures), default=0.0)
        score = max((one.score for one in self.pictures), default=0.0)
        named = (
            f"{name} {_shown(self.expected[key])} -> {_shown(self.figures[key])}" for key, name in COMPARED.items()
        )
        probed = f"{len(self.probes)} other encodings" if self.probes else "no other encodings, as nothing is detected"
        compared = f"{len(self.pictures)} pictures of {self.split} with {self.boxes} boxes"
        return (
            f"Gate: {compared} through {self.variant}; largest difference {box:.2g} pixels, score {score:.2g}",
            f"Gate: of what it reports, {', '.join(named)} (tolerance {self.tolerance:g}); {probed}",
        )

    def require(self) -> None:
        """Nothing, where all checks passed.

        Raises:
            OutOfTolerance: one did not.
        """
        if self.failures:
            raise OutOfTolerance(
                f"{self.model}: {_SHUT} {' '.join(self.failures)}",
                "The endpoint would not give the figures seen in training.",
            )


def release(
    write: Callable[[Path], Path],
    run: Path,
    store: Path,
    data: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Path, GateReport]:
    """Write an archive aside, serve it, check it, and only then move it into the store.

    Args:
        write: writes the archive into the folder given and returns its path.
        run: folder of the run that it is made from.
        store: where it goes; an archive of that name is replaced if the gate opens, and stays if not.
        data: folder with the validation split; where the run's settings say by default.
        progress: called with (pictures done, pictures in all).

    Raises:
        OutOfTolerance: the endpoint does not give the training's detections; the store is as it was.
        ArchiveError: not a finished run; the archive cannot be written.
        DataError: the validation pictures are not there.
    """
    made = not store.exists()
    try:
        store.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".gate-", dir=store) as aside:
            staged = write(Path(aside))
            report = _checked(staged, run, data, progress)
            report.require()
            staged.replace(store / staged.name)
    except OSError as error:
        raise ArchiveError(f"{store}: cannot be written: {error.strerror}.", "Choose another --store.") from error
    finally:
        if made and store.is_dir() and not any(store.iterdir()):
            store.rmdir()
    return store / staged.name, report


def _checked(staged: Path, run: Path, data: Path | None, progress: Progress | None) -> GateReport:
    try:
        return check_archive(staged, run, data, progress)
    except ServingError as error:  # what cannot be served is not let out either
        raise OutOfTolerance(f"{staged.stem}: {_SHUT} {error.message}", error.remedy) from error


def check_archive(mar: Path, run: Path, data: Path | None = None, progress: Progress | None = None) -> GateReport:
    """Serve an archive on loopback and hold its answers to what the run found on validation; see ``release``."""
    expected, _ = read_run(run)
    folder = find_data(run, expected, data) / expected.split
    spec = open_bundle(mar).spec
    thresholds = np.array(spec.operating_point.thresholds(spec.class_names))
    wanted = tuple(one.filter_by_score(thresholds) for one in expected.detections)
    with (
        background_server(load_models([mar])) as base,
        open_client(f"{base}/predictions/{spec.name}", spec.name, spec.class_names) as client,
        open_client(f"{base}/v2/models/{spec.name}", spec.name, spec.class_names) as protocol,
    ):
        variant = protocol.platform()
        slack = STRICT if variant.endswith("-fp32") else LOOSE
        answers = client.ask_all([folder / name for name in expected.file_names], progress)
        probing = _Probing(client, protocol, thresholds, slack)
        for index in _chosen(wanted):
            probing.probe(folder / expected.file_names[index], wanted[index])
    answered = replace(expected, detections=answered_detections(answers))
    return GateReport(
        model=spec.name,
        variant=variant,
        split=expected.split,
        figures=reported_figures(answered, thresholds),
        expected=reported_figures(expected, thresholds),
        tolerance=tolerance_of(spec),
        pictures=tuple(
            compare_answer(name, one, found, thresholds, slack)
            for name, one, found in zip(expected.file_names, wanted, answered.detections, strict=True)
        ),
        slack=slack,
        probes=tuple(probing.differences),
        refused=(*_refused(expected.file_names, answers), *probing.refused),
    )


class _Probing:
    """Posts other encodings of pictures, and keeps how their answers differ.

    Args:
        client: posts files.
        protocol: posts them in the Open Inference Protocol.
        thresholds: float64 [K].
        slack: what counts as the same.
    """

    def __init__(self, client: Client, protocol: Client, thresholds: NDArray[np.float64], slack: Slack) -> None:
        self._client, self._protocol, self._thresholds, self._slack = client, protocol, thresholds, slack
        self.differences: list[PictureDifference] = []
        self.refused: list[str] = []

    def probe(self, path: Path, expected: Detections) -> None:
        """All probes of one picture, which has these detections; those too large to post are left out."""
        self._compare(f"{path.name} in protocol v2", path.read_bytes(), expected, self._protocol)
        upright = plain_pixels(path)
        if upright is None:
            return
        for one in probes_of(upright):
            self._compare(f"{path.name} {one.name}", one.encoded, expected, self._client)
        shallow, deep = grey_pair(upright)
        if len(shallow.encoded) > _LARGEST:
            return
        answer = self._client.ask(shallow.encoded)
        if isinstance(answer, Refusal):
            self.refused += _refused([f"{path.name} {shallow.name}"], [answer])
        else:
            self._compare(f"{path.name} {deep.name}", deep.encoded, answer.detections, self._client)

    def _compare(self, name: str, encoded: bytes, expected: Detections, client: Client) -> None:
        if len(encoded) > _LARGEST:
            return
        answer = client.ask(encoded)
        if isinstance(answer, Refusal):
            self.refused += _refused([name], [answer])
            return
        found = compare_answer(name, expected, answer.detections, self._thresholds, self._slack)
        self.differences.append(found)


def _refused(names: Sequence[str], answers: Sequence[Answer | Refusal]) -> list[str]:
    return [
        f"picture {name!r} with {one.status}: {one.message}"
        for name, one in zip(names, answers, strict=True)
        if isinstance(one, Refusal)
    ]


def _chosen(wanted: Sequence[Detections]) -> list[int]:
    """Pictures to probe: some that have detections, spread over the split."""
    telling = [index for index, one in enumerate(wanted) if len(one)]
    picked = np.linspace(0, len(telling) - 1, min(PROBED, len(telling))).round().astype(int)
    return [telling[index] for index in picked]


def _shown(figure: float | None) -> str:
    return "none" if figure is None else f"{figure:.4f}"

"""What a run's detections on validation add to its model card: the worst pictures, and intervals by size of box."""

from __future__ import annotations

from math import isnan
from pathlib import Path

import numpy as np

from boxwright.archiving import CardFacts
from boxwright.evaluation.results import RESULTS, SplitResults
from boxwright.metrics.bootstrap import intervals_by_size
from boxwright.runtime import ConfigError, ModelSpec

from .gallery import failures

__all__ = ["facts_of_run", "read_notes"]

_LONGEST = 256 * 1024


def facts_of_run(run: Path, spec: ModelSpec, notes: str | None = None) -> CardFacts:
    """The facts for the card of a run; of a folder without detections the notes alone.

    Args:
        run: its folder.
        spec: of the run, with the operating point that the mistakes are counted at.
        notes: Markdown on intended use and limits.

    Raises:
        ArchiveError: the detections cannot be read.
    """
    if not (run / RESULTS).is_file():
        return CardFacts(notes=notes)
    results = SplitResults.load(run / RESULTS)
    if results.class_names != spec.class_names:
        return CardFacts(notes=notes)
    sizes = {
        name: None if isnan(one.low) else (one.low, one.high)
        for name, one in intervals_by_size(results.matches()).items()
    }
    thresholds = np.array(spec.operating_point.thresholds(spec.class_names))
    return CardFacts(failures(results, thresholds), sizes, results.split, notes)


def read_notes(path: str | Path | None) -> str | None:
    """The text of a file of notes for the card; None without a file.

    Raises:
        ConfigError: it cannot be read, is empty, not UTF-8, or longer than 256 KiB.
    """
    if path is None:
        return None
    remedy = "Give a text in Markdown, UTF-8."
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.", remedy) from error
    if not text.strip():
        raise ConfigError(f"{path}: is empty.", remedy)
    if len(text) > _LONGEST:
        raise ConfigError(f"{path}: {len(text):,} characters are too many for a card.", "Give a shorter text.")
    return text

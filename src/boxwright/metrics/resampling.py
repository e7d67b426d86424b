"""Resamples of pictures, as how often each is drawn; and sums over them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Counts", "in_blocks", "mean_of_defined", "resample_counts", "sums_until"]

Counts = NDArray[np.unsignedinteger[Any]]
BLOCK = 1 << 17
"""Numbers a thread works on at a time: few enough for a processor's cache."""


def resample_counts(num_pictures: int, resamples: int = 1000, seed: int = 0) -> Counts:
    """How often each picture is drawn: unsigned integers [R, P], each row adding up to P.

    Args:
        num_pictures: P.
        resamples: R.
        seed: the same seed gives the same draws, for as many pictures.
    """
    generator = np.random.default_rng(seed)
    counts = np.zeros((resamples, num_pictures), np.uint8)
    for row in range(resamples if num_pictures else 0):
        drawn = np.bincount(generator.integers(num_pictures, size=num_pictures), minlength=num_pictures)
        assert drawn.max() <= 255  # or it is no random draw: the odds are below 1e-500
        counts[row] = drawn
    return counts


def in_blocks(work: Callable[[Counts], NDArray[np.float64]], counts: Counts, size: int) -> NDArray[np.float64]:
    """Apply ``work`` to the resamples, some at a time, on all processors (numpy lets go of Python's lock).

    Args:
        work: takes counts [B, P], gives B rows.
        counts: [R, P], R at least 1.
        size: numbers that one resample takes.

    Returns:
        The R rows.
    """
    step = max(1, BLOCK // max(1, size))
    blocks = [counts[start : start + step] for start in range(0, len(counts), step)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(work, blocks)))


def sums_until(
    counts: Counts, pictures: NDArray[np.intp], until: NDArray[np.intp], values: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """Picture counts summed over the first rows of a list: int32 [B, m].

    Args:
        counts: [B, P].
        pictures: [n], of each row of the list.
        until: [m], sum over so many rows, 0..n.
        values: [n], what a row counts; 1 by default.
    """
    drawn = counts.take(pictures, axis=1)
    sums = np.zeros((len(counts), len(pictures) + 1), np.int32)
    np.cumsum(drawn if values is None else drawn * values, axis=1, dtype=np.int32, out=sums[:, 1:])
    return sums.take(until, axis=1)


def mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    totals, count = np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1)
    means: NDArray[np.float64] = np.divide(totals, count, out=np.full(totals.shape, np.nan), where=count > 0)
    return means

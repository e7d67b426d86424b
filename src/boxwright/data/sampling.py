"""How often a picture comes in an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw", "repeat_factors"]


def repeat_factors(labels: Sequence[NDArray[np.int64]], threshold: float) -> NDArray[np.float64]:
    """How often each picture comes, at least once: max over its classes c of sqrt(threshold / f(c)).

    f(c) is the share of the pictures that have the class. Gupta, Dollar, Girshick: "LVIS", 2019, section 4.3 (repeat
    factor sampling); there the threshold is .001.

    Args:
        labels: of each picture, class indices [n], n may be 0.
        threshold: 0..1; classes in at least this share of the pictures are not repeated.

    Returns:
        float64 [pictures].
    """
    classes = 1 + max((int(own.max()) for own in labels if len(own)), default=-1)
    has = np.zeros((len(labels), classes), dtype=bool)
    for row, own in zip(has, labels, strict=True):
        row[own] = True
    shares = has.mean(axis=0) if len(labels) else np.zeros(classes)
    factors = np.sqrt(threshold / np.maximum(shares, 1e-12))
    rarest: NDArray[np.float64] = np.where(has, factors, 0.0).max(axis=1, initial=1.0)
    return rarest


def draw(shares: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which pictures come, in random order: each as often as its share says, rounded up or down by chance.

    Systematic sampling (Madow, 1949): equally spaced marks on a line on which each picture has its share.

    Args:
        shares: of each picture, float64 [n], positive; they are scaled to the sum ``count``.
        count: how many numbers.
        rng: of all that is random.

    Returns:
        int64 [count]: the number of a picture, 0..n - 1, plus k * n for its k-th repetition.
    """
    order = rng.permutation(len(shares))
    ends = np.cumsum(shares[order])
    marks = (rng.random() + np.arange(count)) * (ends[-1] / count)
    places = np.minimum(np.searchsorted(ends, marks, side="right"), len(shares) - 1)
    repetition = np.arange(count) - np.searchsorted(places, places)  # places rise
    return rng.permutation(order[places] + repetition * len(shares)).astype(np.int64)

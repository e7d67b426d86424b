"""Stable orders of large columns, by radix: several times faster than comparing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["falling", "rising"]

_DIGIT = 16  # numpy sorts 16-bit integers by counting when asked for a stable order


def rising(keys: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The stable order, int64 [n], that sorts keys [n] of at least 0 from small to great."""
    return _order(keys.astype(np.uint64))


def falling(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The stable order, int64 [n], that sorts float64 [n] from great to small; no NaN."""
    bits = (scores + 0.0).view(np.int64)  # + 0.0 makes one zero of two
    rising_bits = np.where(bits < 0, ~bits, bits ^ np.int64(-(2**63)))
    return _order(~rising_bits.view(np.uint64))


def _order(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Least digit first; a digit that is the same in all keys orders nothing."""
    order: NDArray[np.int64] | None = None
    differing = int(np.bitwise_or.reduce(keys ^ keys[:1])) if keys.size else 0
    for shift in range(0, 64, _DIGIT):
        if not (differing >> shift) & (2**_DIGIT - 1):
            continue
        digit = (keys if order is None else keys[order]) >> np.uint64(shift)
        step = np.argsort(digit.astype(np.uint16), kind="stable")
        order = step if order is None else order[step]
    return np.arange(len(keys)) if order is None else order

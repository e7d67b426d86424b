"""Greedy matching without a loop over detections.

That the best detection chooses first, then the next, is a matching in which every box prefers the
better detection. Such a matching is stable and the only one, so deferred acceptance (Gale and
Shapley, 1962) finds it in rounds over all detections at once: each asks for its favourite, a box
keeps the best that asked, the others ask for their next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["assign"]


def assign(
    seekers: NDArray[np.int64], places: NDArray[np.int64], shared: NDArray[np.bool_], num_places: int
) -> NDArray[np.int64]:
    """Who gets which place; F wishes, each an acceptable pair of a seeker and a place.

    Args:
        seekers: int64 [F], rising; where two want one place, the lower number gets it.
        places: int64 [F], 0..num_places-1, each seeker's in its order of preference.
        shared: bool [F], whether the place takes any number of seekers.
        num_places: M.

    Returns:
        int64 [n], the rows of the wishes granted, at most one a seeker, rising.
    """
    wish = np.flatnonzero(np.diff(seekers, prepend=-1))
    last = np.append(wish[1:], len(seekers)) - 1
    nobody = len(wish)
    holder = np.full(num_places, nobody)
    asking = np.arange(nobody)
    while asking.size:
        asking = asking[~shared[wish[asking]]]
        asked = places[wish[asking]]
        before = holder[asked]
        np.minimum.at(holder, asked, asking)
        got_it = holder[asked] == asking
        turned_out = before[got_it]
        asking = np.concatenate([asking[~got_it], turned_out[turned_out < nobody]])
        more = wish[asking] < last[asking]
        wish[asking[~more]] = -1
        asking = asking[more]
        wish[asking] += 1
    return wish[wish >= 0]

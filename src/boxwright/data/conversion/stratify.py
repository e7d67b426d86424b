"""Splits pictures so that every class has its share in every split."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

__all__ = ["stratify"]

Label = int | None
Weights = Mapping[Label, int]

_ROUNDING = 1e-9


def stratify(groups: Sequence[Weights], sizes: Sequence[int], shares: Sequence[float], seed: int) -> list[int]:
    """Choose a split for each group by iterative stratification.

    Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data, ECML PKDD 2011,
    algorithm 1: the rarest label is dealt out first, each time to the split that still wants most of
    it. Groups of several pictures are dealt out whole, the largest first. Where no split wants a
    whole group any more, those that want a part of one count as equal, and the one that is
    emptiest takes it; without that, all pictures of classes with few would go to the largest.

    With w the most pictures of a label in one group, and s its pictures in groups that have other
    labels too, each split gets its share of the label's pictures to within max(w, s): less than one
    group for labels that come alone. Only a split that would stay empty is given a group beyond that.

    Args:
        groups: by label, how many of a group's pictures have it; each group has at least one label.
        sizes: pictures by group.
        shares: of the splits, each above 0, with the sum 1.
        seed: decides between equals.

    Returns:
        The index of the split, by group.
    """
    deal = _Deal(groups, sizes, shares)
    generator = random.Random(seed)
    keys = [generator.random() for _ in groups]
    having: dict[Label, list[int]] = {label: [] for label in deal.left}
    for index in sorted(range(len(groups)), key=keys.__getitem__):
        for label in groups[index]:
            having[label].append(index)
    while deal.left:
        label = min(deal.left, key=lambda one: (deal.left[one], str(one)))
        waiting = [index for index in having[label] if deal.places[index] < 0]
        for index in sorted(waiting, key=lambda one: -groups[one][label]):
            deal.give(index, deal.choose(label))
    return _without_empty(deal.places, sizes, len(shares))


class _Deal:
    """What each split still wants.

    Attributes:
        left: pictures by label not yet dealt out; labels that are done are gone.
        places: split by group, -1 before it is dealt out.
    """

    def __init__(self, groups: Sequence[Weights], sizes: Sequence[int], shares: Sequence[float]) -> None:
        self._groups = groups
        self._sizes = sizes
        self._shares = shares
        self.left: Counter[Label] = Counter()
        self._largest: Counter[Label] = Counter()
        for group in groups:
            self.left.update(group)
            self._largest |= Counter(group)
        self.places = [-1] * len(groups)
        self._wanted = {label: [count * share for share in shares] for label, count in self.left.items()}
        self._filled = [0.0] * len(shares)

    def choose(self, label: Label) -> int:
        wanted = self._wanted[label]
        splits = range(len(wanted))
        most = max(wanted)
        if most >= self._largest[label] - _ROUNDING:
            return max(splits, key=lambda split: (wanted[split], -self._filled[split]))
        tied = [split for split in splits if wanted[split] > _ROUNDING] or [wanted.index(most)]
        return min(tied, key=lambda split: (self._filled[split], -wanted[split]))

    def give(self, index: int, split: int) -> None:
        self.places[index] = split
        self._filled[split] += self._sizes[index] / self._shares[split]
        for label, count in self._groups[index].items():
            self._wanted[label][split] -= count
            self.left[label] -= count
            if not self.left[label]:
                del self.left[label]


def _without_empty(places: list[int], sizes: Sequence[int], splits: int) -> list[int]:
    """Give each empty split the smallest group of the split that has the most."""
    for split in range(splits):
        counts = Counter(places)
        richest, most = max(counts.items(), key=lambda item: (item[1], -item[0]), default=(0, 0))
        if not counts[split] and most > 1:
            own = [index for index, place in enumerate(places) if place == richest]
            places[min(own, key=lambda index: (sizes[index], index))] = split
    return places

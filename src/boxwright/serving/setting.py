"""How a model is run on a machine: by what, with how many threads, how many times over."""

from __future__ import annotations

from dataclasses import dataclass

from boxwright.runtime import Variant

__all__ = ["MAX_SESSIONS", "Setting", "in_words", "splits"]

MAX_SESSIONS = 16
"""Largest number of sessions that is tried: each holds a network of its own."""


@dataclass(frozen=True)
class Setting:
    """What runs a model.

    Attributes:
        variant: runtime and precision.
        threads: processors one picture may use.
        sessions: pictures that run at the same time.
    """

    variant: Variant
    threads: int
    sessions: int

    def __str__(self) -> str:
        return in_words(self.variant, self.threads, self.sessions)


def in_words(variant: Variant, threads: int | None, sessions: int) -> str:
    """A setting for people; None threads are as many as the runtime starts by itself."""
    each = "its own number of threads" if threads is None else _counted(threads, "thread")
    return f"{variant}, {each} x {_counted(sessions, 'session')}"


def splits(cores: int) -> tuple[tuple[int, int], ...]:
    """(threads, sessions) to try: the cores shared by 1, 2, 4 … sessions, by as many as there are, and one core alone.

    Args:
        cores: processors there are.
    """
    sessions = [*(2**power for power in range(cores.bit_length())), cores]
    shared = [(cores // one, one) for one in sorted(set(sessions)) if one <= MAX_SESSIONS]
    return tuple(dict.fromkeys([*shared, (1, 1)]))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

"""What every backend is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, List, Tuple

import numpy as np

from ..bundle import Bundle
from ..detections import Detections
from ..execution import Execution

__all__ = ["Backend"]


class Backend(ABC):
    """Runs a network: the class says what it is, an object is ready to run."""

    name: ClassVar[str]
    """In ``Execution.backend``."""
    package: ClassVar[str]
    """That it imports, when it is opened."""
    extra: ClassVar[str]
    """What to install for it."""
    precisions: ClassVar[Tuple[str, ...]]
    """Those that it runs in."""
    proved: ClassVar[Tuple[str, ...]]
    """Of these, those in which ``boxwright archive`` proves it; the trained network needs no proof in fp32."""
    any_device: ClassVar[bool]
    """Whether it runs on any torch device, or on the CPU alone."""

    @staticmethod
    @abstractmethod
    def member(precision: str) -> str:
        """Name of the archive's member that it runs."""

    @classmethod
    @abstractmethod
    def open(cls, bundle: Bundle, execution: Execution) -> Backend:
        """Make it ready.

        Args:
            bundle: the model.
            execution: settled; device, precision and package have been checked.

        Raises:
            ArchiveError: the bundle does not hold what it runs, or it is broken.
        """

    @abstractmethod
    def detect(self, canvases: np.ndarray) -> List[Detections]:
        """Detect on a batch.

        Args:
            canvases: uint8 [N, 3, H, W], RGB, as ``preprocess`` makes them.

        Returns:
            N detections in canvas pixels.
        """

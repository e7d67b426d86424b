"""What ``weights`` may say; judged without PyTorch."""

from __future__ import annotations

import os
from pathlib import Path

from boxwright.runtime import ModelError

__all__ = ["WORDS", "require_weights_exist", "weights_file_missing"]

WORDS = ("auto", "none", "imagenet", "coco")
"""What is not the path of a file or folder."""


def require_weights_exist(weights: str) -> None:
    """Raise unless starting weights are one of ``WORDS``, or a file or folder that is there.

    Raises:
        ModelError: they are not.
    """
    if weights not in WORDS and not Path(weights).exists():
        raise weights_file_missing(Path(weights))


def weights_file_missing(path: Path) -> ModelError:
    """The error of a file of weights that is not there."""
    return ModelError(
        f"Weights {os.fspath(path)!r}: the file does not exist.", f"Give {', '.join(WORDS)}, or the path of a file."
    )

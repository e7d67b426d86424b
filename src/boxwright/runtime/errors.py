"""Every exception boxwright raises on purpose.

::

    BoxwrightError
    ├── PictureError              a picture that cannot be used            HTTP 400
    │   ├── UnsupportedPicture    not JPEG, PNG, WebP or BMP               HTTP 415
    │   │   └── PointerFile       a Git LFS pointer in place of a picture
    │   └── PictureTooLarge       more pixels than allowed                 HTTP 413
    ├── ConfigError               a setting that does not exist or does not fit
    ├── DataError                 a data set that cannot be trained on
    ├── ContractError             classes that differ from the model's
    ├── ModelError                an unknown architecture, unusable weights
    ├── ArchiveError              an archive or run folder that cannot be read
    ├── ServingError              a server that cannot start, an endpoint that does not answer
    ├── OutOfTolerance            an export or an endpoint that gives other figures    exit code 1
    └── MissingDependency         a part of boxwright that is not installed

A message names the culprit (file, id, key, value) first; ``remedy`` says what to do about it.
"""

from __future__ import annotations

from typing import Optional

__all__ = [
    "ArchiveError",
    "BoxwrightError",
    "ConfigError",
    "ContractError",
    "DataError",
    "MissingDependency",
    "ModelError",
    "OutOfTolerance",
    "PictureError",
    "PictureTooLarge",
    "PointerFile",
    "ServingError",
    "UnsupportedPicture",
]


class BoxwrightError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: what is wrong, the culprit named.
        remedy: what the reader can do about it.
    """

    exit_code = 2
    """Of the command line: 2, it could not be done; 1, the answer is no."""

    def __init__(self, message: str, remedy: Optional[str] = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


class PictureError(BoxwrightError):
    """A picture that is broken, truncated or otherwise not decodable."""

    http_status = 400


class UnsupportedPicture(PictureError):
    """Bytes that are not in one of the accepted picture formats."""

    http_status = 415


class PointerFile(UnsupportedPicture):
    """What Git LFS leaves in place of a picture that was not fetched."""


class PictureTooLarge(PictureError):
    """A picture whose header announces more pixels than allowed."""

    http_status = 413


class ConfigError(BoxwrightError):
    """A setting that does not exist, or a value that does not fit it."""


class DataError(BoxwrightError):
    """A data set that cannot be trained or evaluated on."""


class ContractError(BoxwrightError):
    """Classes of a data set that differ from the classes of a model."""


class ModelError(BoxwrightError):
    """An unknown architecture, or weights that do not fit it."""


class ArchiveError(BoxwrightError):
    """An archive or a run folder that is missing, broken or unsafe."""


class ServingError(BoxwrightError):
    """A server that cannot start, or an endpoint that does not answer as it should."""


class MissingDependency(BoxwrightError):
    """A part of boxwright whose packages are not installed."""


class OutOfTolerance(BoxwrightError):
    """An export or an endpoint whose figures differ too much from the trained model's."""

    exit_code = 1

"""Export, archive, serve and check, in one step."""

from .releasing import Release, ReleaseOptions, archive, release

__all__ = ["Release", "ReleaseOptions", "archive", "release"]

"""Export, archive, serve and check, in one step."""

from .archive import Release, ReleaseOptions, archive, check_archive, release

__all__ = ["Release", "ReleaseOptions", "archive", "check_archive", "release"]

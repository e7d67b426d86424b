"""The ``boxwright`` command."""

from __future__ import annotations

import io
import sys
import warnings

from .commands import app

__all__ = ["main"]


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 the answer is no, 2 could not be done, 130 interrupted."""
    from boxwright.host.memory import keep_freed_memory
    from boxwright.runtime.errors import BoxwrightError

    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may be no Unicode
    warnings.filterwarnings("ignore", module="PIL")  # what matters of it has a finding or an error of ours
    keep_freed_memory()
    try:
        app()
    except BoxwrightError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder that cannot be written: no fault of the code
        print(f"Error: {error.filename or 'input or output'}: {error.strerror or error}.", file=sys.stderr)  # noqa: T201
        sys.exit(2)

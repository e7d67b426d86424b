"""The ``boxwright`` command; the verbs are in ``verbs``."""

from __future__ import annotations

import io
import sys
import warnings
from typing import Annotated

import typer

from .verbs import Verbs

__all__ = ["app", "main"]

app = typer.Typer(
    name="boxwright",
    cls=Verbs,
    help="A folder of COCO annotations goes in; a detector behind an HTTP endpoint comes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        from boxwright import __version__

        typer.echo(f"boxwright {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A folder of COCO annotations goes in; a detector behind an HTTP endpoint comes out."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 the answer is no, 2 could not be done, 130 interrupted."""
    from boxwright.host.memory import keep_freed_memory
    from boxwright.host.places import as_given
    from boxwright.runtime.errors import BoxwrightError

    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be Unicode
    warnings.filterwarnings("ignore", module="PIL")  # what matters of them is a finding or an error of ours
    keep_freed_memory()
    try:
        app()
    except BoxwrightError as error:
        remedy = as_given(error.remedy or "", in_commands=True)
        print(f"Error: {as_given(error.message)} {remedy}".rstrip(), file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder that cannot be written: not a fault of the code
        print(f"Error: {error.filename or 'input or output'}: {error.strerror or error}.", file=sys.stderr)  # noqa: T201
        sys.exit(2)

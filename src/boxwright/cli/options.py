"""Options that several verbs share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from boxwright.runtime import ModelSpec

__all__ = [
    "AnySource",
    "BackendOption",
    "DeviceOption",
    "HtmlOption",
    "JsonOption",
    "MeasuredDataOption",
    "MovedDataOption",
    "NameOption",
    "PrecisionOption",
    "Run",
    "Source",
    "SplitOption",
    "StoreOption",
    "ThresholdOption",
    "ToleranceOption",
    "next_line",
    "print_written",
    "refuse_typed",
    "require_file_names",
    "require_not_read",
    "settings_of",
    "typed",
    "write_json",
]

Source = Annotated[str, typer.Argument(metavar="RUN_OR_MAR", help="Run folder or .mar archive, or its URL.")]
AnySource = Annotated[
    str,
    typer.Argument(metavar="RUN_OR_MAR_OR_RESULTS", help="Run folder, .mar, or any tool's COCO results (.json)."),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Run folder, or its URL.")]
MeasuredDataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Folder, .zip or URL with train/ and valid/; by default the run's. Of results also a COCO JSON file.",
    ),
]
MovedDataOption = Annotated[
    str | None, typer.Option("--data", help="Folder, .zip or URL of the data, if it has moved since training.")
]
SplitOption = Annotated[str, typer.Option(help="train, valid or test.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the answer to this file.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Also write a page with charts and pictures.")]
NameOption = Annotated[str | None, typer.Option(help="Model name in the URL; unchanged by default.")]
StoreOption = Annotated[Path, typer.Option(help="Model store: the folder for the archive.")]
ToleranceOption = Annotated[
    float | None, typer.Option(min=0.0, help="Of mAP and F2; .0005 in fp32, .002 in bf16, .01 in int8 by default.")
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, help="Lowest score reported; by default the operating point, which validation chose."
    ),
]
DeviceOption = Annotated[str, typer.Option(help="cpu, or cuda:0 for a GPU, which PyTorch alone runs on.")]
BackendOption = Annotated[
    str,
    typer.Option(
        "--backend",
        help="onnxruntime, openvino, torch or torch-compile; auto: one proved to find what the trained model finds.",
    ),
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="fp32, bf16 or int8; auto: what was proved, as for --backend.")
]


def settings_of(options: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """What is given as options, without None, and with ``--set``.

    Raises:
        ConfigError: one of them is given two values.
    """
    from boxwright.config import parse_assignment
    from boxwright.runtime import ConfigError

    given = {key: value for key, value in options.items() if value is not None}
    for key, value in map(parse_assignment, assignments):
        if key in given and str(given[key]) != str(value):
            raise ConfigError(f"{key!r} is given twice, as {given[key]} and {value}.", "Keep one.")
        given[key] = value
    return given


def typed(context: typer.Context) -> list[str]:
    """The options that were typed, by name; ``--no-export`` where that was."""
    return [
        one.secondary_opts[0] if one.secondary_opts and context.params[name] is False else one.opts[-1]
        for one in context.command.params
        if (name := one.name) is not None and name in context.params and _is_typed(context, name)
    ]


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse_typed(context: typer.Context, options: Iterable[str], problem: str, remedy: str) -> None:
    """Raise if options were typed that would decide nothing.

    Args:
        context: of the verb.
        options: by name, as ``--seed``.
        problem: goes on behind their names.
        remedy: what to do.

    Raises:
        ConfigError: one was.
    """
    from boxwright.runtime import ConfigError

    useless = [option for option in typed(context) if option in options]
    if useless:
        raise ConfigError(f"{', '.join(useless)} {problem}", remedy)


def require_file_names(**paths: Path | None) -> None:
    """Raise if a file cannot be written, before minutes are spent on its content.

    Args:
        **paths: by option, as in ``json=Path("a.json")`` for ``--json``.

    Raises:
        ConfigError: it is a folder, its folder cannot be made or written to, or two options name the same file.
    """
    from boxwright.host.files import is_replaced, require_writable
    from boxwright.runtime import ConfigError

    taken: dict[Path, str] = {}
    for option, path in paths.items():
        if path is not None and path.is_dir():
            raise ConfigError(f"--{option} {path} is a folder.", "Give the name of a file.")
        if path is None or not is_replaced(path):
            continue
        require_writable(path.parent)
        other = taken.setdefault(path.resolve(), option)
        if other != option:
            raise ConfigError(f"--{other} and --{option} are both {path}.", "Give each a name of its own.")


def require_not_read(inputs: Iterable[str | Path], **paths: Path | None) -> None:
    """Raise if a file that is to be written is one that is read.

    Args:
        inputs: files, and folders of data and of runs.
        **paths: by option, as of ``require_file_names``.

    Raises:
        ConfigError: it is one.
    """
    from boxwright.runtime import ConfigError

    written = [(option, path) for option, path in paths.items() if path is not None and path.is_file()]
    for option, path in written:
        for read in inputs:
            if _is_part(path.resolve(), Path(read).resolve()):
                raise ConfigError(f"--{option} {path} would overwrite a file of {read}.", "Give another name.")


def _is_part(file: Path, read: Path) -> bool:
    """Whether a file is what is read, in a split of it, its annotations, or the trained model of it."""
    from boxwright.data.documents import ANNOTATIONS, SPLITS
    from boxwright.runtime.bundle import RUN_SPEC, WEIGHTS

    if not file.is_relative_to(read):
        return False
    if file.name == ANNOTATIONS:
        return True
    first, *rest = file.relative_to(read).parts or ("",)
    return first in (*SPLITS, "") if rest or not first else first in (RUN_SPEC, WEIGHTS)


def print_written(console: Console, **paths: Path | None) -> None:
    """Say what was written.

    Args:
        console: to print to.
        **paths: by what it is, as in ``page=Path("a.html")``; None was not written.
    """
    for what, path in paths.items():
        if path is not None:
            console.print(f"{what.upper() if what == 'json' else what.capitalize()}: {path}")


def next_line(model: str, spec: ModelSpec) -> str | None:
    """What is likely typed after a verb that has looked at a model; None for one that has to be trained first.

    Args:
        model: run or archive, as it was given.
        spec: of it.
    """
    from boxwright.host.places import in_command, name_of, place_of, shown_place

    shown = in_command(shown_place(model))
    if name_of(place_of(model)).endswith(".mar"):
        return f"Next: boxwright serve {shown}"
    return None if spec.finds_hardly_anything else f"Next: boxwright archive {shown}"


def write_json(path: Path, document: Any) -> None:
    """Write what ``--json`` asks for, whole or not at all; folders are made."""
    from boxwright.host.files import writing

    text = json.dumps(document, indent=2, ensure_ascii=False)
    with writing(path) as part:
        part.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")  # file names need not be Unicode

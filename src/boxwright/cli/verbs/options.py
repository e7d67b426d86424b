"""What verbs have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "BackendOption",
    "DataOption",
    "DeviceOption",
    "JsonOption",
    "PrecisionOption",
    "Source",
    "ThresholdOption",
    "require_file_name",
    "shown",
    "shown_with_interval",
    "write_json",
]

Source = Annotated[Path, typer.Argument(metavar="RUN_OR_MAR", help="Run folder or .mar archive.")]
DataOption = Annotated[Path, typer.Option("--data", help="Folder with train/, valid/ and optionally test/.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the answer to this file.")]
ThresholdOption = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Lowest score; the model's operating point by default.")
]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda:0.")]
BackendOption = Annotated[
    str,
    typer.Option("--backend", help="onnxruntime, openvino, torch or torch-compile; auto: the fastest proved equal."),
]
PrecisionOption = Annotated[str, typer.Option("--precision", help="fp32, bf16 or int8; auto: with --backend.")]


def require_file_name(option: str, path: Path | None) -> None:
    """Before minutes are spent on what is then written nowhere."""
    from boxwright.runtime import ConfigError

    if path is not None and path.is_dir():
        raise ConfigError(f"{option} {path} is a folder.", "Give the name of a file.")


def write_json(path: Path, document: Any) -> None:
    """Write what ``--json`` asks for; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")  # file names may be no Unicode


def shown(value: float | None) -> str:
    """A figure for people; a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.4f}"


def shown_with_interval(figures: Mapping[str, Any], key: str) -> str:
    """A figure of ``evaluate --json``'s shape for people, with its interval where there is one."""
    interval = figures.get("intervals", {}).get(key)
    return shown(figures[key]) + (f" ({shown(interval[0])} to {shown(interval[1])})" if interval else "")

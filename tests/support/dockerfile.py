"""Carries out what can be carried out of docker/Dockerfile without a Docker engine."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = "/opt/boxwright"
"""The image's Python environment."""


def instructions(path: Path) -> list[tuple[str, str]]:
    """Keyword and arguments, lines joined; comments left out."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines()]


def only(steps: list[tuple[str, str]], keyword: str) -> str:
    """The arguments of an instruction that occurs once."""
    (arguments,) = [text for name, text in steps if name == keyword]
    return arguments


def stages(path: Path) -> list[list[tuple[str, str]]]:
    """Instructions of each stage, each beginning with FROM."""
    found: list[list[tuple[str, str]]] = []
    for step in instructions(path):
        if step[0] == "FROM":
            found.append([])
        found[-1].append(step)
    return found


def carry_out(stage: list[tuple[str, str]], folder: Path) -> Path:
    """COPY and RUN of a stage in an empty folder, with this Python; returns the new environment."""
    source, environment = folder / "source", folder / "environment"
    source.mkdir(parents=True)
    for keyword, arguments in stage:
        if keyword == "COPY":
            *names, target = arguments.split()
            for name in names:
                _copy(REPOSITORY / name, source / target / (name if target == "./" else ""))
        elif keyword == "RUN":
            _shell(arguments.replace(ENVIRONMENT, str(environment)), source)
    return environment


def health_check(steps: list[tuple[str, str]], port: int, environment: Path) -> int:
    """Exit status of the image's health check, run against another port."""
    program, *arguments = json.loads(only(steps, "HEALTHCHECK").partition(" CMD ")[2])
    arguments = [text.replace(":8080", f":{port}") for text in arguments]
    return subprocess.run([environment / "bin" / program, *arguments], capture_output=True, timeout=60).returncode


def _copy(origin: Path, target: Path) -> None:
    if origin.is_dir():
        shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(origin, target)


def _shell(command: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env={**variables, "PATH": path},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr

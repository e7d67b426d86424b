"""Install the wheel alone, and with each extra, in fresh environments, and let each answer a picture.

    python benchmarks/extras.py MAR PICTURE [EXTRA ...]

Each environment is made anew in a temporary folder, filled from the package index, tried with
``tests/support/smoke.py`` and removed. ``train`` alone takes some gigabytes and minutes, so this is no test.
``-`` stands for the bare install; without names all are tried.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SMOKE = REPOSITORY / "tests" / "support" / "smoke.py"
BARE = "-"
NOT_TRIED = ("dev",)
MEGABYTE = 1_000_000


def main() -> None:
    """Print a row for each environment; exit with 1 if one of them fails."""
    mar, picture, *chosen = sys.argv[1:]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [BARE, *(one for one in project["optional-dependencies"] if one not in NOT_TRIED)]
    print("| extra | installs, s | installed, MB | answers |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
        (wheel,) = Path(folder).glob("*.whl")
        good = [_tried(extra, wheel, Path(mar).resolve(), Path(picture).resolve()) for extra in chosen or extras]
    sys.exit(not all(good))


def _tried(extra: str, wheel: Path, mar: Path, picture: Path) -> bool:
    asked = str(wheel) if extra == BARE else f"{wheel}[{extra}]"
    with tempfile.TemporaryDirectory() as folder:
        python = str(Path(folder) / "bin" / "python")
        _run(sys.executable, "-m", "venv", "--without-pip", folder)
        started = time.monotonic()
        try:
            _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", asked)
            seconds = time.monotonic() - started
            answer = _run(python, str(SMOKE), str(mar), str(picture), cwd=folder).strip()
        except subprocess.CalledProcessError as error:
            print(f"| {extra} | - | - | failed: {error.stderr.strip().splitlines()[-1]} |", flush=True)
            return False
        size = sum(one.lstat().st_size for one in Path(folder).rglob("*") if not one.is_dir()) / MEGABYTE
    print(f"| {extra} | {seconds:.0f} | {size:.0f} | {answer} |", flush=True)
    return True


def _run(*command: str, cwd: str | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    where = cwd or REPOSITORY
    return subprocess.run(command, cwd=where, env=environment, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()

"""The command, as a process of its own."""

import subprocess
import sys
from pathlib import Path


def boxwright(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``boxwright ARGUMENTS`` and wait for it."""
    command = [sys.executable, "-m", "boxwright", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)

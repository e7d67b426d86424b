"""What is slow to make is made once per test session, although several processes run the tests."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

_WORKERS_FOLDER = "popen-"
"""How pytest-xdist begins the name of a worker's temporary folder, which is in the session's."""


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first process to ask fills with ``make(folder)``; the others wait for it.

    What tests share they must not change.

    Args:
        factory: pytest's, by which the session is known.
        name: of the folder; unique within the session.
        make: fills the folder, which is empty. Nothing is kept of what failed; the next process tries again.
    """
    base = factory.getbasetemp()
    session = base.parent if base.name.startswith(_WORKERS_FOLDER) else base
    if kept := os.environ.get("BOXWRIGHT_KEEP_MADE"):  # between sessions; remove the folder when what makes it changes
        session = Path(kept)
    folder, done = session / "shared" / name, session / "shared" / f"{name}.done"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (session / "shared" / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # closing the file gives it back
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder

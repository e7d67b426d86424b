"""One of several processes that train together; see ``boxwright.training.launch``, which starts them."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from boxwright.host.files import write_text
from boxwright.host.memory import keep_freed_memory
from boxwright.runtime import BoxwrightError

__all__ = ["perform"]


def main(folder: Path, alive: int) -> int:
    """Do the task in ``folder``, and write down how it went in ``RANK.json`` there; the exit code."""
    threading.Thread(target=_end_with_caller, args=[alive], daemon=True).start()
    told = folder / f"{int(os.environ['RANK'])}.json"
    return perform(
        lambda outcome: write_text(told, json.dumps(outcome)), json.loads((folder / "task.json").read_text())
    )


def perform(tell: Callable[[Mapping[str, Any]], object], task: Mapping[str, Any]) -> int:
    """Do a task, as one of several processes, and write down how it went.

    Args:
        tell: writes down what is known, in place of what was before; as JSON has it.
        task: ``verb`` and ``settings``, see ``launch.Task``.

    Returns:
        The exit code.
    """
    keep_freed_memory()
    known: dict[str, Any] = {}

    def on_folder(folder: Path | str) -> None:
        known["folder"] = str(folder)
        tell(known)

    try:
        tell(known)
        outcome = _do(task, on_folder)
    except KeyboardInterrupt:
        tell({**known, "stopped": True})
        return 0
    except OSError as error:
        named = None if error.filename is None else str(error.filename)
        tell({**known, "os_error": [error.errno, error.strerror, named]})
        return 1
    except BoxwrightError as error:
        tell({"error": type(error).__name__, "message": error.message, "remedy": error.remedy})
        return 1
    except Exception:  # when one process fails, the others fail to reach it: which came first, the caller finds out
        tell({**known, "traceback": traceback.format_exc()})
        return 1
    tell(outcome)
    return 0


def _do(task: Mapping[str, Any], on_folder: Callable[[Path | str], None]) -> dict[str, Any]:
    from .verbs import together

    result = together(task["verb"], task["settings"], on_folder)
    return {"folder": str(result.folder), "interrupted": result.interrupted, "store": result.store}


def _end_with_caller(alive: int) -> None:
    """End when the caller does, however that ends: its end of the pipe closes then."""
    while os.read(alive, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))

"""One of several processes that train together; see ``boxwright.training.launch``, which starts them."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from boxwright.host.files import write_text
from boxwright.host.memory import keep_freed_memory
from boxwright.runtime import BoxwrightError

__all__ = ["perform"]


def main(folder: Path, alive: int) -> int:
    """Do the task in ``folder``, and write down how it went; the exit code."""
    threading.Thread(target=_end_with_caller, args=[alive], daemon=True).start()
    return perform(folder, int(os.environ["RANK"]), json.loads((folder / "task.json").read_text()))


def perform(folder: Path, rank: int, task: dict[str, Any]) -> int:
    """Do a task, as one of several processes, and write down in ``folder`` how it went.

    Args:
        folder: that all of them see.
        rank: of this process; its outcome is ``RANK.json``.
        task: ``verb`` and ``settings``, see ``launch.Task``.

    Returns:
        The exit code.
    """
    keep_freed_memory()
    told = folder / f"{rank}.json"
    try:
        write_text(told, "{}")
        outcome = _do(task, told)
    except KeyboardInterrupt:
        write_text(told, json.dumps({**_told(told), "stopped": True}))
        return 0
    except OSError as error:
        named = None if error.filename is None else str(error.filename)
        write_text(told, json.dumps({**_told(told), "os_error": [error.errno, error.strerror, named]}))
        return 1
    except BoxwrightError as error:
        write_text(
            told,
            json.dumps({"error": type(error).__name__, "message": error.message, "remedy": error.remedy}),
        )
        return 1
    except Exception:  # when one process fails, the others fail to reach it: which came first, the caller finds out
        write_text(told, json.dumps({**_told(told), "traceback": traceback.format_exc()}))
        return 1
    write_text(told, json.dumps(outcome))
    return 0


def _do(task: dict[str, Any], told: Path) -> dict[str, Any]:
    from .verbs import together

    def on_folder(folder: Path | str) -> None:
        write_text(told, json.dumps({"folder": str(folder)}))

    result = together(task["verb"], task["settings"], on_folder)
    return {"folder": str(result.folder), "interrupted": result.interrupted, "store": result.store}


def _told(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return told


def _end_with_caller(alive: int) -> None:
    """End when the caller does, however that ends: its end of the pipe closes then."""
    while os.read(alive, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))

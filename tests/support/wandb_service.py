"""The process that writes wandb's files for this one, and a program whose service dies."""

import os
import signal
import sys
from pathlib import Path

from boxwright.tracking.loggers import GuardedLogger
from boxwright.tracking.wandb import WandbTracker


def kill_wandbs_service() -> None:
    """Kill the one that serves this process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if command[0].endswith(b"wandb-core") and str(os.getpid()).encode() in command:
            os.kill(int(folder.name), signal.SIGKILL)
            return
    raise AssertionError("wandb has no service")


if __name__ == "__main__":
    run = Path(sys.argv[1])
    logger = GuardedLogger("W&B", lambda: WandbTracker(run, "a", "p", "offline", {}, print), print)
    kill_wandbs_service()
    logger.log_metrics({"val/map": 0.1}, 1)

"""How long ``boxwright archive RUN --precision bf16 --precision int8 --gate`` takes, beside an earlier version.

Run ``python benchmarks/archive.py RUN DATA EARLIER_SRC [ROUNDS]``; ``EARLIER_SRC`` is the ``src`` folder of another
checkout, which must read the run. Both versions run in turns, in processes of their own. The tolerance is wide, as only
the time matters here.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OPTIONS = ("--precision", "bf16", "--precision", "int8", "--gate", "--tolerance", "0.5")


def main() -> None:
    """Print a line per round, then the ratio of the medians and of each round."""
    run, data, earlier = (Path(argument).resolve() for argument in sys.argv[1:4])
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    now = Path(__file__).resolve().parents[1] / "src"
    seconds: dict[Path, list[float]] = {earlier: [], now: []}
    for one in range(rounds):
        for source in (earlier, now) if one % 2 == 0 else (now, earlier):
            seconds[source].append(archived(run, data, source))
        print(f"round {one + 1}: earlier {seconds[earlier][-1]:.1f} s, now {seconds[now][-1]:.1f} s", flush=True)
    ratios = sorted(new / old for new, old in zip(seconds[now], seconds[earlier], strict=True))
    medians = (statistics.median(seconds[source]) for source in (earlier, now))
    print("median: earlier {:.1f} s, now {:.1f} s".format(*medians))
    print(f"ratio per round: median {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")


def archived(run: Path, data: Path, source: Path) -> float:
    """Seconds that the command took with the code of ``source``."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "boxwright", "archive", str(run), "--data", str(data), "--store", store]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, *OPTIONS], env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, text=True
        )
        took = time.perf_counter() - started
    if done.returncode not in (0, 1):  # 1: refused, after all the work was done
        sys.exit(f"{source}: {done.stderr}")
    print(f"{took:.1f} s, {'released' if done.returncode == 0 else 'refused by the gate'}", flush=True)
    return took


if __name__ == "__main__":
    main()

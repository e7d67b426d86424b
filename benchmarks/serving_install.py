"""What it takes to serve an archive: boxwright's bare install beside TorchServe, in turns, with the same archive.

    python3.11 -m venv bare && bare/bin/pip install --constraint constraints.txt .
    python benchmarks/serving_install.py --mar model-store/NAME.mar --picture PICTURE... --python bare/bin/python \
        [--rounds 3] [--requests 200] [--seconds 10]

A round starts a server, asks until the first answer, times single requests of one client, then counts the answers
that one and four clients get. Both servers have one worker and listen on loopback; each is stopped before the next
one starts. Memory is read after the load, of the process and all below it.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support.torchserve import launched

CLIENTS = (1, 4)
START_SECONDS = 180
MEGABYTE = 1_000_000

Start = Callable[[], AbstractContextManager[tuple["subprocess.Popen[Any]", str]]]

SIZES = """
import importlib.metadata as metadata, json, re, sys
sizes, waiting = {}, sys.argv[1:]
while waiting:
    name = re.sub("[-_.]+", "-", waiting.pop()).lower()
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:  # for another system
        continue
    if name not in sizes:
        files = (file.locate() for file in distribution.files or [])
        sizes[name] = sum(file.lstat().st_size for file in files if file.exists())
        wanted = (text for text in distribution.requires or [] if "extra ==" not in text)
        waiting += [re.match("[A-Za-z0-9._-]+", text)[0] for text in wanted]
print(json.dumps(sizes))
"""


@dataclass(frozen=True)
class Round:
    """One start of one server.

    Attributes:
        first_answer: seconds from the start of the process.
        latencies: seconds, one a request of a single client.
        throughput: answers a second, by number of clients.
        resident: MB, summed over processes.
        proportional: MB, what processes share counted once.
        answers: to each picture.
    """

    first_answer: float
    latencies: list[float]
    throughput: dict[int, float]
    resident: float
    proportional: float
    answers: list[Any]


def main() -> None:
    """Measure both servers in turns and print the table."""
    options = _options()
    pictures = [path.read_bytes() for path in options.picture]
    servers: dict[str, Start] = {
        "boxwright, bare install": lambda: _boxwright(options.python, options.mar),
        "TorchServe 0.12": lambda: _torchserve(options.mar),
    }
    rounds: dict[str, list[Round]] = {name: [] for name in servers}
    for _ in range(options.rounds):
        for name, start in servers.items():
            rounds[name].append(_measure(start, pictures, options.requests, options.seconds))
    _report(rounds, [_boxwright_size(options.python), _torchserve_size(Path(sys.executable))])
    _compare(*(measured[-1].answers for measured in rounds.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mar", type=_resolved, required=True)
    parser.add_argument("--picture", type=_resolved, nargs="+", required=True)
    parser.add_argument("--python", type=Path, required=True, help="of the bare install")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    return parser.parse_args()


def _resolved(text: str) -> Path:
    return Path(text).resolve()


@contextmanager
def _boxwright(python: Path, mar: Path) -> Iterator[tuple[subprocess.Popen[Any], str]]:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(python.absolute()), "-m", "boxwright", "serve", str(mar), "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield process, f"http://127.0.0.1:{port}/predictions/{mar.stem}"
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def _torchserve(mar: Path) -> Iterator[tuple[subprocess.Popen[Any], str]]:
    with tempfile.TemporaryDirectory() as folder, launched([mar], Path(folder), 1, ()) as (process, addresses):
        yield process, f"{addresses['inference']}/predictions/{mar.stem}"


def _measure(start: Start, pictures: Sequence[bytes], requests: int, seconds: float) -> Round:
    started = time.perf_counter()
    with start() as (process, url):
        _wait(url, pictures[0], process)
        first_answer = time.perf_counter() - started
        answers = [json.loads(_ask(url, picture)) for picture in pictures]
        latencies = _latencies(url, pictures, requests)
        throughput = {clients: _throughput(url, pictures, clients, seconds) for clients in CLIENTS}
        resident, proportional = _memory(process.pid)
    return Round(first_answer, latencies, throughput, resident, proportional, answers)


def _wait(url: str, picture: bytes, process: subprocess.Popen[Any]) -> None:
    """Ask until there is an answer; a server that refuses, or has no worker yet, is asked again."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            _ask(url, picture)
        except (OSError, http.client.HTTPException):
            time.sleep(0.01)
        else:
            return
    raise SystemExit(f"{url} did not answer within {START_SECONDS} s, or its process ended.")


def _ask(url: str, picture: bytes) -> bytes:
    with closing(_connection(url)) as connection:
        return _exchange(connection, url, picture)


def _connection(url: str) -> http.client.HTTPConnection:
    place = urlsplit(url)
    return http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)


def _exchange(connection: http.client.HTTPConnection, url: str, picture: bytes) -> bytes:
    connection.request("POST", urlsplit(url).path, picture, {"Content-Type": "application/octet-stream"})
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise http.client.HTTPException(f"{url}: {response.status}: {body[:300]!r}")
    return body


def _latencies(url: str, pictures: Sequence[bytes], requests: int) -> list[float]:
    found = []
    with closing(_connection(url)) as connection:
        for picture in itertools.islice(itertools.cycle(pictures), requests):
            started = time.perf_counter()
            _exchange(connection, url, picture)
            found.append(time.perf_counter() - started)
    return found


def _throughput(url: str, pictures: Sequence[bytes], clients: int, seconds: float) -> float:
    """Answers a second, each client asking anew as soon as it is answered."""
    answered = [0] * clients
    deadline = time.perf_counter() + seconds

    def ask(client: int) -> None:
        with closing(_connection(url)) as connection:
            for picture in itertools.islice(itertools.cycle(pictures), client, None):
                if time.perf_counter() >= deadline:
                    return
                _exchange(connection, url, picture)
                answered[client] += 1

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered) / (time.perf_counter() - started)


def _memory(root: int) -> tuple[float, float]:
    """Resident and proportional MB of a process and all below it."""
    totals = {"Rss": 0, "Pss": 0}
    for process in _family(root):
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
        for key in totals:
            totals[key] += int(re.findall(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)[0]) * 1024
    return totals["Rss"] / MEGABYTE, totals["Pss"] / MEGABYTE


def _family(root: int) -> list[int]:
    found = [root]
    for parent in found:  # grows while it is read
        threads = Path(f"/proc/{parent}/task").iterdir()
        found += [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    return found


def _sizes(python: Path, *names: str) -> dict[str, float]:
    """MB by distribution: those named and all that they require."""
    command = [str(python.absolute()), "-c", SIZES, *names]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tempfile.gettempdir())
    return {name: size / MEGABYTE for name, size in json.loads(done.stdout).items()}


def _boxwright_size(python: Path) -> str:
    return f"{sum(_sizes(python, 'boxwright').values()):.0f}"


def _torchserve_size(python: Path) -> str:
    sizes = _sizes(python, "torchserve", "torch", "torchvision")
    cuda = sum(size for name, size in sizes.items() if name.startswith(("nvidia", "cuda", "triton")))
    java = Path(shutil.which("java") or "").resolve().parents[1]
    runtime = sum(file.lstat().st_size for file in java.rglob("*") if file.is_file()) / MEGABYTE
    return f"{sum(sizes.values()):.0f}, of it CUDA {cuda:.0f}; Java {runtime:.0f} more"


def _report(rounds: dict[str, list[Round]], sizes: Sequence[str]) -> None:
    rows = {
        "installed, MB": sizes,
        "start to first answer, s": [_spread([one.first_answer for one in each]) for each in rounds.values()],
        "resident memory, MB": [_spread([one.resident for one in each], 0) for each in rounds.values()],
        "proportional memory, MB": [_spread([one.proportional for one in each], 0) for each in rounds.values()],
        "latency p50, ms": [_percentile(each, 50) for each in rounds.values()],
        "latency p99, ms": [_percentile(each, 99) for each in rounds.values()],
    }
    for clients in CLIENTS:
        rows[f"answers/s, {clients} client{'s'[: clients > 1]}"] = [
            _spread([one.throughput[clients] for one in each], 1) for each in rounds.values()
        ]
    print(f"| | {' | '.join(rounds)} |")
    print("| --- " * (1 + len(rounds)) + "|")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def _spread(values: Sequence[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _percentile(rounds: Sequence[Round], percent: int) -> str:
    """Of each round's requests; the median of the rounds, and the spread."""
    return _spread([1000 * statistics.quantiles(one.latencies, n=100)[percent - 1] for one in rounds], 1)


def _compare(first: Sequence[Any], second: Sequence[Any]) -> None:
    """Whether both servers found the same."""
    largest, boxes = 0.0, 0
    for number, (ours, theirs) in enumerate(zip(first, second, strict=True), start=1):
        if [list(one) for one in ours] != [list(one) for one in theirs]:
            print(f"\nPicture {number}: {len(ours)} and {len(theirs)} boxes, or of other classes.")
            return
        for one, other in zip(map(_numbers, ours), map(_numbers, theirs), strict=True):
            largest = max(largest, *(abs(a - b) for a, b in zip(one, other, strict=True)))
            boxes += 1
    print(f"\nBoth found the same {boxes} boxes in {len(first)} pictures, largest difference {largest:.1e}.")


def _numbers(found: dict[str, Any]) -> list[float]:
    """The box's edges and its score, of one detection of an answer."""
    (box,) = (value for name, value in found.items() if name != "score")
    return [*box, found["score"]]


if __name__ == "__main__":
    main()

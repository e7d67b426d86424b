"""What HTTP costs: boxwright's server beside TorchServe and beside a bare loop, in turns, on the same archive.

    python benchmarks/serving.py --mar model-store/NAME.mar --picture PICTURE... [--rounds 3] [--seconds 8] [--soak 20]

Each round runs, one after another and each alone: the bare loop (decode, detect, no HTTP, in a process of its own, as
many sessions as the server), boxwright's server, the same with eager PyTorch, and TorchServe 0.12 with one worker. A
server is asked by 1, 4 and 16 clients on connections that stay open. Then two attacks on boxwright's server alone:
three times the load it can bear, sent whether it answers or not; and hundreds of senders who stop half-way. With
``--soak`` nothing of this: four clients for so many minutes, and the memory after each.
"""

from __future__ import annotations

import argparse
import itertools
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support.server import Served, post, read_answer, served
from support.torchserve import torchserve

CLIENTS = (1, 4, 16)
SLOW_SENDERS = 300
READY = 300.0  # seconds; the first start times what it may run the model with
OVERLOAD, OVERLOAD_SECONDS, DEADLINE = 3.0, 10.0, 2.0

BARE = """
import itertools, json, sys, threading, time
from boxwright.host.memory import keep_freed_memory
from boxwright.runtime import Execution, PicturePredictor, open_bundle
keep_freed_memory()
mar, execution, seconds, *paths = sys.argv[1:]
execution = Execution(**json.loads(execution))
bundle = open_bundle(mar)
pictures = [open(path, "rb").read() for path in paths]
sessions = [PicturePredictor(bundle, execution) for _ in range(execution.sessions or 1)]
counts = [0] * len(sessions)
for session in sessions: session(pictures[0])
end = time.perf_counter() + float(seconds)
def work(number):
    for picture in itertools.cycle(pictures):
        if time.perf_counter() >= end: return
        sessions[number](picture).to_answer(sessions[number].spec.class_names)
        counts[number] += 1
started = time.perf_counter()
threads = [threading.Thread(target=work, args=(number,)) for number in range(len(sessions))]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sum(counts) / (time.perf_counter() - started))
"""


def main() -> None:
    """Measure and print tables."""
    options = _options()
    pictures = [path.read_bytes() for path in options.picture]
    if options.soak:
        _soak(options.mar, pictures, options.soak)
        return
    figures: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        execution = _round(options, pictures, figures)
    print(f"{options.mar.name}: {execution}\n")
    _print(figures)
    _overload(options.mar, pictures, statistics.median(row["4 clients, answers/s"] for row in figures["boxwright"]))
    _slow_senders(options.mar, pictures, options.seconds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mar", type=_resolved, required=True)
    parser.add_argument("--picture", type=_resolved, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--soak", type=int, default=0, metavar="MINUTES")
    return parser.parse_args()


def _resolved(text: str) -> Path:
    return Path(text).resolve()


def _round(
    options: argparse.Namespace, pictures: Sequence[bytes], figures: dict[str, list[dict[str, float]]]
) -> dict[str, object]:
    def add(name: str, row: dict[str, float]) -> None:
        figures.setdefault(name, []).append(row)

    path = f"/predictions/{options.mar.stem}"
    started = time.perf_counter()
    with served(options.mar, seconds=READY) as server:
        add("boxwright", _asked(server.host, server.port, path, pictures, options.seconds, started))
        figures["boxwright"][-1]["memory, MiB"] = _memory()
        execution = _execution(server)
    add("bare loop", {"4 clients, answers/s": _bare(options, execution)})
    started = time.perf_counter()
    with served(options.mar, "--backend", "torch", seconds=READY) as server:
        add("boxwright, eager", _asked(server.host, server.port, path, pictures, options.seconds, started))
        figures["boxwright, eager"][-1]["memory, MiB"] = _memory()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, torchserve(options.mar, Path(folder), 1) as url:
        host, port = url.split("/")[2].split(":")
        add("TorchServe", _asked(host, int(port), path, pictures, options.seconds, started))
        figures["TorchServe"][-1]["memory, MiB"] = _memory()
    return execution


def _memory() -> float:
    """MiB that the server's processes hold; what several share counts once."""
    return sum(one.memory_full_info().pss for one in psutil.Process().children(recursive=True)) / 2**20


def _execution(server: Served) -> dict[str, object]:
    """How the server runs its model, from what it announces: ``BACKEND-PRECISION, N threads x M sessions``."""
    words = server.lines[1].split(":")[0].replace(",", "").split()
    backend, _, precision = words[0].rpartition("-")
    threads = None if words[1] == "default" else int(words[1])
    return {"backend": backend, "precision": precision, "threads": threads, "sessions": int(words[4])}


def _bare(options: argparse.Namespace, execution: dict[str, object]) -> float:
    command = [sys.executable, "-c", BARE, options.mar, json.dumps(execution), options.seconds, *options.picture]
    return float(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout)


def _asked(
    host: str, port: int, path: str, pictures: Sequence[bytes], seconds: float, started: float
) -> dict[str, float]:
    """Seconds to the first answer, then answers per second and milliseconds by number of clients."""
    requests = [post(path, picture, "Content-Type: application/octet-stream\r\n") for picture in pictures]
    with _connected(host, port) as connection:
        assert _exchange(connection, requests[0]) == 200
    row = {"first answer, s": time.perf_counter() - started}
    for clients in CLIENTS:
        took, elapsed = load(host, port, requests, clients, seconds)
        name = f"{clients} client{'s'[: clients > 1]}"
        row[f"{name}, answers/s"] = len(took) / elapsed
        row[f"{name}, p50 ms"] = 1000 * statistics.median(took)
        row[f"{name}, p99 ms"] = 1000 * statistics.quantiles(took, n=100)[98]
    return row


def load(host: str, port: int, requests: Sequence[bytes], clients: int, seconds: float) -> tuple[list[float], float]:
    """Seconds of each answer, each client asking anew as soon as it is answered; and how long it went on."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    def ask(client: int) -> None:
        with _connected(host, port) as connection:
            for request in itertools.islice(itertools.cycle(requests), client, None):
                before = time.perf_counter()
                if before >= end:
                    return
                assert _exchange(connection, request) == 200
                took.append(time.perf_counter() - before)

    started = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took, time.perf_counter() - started


@contextmanager
def _connected(host: str, port: int) -> Iterator[socket.socket]:
    with socket.create_connection((host, port), timeout=120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def _exchange(connection: socket.socket, request: bytes) -> int:
    """The status of an answer; its body is read to the end, announced by length or in chunks."""
    connection.sendall(request)
    return read_answer(connection)[0]


def _overload(mar: Path, pictures: Sequence[bytes], rate: float) -> None:
    """Send at a fixed pace, whatever is answered: what becomes of the accepted, and of the surplus."""
    request = [post(f"/predictions/{mar.stem}", picture) for picture in pictures]
    outcomes: list[tuple[int, float]] = []
    with served(mar, "--timeout", str(DEADLINE)) as server:

        def ask(number: int) -> None:
            began = time.perf_counter()
            with server.connect(60) as connection:
                connection.sendall(request[number % len(request)])
                outcomes.append((read_answer(connection)[0], time.perf_counter() - began))

        threads = []
        began = time.perf_counter()
        for number in range(int(OVERLOAD * rate * OVERLOAD_SECONDS)):
            time.sleep(max(0.0, began + number / (OVERLOAD * rate) - time.perf_counter()))
            threads.append(threading.Thread(target=ask, args=(number,)))
            threads[-1].start()
        for thread in threads:
            thread.join()
    print(f"\nOverload: {OVERLOAD:g} x {rate:.1f} pictures/s for {OVERLOAD_SECONDS:g} s, --timeout {DEADLINE:g}")
    for status in sorted({one for one, _ in outcomes}):
        took = [seconds for one, seconds in outcomes if one == status]
        late = statistics.quantiles(took, n=100)[98] if len(took) > 1 else took[0]
        print(f"  {status}: {len(took)}, p50 {1000 * statistics.median(took):.0f} ms, p99 {1000 * late:.0f} ms")


def _slow_senders(mar: Path, pictures: Sequence[bytes], seconds: float) -> None:
    """One client's latency alone, then beside senders who stop half-way, in turns; from the moment they come."""
    requests = [post(f"/predictions/{mar.stem}", picture) for picture in pictures]
    late: dict[str, list[list[float]]] = {"alone": [], "attacked": []}
    with served(mar) as server:
        for _ in range(3):
            for name, count in (("alone", 0), ("attacked", SLOW_SENDERS)):
                with ExitStack() as stack:
                    for number in range(count):
                        connection = stack.enter_context(server.connect())
                        connection.sendall(requests[number % len(requests)][:-100])
                    took, _ = load(server.host, server.port, requests, 1, 2 * seconds)
                late[name].append([1000 * statistics.quantiles(took, n=100)[98], 1000 * max(took)])
    print(f"\n{SLOW_SENDERS} slow senders: p99 and worst of one client, ms")
    for name, values in late.items():
        print(f"  {name}: {', '.join(map(_spread, zip(*values, strict=True)))}")


def _soak(mar: Path, pictures: Sequence[bytes], minutes: int) -> None:
    requests = [post(f"/predictions/{mar.stem}", picture) for picture in pictures]
    with served(mar) as server:
        for minute in range(1, minutes + 1):
            took, elapsed = load(server.host, server.port, requests, 4, 60)
            late = 1000 * statistics.quantiles(took, n=100)[98]
            print(f"{minute}: {len(took) / elapsed:.1f} answers/s, p99 {late:.0f} ms, {_memory():.1f} MiB", flush=True)


def _print(figures: dict[str, list[dict[str, float]]]) -> None:
    rows = dict.fromkeys(name for each in figures.values() for row in each for name in row)
    print(f"| | {' | '.join(figures)} |")
    print("| --- " * (1 + len(figures)) + "|")
    for name in rows:
        cells = [_spread([row[name] for row in each if name in row]) for each in figures.values()]
        print(f"| {name} | {' | '.join(cells)} |")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else ""


if __name__ == "__main__":
    main()

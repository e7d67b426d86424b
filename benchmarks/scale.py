"""What ``--on ray`` costs on one machine: the verbs on Ray beside themselves without it, and two workers beside one.

    python benchmarks/scale.py --demo FOLDER [--only train predict serve] [--rounds 3]

FOLDER is what ``boxwright demo --out FOLDER`` leaves; where there is none, it is made first (some three minutes). Each
measurement is a process of its own, with one thread per worker: plain, on Ray, plain, on Ray. What Ray takes to start
is not counted: a step of training is timed within the run, from the second epoch on; pictures from the first answered
part on; requests once the server answers. Two cores take some twelve minutes. Goals hold for the median of the pairs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from serving import load
from support.server import post

GOALS = {"train": 5.0, "predict": 10.0, "serve": 15.0}
WORKERS = (1, 2)
WHERE = ("plain", "ray")
CLIENTS = {1: (1, 4), 2: (4,)}
EXECUTION = {"backend": "onnxruntime", "precision": "fp32", "threads": 1}

_Figures = dict[str, float]
_Results = dict[tuple[str, str, int], list[_Figures]]


def main() -> None:
    """Measure and print tables."""
    options = _options()
    if options.measure:
        verb, where, workers = options.measure.split()
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(MEASURES[verb](options, where, int(workers), Path(scratch))))
        return
    if not list(options.demo.glob("model-store/*.mar")):
        subprocess.run([sys.executable, "-m", "boxwright", "demo", "--out", options.demo], check=True)
    results: _Results = {}
    for verb in options.only:
        for _, workers, where in itertools.product(range(options.rounds), WORKERS, WHERE):
            if where == "ray" or verb == "train" or workers == 1:  # the other verbs without Ray: one process
                results.setdefault((verb, where, workers), []).append(_in_a_process(options, verb, where, workers))
    _print_overheads(results)
    _print_scaling(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--only", nargs="+", choices=list(GOALS), default=list(GOALS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=1600)
    parser.add_argument("--seconds", type=float, default=8, help="for which a number of clients asks")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_a_process(options: argparse.Namespace, verb: str, where: str, workers: int) -> _Figures:
    command = [sys.executable, __file__, "--demo", options.demo, "--measure", f"{verb} {where} {workers}"]
    for name in ("epochs", "pictures", "seconds"):
        command += [f"--{name}", getattr(options, name)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as Ray sets it for a worker that has one processor
    one_thread.pop("RAY_ADDRESS", None)
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True, env=one_thread)
    measured: _Figures = json.loads(done.stdout.splitlines()[-1])
    told = ", ".join(f"{name} {value:.1f}" for name, value in measured.items())
    print(f"{verb}, {where}, {workers}: {told}", file=sys.stderr, flush=True)
    return measured


# what is measured


def _train(options: argparse.Namespace, where: str, workers: int, scratch: Path) -> _Figures:
    import boxwright
    from boxwright.scale.training import launcher
    from boxwright.tracking.metrics_file import read_metrics

    settings: dict[str, Any] = {"model": "fasterrcnn_tiny_fpn", "weights": "none", "augmentation": "standard"}
    settings |= {"batch_size": 8, "wandb": "off", "workers": 0, "epochs": options.epochs, "devices": workers}
    launch = launcher("ray") if where == "ray" else None
    run = boxwright.train(data=options.demo / "data", out=scratch, name="run", launch=launch, **settings)
    speeds = [line["train/images_per_s"] for line in read_metrics(run.folder) if "train/images_per_s" in line]
    return {"ms per step": 1000 * settings["batch_size"] / statistics.median(speeds[1:] or speeds)}


def _predict(options: argparse.Namespace, where: str, workers: int, scratch: Path) -> _Figures:
    pictures = sorted(options.demo.glob("data/*/*.jpg"))
    many = scratch / "pictures"
    many.mkdir()
    for number, picture in zip(range(options.pictures), itertools.cycle(pictures), strict=False):
        (many / f"{number:06d}.jpg").symlink_to(picture)
    measure = _answered_on_ray if where == "ray" else _answered_plainly
    moments = measure(_archive(options), many, scratch, workers)
    (began, before), (ended, done) = moments[0], moments[-1]
    return {"pictures/s": (done - before) / (ended - began)}


def _answered_plainly(mar: Path, many: Path, scratch: Path, workers: int) -> list[tuple[float, int]]:
    """When how many pictures had a row."""
    import boxwright

    predictor = boxwright.Predictor(mar, **EXECUTION)
    identifiers = [one.id for one in predictor.spec.classes]
    moments = []
    with (scratch / "answers.jsonl").open("w") as rows:
        for number, path in enumerate(sorted(many.iterdir())):
            rows.write(json.dumps({"source": str(path), "detections": predictor(path).to_coco(0, identifiers)}) + "\n")
            moments.append((time.perf_counter(), number + 1))
    return moments


def _answered_on_ray(mar: Path, many: Path, scratch: Path, workers: int) -> list[tuple[float, int]]:
    from boxwright.runtime import Execution
    from boxwright.scale.prediction import predict_on

    moments: list[tuple[float, int]] = []

    def advance(done: int, total: int) -> None:
        if done:
            moments.append((time.perf_counter(), done))

    out = str(scratch / "answers.jsonl")
    predict_on(mar, [str(many)], out, execution=Execution(**EXECUTION), actors=workers, advance=advance)  # type: ignore[arg-type]
    return moments


def _serve(options: argparse.Namespace, where: str, workers: int, scratch: Path) -> _Figures:
    mar = _archive(options)
    arguments = ["--on", "ray", "--replicas", workers] if where == "ray" else ["--sessions", workers]
    pictures = [path.read_bytes() for path in sorted(options.demo.glob("data/test/*.jpg"))]
    requests = [post(f"/predictions/{mar.stem}", one, "Content-Type: application/octet-stream\r\n") for one in pictures]
    figures: _Figures = {}
    with _server(mar, *arguments) as (host, port):
        load(host, port, requests, workers, options.seconds / 2)  # warm
        for clients in CLIENTS[workers]:
            took, elapsed = load(host, port, requests, clients, options.seconds)
            name = f"{clients} client{'s'[: clients > 1]}"
            figures[f"{name}, answers/s"] = len(took) / elapsed
            figures[f"{name}, p50 ms"] = 1000 * statistics.median(took)
            figures[f"{name}, p99 ms"] = 1000 * statistics.quantiles(took, n=100)[98]
    return figures


@contextmanager
def _server(mar: Path, *arguments: object) -> Iterator[tuple[str, int]]:
    """Host and port of ``boxwright serve``, once it answers; the process ends with the block."""
    command = [sys.executable, "-m", "boxwright", "serve", mar, *arguments, "--port", "0"]
    command += [part for name, value in EXECUTION.items() for part in (f"--{name}", value)]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = next(one for line in process.stdout if (one := re.search(r"http://([\d.]+):(\d+)", line)))
        host, port = found[1], int(found[2])
        while True:
            with suppress(OSError), urllib.request.urlopen(f"http://{host}:{port}/ping", timeout=5):
                break
            time.sleep(0.1)
        yield host, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)


def _archive(options: argparse.Namespace) -> Path:
    return sorted(options.demo.glob("model-store/*.mar"))[0]


MEASURES: Mapping[str, Callable[[argparse.Namespace, str, int, Path], _Figures]] = {
    "train": _train,
    "predict": _predict,
    "serve": _serve,
}


# what is printed


def _print_overheads(results: _Results) -> None:
    print("| | workers | plain | on Ray | costs, pair by pair | goal |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (verb, where, workers), plain in results.items():
        there = results.get((verb, "ray", workers))
        if where != "plain" or there is None:
            continue
        for name in plain[0]:
            before, after = [row[name] for row in plain], [row[name] for row in there]
            costs = [100 * cost(name, one, other) for one, other in zip(before, after, strict=True)]
            cells = [_spread(before), _spread(after), f"{_spread(costs)} %", f"{GOALS[verb]:g} %"]
            print(f"| {verb}, {name} | {workers} | {' | '.join(cells)} |")


def _print_scaling(results: _Results) -> None:
    print("\n| on Ray | one worker | two | times |\n| --- | --- | --- | --- |")
    for verb in dict.fromkeys(verb for verb, _, _ in results):
        one, two = (results[verb, "ray", workers] for workers in WORKERS)
        for name in two[0]:
            first, second = [row[name] for row in one], [row[name] for row in two]
            ratios = [1 / (1 + cost(name, before, after)) for before, after in zip(first, second, strict=True)]
            print(f"| {verb}, {name} | {_spread(first)} | {_spread(second)} | {_spread(ratios)} |")


def cost(name: str, before: float, after: float) -> float:
    """How much more time the second way takes, as a share of the first: 0 is as much, .1 a tenth more."""
    return after / before - 1 if re.search(r"\bms\b", name) else before / after - 1


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()

"""A cluster that loses parts: 500 pictures, and training on a subset of aquarium.

    python benchmarks/cluster.py --mar MAR --data DATA/aquarium --weights BACKBONE --out FOLDER [--only predict train]

The cluster is a head and two nodes with one processor each, emulated by Ray on this machine. MAR answers 500 of the
pictures with ``boxwright predict``, then on the cluster: undisturbed, with one actor killed, and killed as a whole and
started again. A Faster R-CNN from BACKBONE (a file of weights) is trained by two processes: without Ray, on the
cluster, on the cluster with a node removed in the middle, and without Ray with other seeds. One thread per process.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from devices import subset
from support.cluster import Cluster, called, until

PICTURES = 500
PINNED = ("--backend", "onnxruntime", "--precision", "fp32")
TRAINING = {"model": "fasterrcnn_mobilenet_v2_fpn_v2", "image_size": 320, "batch_size": 4, "workers": 0}
EPOCHS = 6

_Rows = dict[str, list[tuple[int, list[float], float]]]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mar", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=("predict", "train"), default=("predict", "train"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["OMP_NUM_THREADS"] = "1"  # as Ray sets it for a process that has one processor
    cluster = Cluster()
    try:
        if "predict" in options.only:
            predict(cluster, options)
        if "train" in options.only:
            train(cluster, options)
    finally:
        cluster.emulated.shutdown()


def predict(cluster: Cluster, options: argparse.Namespace) -> None:
    """Rows, and how many of them are those of ``boxwright predict``."""
    pictures = options.out / "pictures"
    pictures.mkdir(exist_ok=True)
    for path in sorted(options.data.glob("*/*.jpg"))[:PICTURES]:
        link = pictures / path.name
        if not link.exists():
            link.symlink_to(path.resolve())
    plain = options.out / "plain.json"
    _boxwright("predict", options.mar, pictures, "--json", plain, *PINNED)
    wanted: _Rows = {path.name: [] for path in pictures.iterdir()}
    for one in json.loads(plain.read_text()):
        wanted[one["file_name"]].append((one["category_id"], one["bbox"], one["score"]))
    print(_head("500 pictures", "rows", "pictures", "equal to the bit", "detections", "seconds"))
    for name, disturb in (("undisturbed", None), ("an actor killed", _kill_an_actor), ("killed as a whole", _kill_all)):
        out = options.out / f"{name.replace(' ', '-')}.jsonl"
        command = [*_command("predict", options.mar, pictures, "--on", cluster.address, "--out", out, *PINNED)]
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        if disturb:
            disturb(process, out, {one.pid for one in called("_Actor")})
        if process.wait() == -signal.SIGKILL:
            until(lambda: not called("_Actor"))  # one that was at work may still write
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        rows = [json.loads(line) for part in sorted(out.glob("part-*")) for line in part.read_text().splitlines()]
        found = [[(one["category_id"], one["bbox"], one["score"]) for one in row["detections"]] for row in rows]
        names = [Path(row["source"]).name for row in rows]
        equal = sum(one == wanted[file] for file, one in zip(names, found, strict=True))
        cells = (name, len(rows), len(set(names)), equal, sum(map(len, found)), f"{time.monotonic() - started:.0f}")
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _kill_an_actor(process: subprocess.Popen[bytes], out: Path, before: set[int]) -> None:
    until(lambda: list(out.glob("part-*")))
    next(one for one in called("_Actor") if one.pid not in before).kill()


def _kill_all(process: subprocess.Popen[bytes], out: Path, before: set[int]) -> None:
    until(lambda: len(list(out.glob("part-*"))) >= 3)
    process.kill()


def train(cluster: Cluster, options: argparse.Namespace) -> None:
    """Figures of the same training, with Ray and without, with a loss and with other seeds."""
    data = subset(options.data, options.out / "data", {"train": 100, "valid": 50})
    settings = {**TRAINING, "epochs": EPOCHS, "weights": str(options.weights), "wandb": "off"}

    def run(name: str, *words: object, seed: int = 0, meanwhile: Callable[[Path], None] = lambda folder: None) -> Path:
        folder: Path = options.out / name
        if not (folder / "report.html").is_file():
            given = [part for key, value in {**settings, "seed": seed}.items() for part in ("--set", f"{key}={value}")]
            command = _command(
                "train", "--data", data, "--out", options.out, "--name", name, "--devices", 2, *words, *given
            )
            process = subprocess.Popen(command)
            meanwhile(folder)
            assert process.wait() == 0
        return folder

    def lose(folder: Path) -> None:
        until(lambda: _epochs(folder) and max(_epochs(folder)) >= EPOCHS // 2, 1800)
        cluster.lose(cluster.at_work("RayTrainWorker"))

    on = ("--on", cluster.address)
    runs = {
        "two processes without Ray": run("plain-0"),
        "on the cluster": run("ray-0", *on),
        "on the cluster, a node removed": run("lost-0", *on, meanwhile=lose),
        "without Ray, seed 1": run("plain-1", seed=1),
        "without Ray, seed 2": run("plain-2", seed=2),
    }
    print(_head("aquarium, 100 pictures", "epochs", "last loss", "mAP", "F2", "weights of the first run"))
    for name, folder in runs.items():
        measured = json.loads((folder / "spec.json").read_text())["measured"]["valid"]
        losses = [line["train/loss"] for line in _lines(folder) if "train/loss" in line]
        same = "equal to the bit" if _weights_equal(folder, runs["two processes without Ray"]) else "others"
        cells = (
            name,
            len(set(_epochs(folder))),
            f"{losses[-1]:.4f}",
            f"{measured['map']:.4f}",
            f"{measured['f2']:.4f}",
            same,
        )
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _head(*names: str) -> str:
    return f"| {' | '.join(names)} |\n{'| --- ' * len(names)}|"


def _lines(folder: Path) -> list[dict[str, float]]:
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _epochs(folder: Path) -> list[int]:
    return [int(line["epoch"]) for line in _lines(folder) if "val/map" in line]


def _weights_equal(one: Path, other: Path) -> bool:
    import torch

    first, second = (torch.load(run / "model_state_dict.pth", weights_only=True) for run in (one, other))
    return all(torch.equal(value, second[name]) for name, value in first.items())


def _command(*words: object) -> Sequence[str]:
    return [sys.executable, "-m", "boxwright", *map(str, words)]


def _boxwright(*words: object) -> None:
    subprocess.run(_command(*words), check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()

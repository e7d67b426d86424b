"""Losses of the first steps, and figures at the end, of the same training in 1, 2 and 3 processes.

    python benchmarks/devices.py --data DATA/aquarium --weights BACKBONE --out FOLDER

Each family is trained on some pictures for some epochs, with several seeds in one process to show their spread: a
Faster R-CNN on BACKBONE (a file of MobileNetV2's weights, whose BatchNorms stay as they are) and from scratch, where
BatchNorms learn; small networks of transformers with random weights. One process is also run with two threads, which
rounds otherwise: what differs by that is not the processes' doing. Progress is kept in FOLDER; an interrupted run goes
on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

SCRIPT = ROOT / "tests" / "support" / "in_parallel.py"
FAMILIES = {
    "fasterrcnn_mobilenet_v2_fpn": {"image_size": 160, "optimizer": "sgd", "learning_rate": 0.005},
    "dfine_n": {"image_size": 160, "learning_rate": 5e-4},
    "rfdetr_nano": {"image_size": 160, "learning_rate": 5e-4},
    "fasterrcnn_tiny_fpn": {"image_size": 160, "learning_rate": 1e-3},
}
STEPS, TOLERANCE = 20, 1e-5


def train(processes: int, threads: int, data: Path, out: Path, settings: dict[str, object]) -> dict[str, object]:
    """What the first process wrote down; each has so many threads."""
    told = out / "run" / "0.json"
    if not told.is_file():
        out.mkdir(parents=True, exist_ok=True)
        start = ["-m", "torch.distributed.run", "--nnodes=1", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
        start = [*start, f"--nproc-per-node={processes}"] if processes > 1 else []
        command = [sys.executable, *start, SCRIPT, "train", data, out, json.dumps({"run": settings})]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, env=environment)
    document: dict[str, object] = json.loads(told.read_text())
    return document


def subset(data: Path, out: Path, pictures: dict[str, int]) -> Path:
    """The first pictures of each split, as a folder of links."""
    for split, count in pictures.items():
        document = json.loads((data / split / "_annotations.coco.json").read_text())
        images = document["images"][:count]
        kept = {one["id"] for one in images}
        annotations = [one for one in document["annotations"] if one["image_id"] in kept]
        (out / split).mkdir(parents=True, exist_ok=True)
        for image in images:
            link = out / split / image["file_name"]
            if not link.exists():
                link.symlink_to((data / split / image["file_name"]).resolve())
        text = json.dumps({**document, "images": images, "annotations": annotations})
        (out / split / "_annotations.coco.json").write_text(text)
    return out


def starting_weights(architecture: str, folder: Path, backbone: Path) -> str:
    """A folder of a small random network, as transformers writes it; else the backbone's file, or ``none``."""
    import torch

    from boxwright.runtime import InputSpec, ModelSpec
    from boxwright.runtime.networks import build_network
    from support.networks import CLASSES, SMALL

    if architecture not in SMALL:
        return str(backbone) if "mobilenet_v2" in architecture else "none"
    spec = ModelSpec("small", architecture, CLASSES, InputSpec(96, 96), {"config": SMALL[architecture]})
    torch.manual_seed(0)
    build_network(spec).network.save_pretrained(folder)
    return str(folder)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=75, help="of the training split; two thirds of it in valid")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    data = subset(given.data, given.out / "data", {"train": given.pictures, "valid": given.pictures * 2 // 3})
    print(
        "| family | processes x threads | seed | steps within 1e-5 | largest difference of 20 | last loss | mAP | F2 |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for family, own in FAMILIES.items():
        weights = starting_weights(family, given.out / f"weights-{family}", given.weights)
        settings = {"model": family, "weights": weights, "batch_size": 6, "epochs": given.epochs, "precision": "fp32"}
        reference: list[float] = []
        runs = [(1, 1, 0), (1, 2, 0), (2, 1, 0), (3, 1, 0), *((1, 1, seed) for seed in range(1, given.seeds))]
        for processes, threads, seed in runs:
            out = given.out / f"{family}-{processes}-{seed}{'-threads' * (threads > 1)}"
            told = train(processes, threads, data, out, {**settings, **own, "seed": seed})
            losses = told["losses"]
            assert isinstance(losses, list)
            reference = reference or losses
            pairs = zip(losses[:STEPS], reference[:STEPS], strict=True)
            differences = [abs(one - other) / other for one, other in pairs]
            equal = next((step for step, one in enumerate(differences) if one > TOLERANCE), STEPS)
            lines = [
                json.loads(line) for line in (Path(str(told["folder"])) / "metrics.jsonl").read_text().splitlines()
            ]
            last = next(line for line in reversed(lines) if "val/map" in line)
            shown = f"{equal} | {max(differences):.1e}" if seed == 0 else " | "
            print(
                f"| `{family}` | {processes} x {threads} | {seed} | {shown} | {losses[-1]:.4f} | {last['val/map']:.4f} "
                f"| {last['val/f2']:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

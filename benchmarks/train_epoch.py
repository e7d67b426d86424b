"""One training epoch of fasterrcnn_resnet50_fpn: boxwright against the plain loop of a torchvision tutorial.

Same pictures (portraits of 480 x 640, so that both sides see 384 x 512 without padding), same batch
size, same optimizer, from scratch, no augmentation. Each measurement is a process of its own; the
variants take turns, round after round.

    python benchmarks/train_epoch.py --data AQUARIUM [--pictures 24] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ANNOTATIONS = "_annotations.coco.json"
SIZE = (640, 480)  # height, width of the pictures chosen
CANVAS = (512, 384)
BATCH = 4
VARIANTS = ("plain fp32", "boxwright fp32", "boxwright auto")


def main() -> None:
    """Measure every variant in turn and print the medians and the spread."""
    options = _options()
    if options.variant:
        print(json.dumps(_measure(options.variant, options.data)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = subset(options.data, Path(folder) / "data", options.pictures)
        results: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
        for number in range(options.rounds):
            for variant in VARIANTS:
                results[variant].append(_in_a_process(variant, data))
                print(f"round {number + 1}, {variant}: {results[variant][-1]}", file=sys.stderr)
    _report(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    return parser.parse_args()


def subset(data: Path, target: Path, pictures: int) -> Path:
    """A data set of the first portraits; validation is one picture, so that it costs nothing."""
    for split, count in (("train", pictures), ("valid", 1)):
        document = json.loads((data / split / ANNOTATIONS).read_text())
        images = [one for one in document["images"] if (one["height"], one["width"]) == SIZE][:count]
        kept = {one["id"] for one in images}
        document["images"] = images
        document["annotations"] = [one for one in document["annotations"] if one["image_id"] in kept]
        (target / split).mkdir(parents=True)
        (target / split / ANNOTATIONS).write_text(json.dumps(document))
        for one in images:
            shutil.copyfile(data / split / one["file_name"], target / split / one["file_name"])
    return target


def _in_a_process(variant: str, data: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--data", str(data), "--variant", variant]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _measure(variant: str, data: Path) -> dict[str, float]:
    speed = _plain(data) if variant == "plain fp32" else _boxwright(data, variant.split()[1])
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"images_per_s": round(speed, 4), "peak_mib": round(peak / 1024)}


def _boxwright(data: Path, precision: str) -> float:
    """What `boxwright train` reaches: the command, as it also sets how memory is kept."""
    from boxwright.tracking.metrics_file import read_metrics

    canvas = f"image_size={list(CANVAS)}"
    settings = (canvas, f"batch_size={BATCH}", "augmentation=none", f"precision={precision}", "wandb=off")
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "boxwright", "train", "--data", str(data), "--out", out, "--name", "epoch"]
        command += ["--model", "fasterrcnn_resnet50_fpn", "--weights", "none", "--epochs", "1"]
        command += [part for setting in settings for part in ("--set", setting)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        lines = read_metrics(Path(out) / "epoch")
        return next(line["train/images_per_s"] for line in lines if "train/images_per_s" in line)


def _plain(data: Path) -> float:
    """Torchvision's model, a DataLoader, fp32: what a tutorial writes."""
    import torch

    loader = plain_loader(data)
    torch.manual_seed(0)
    model = plain_model(CANVAS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    started = time.perf_counter()
    plain_steps(model, loader, optimizer)
    seconds = time.perf_counter() - started
    return float(len(loader.dataset) / seconds)


def plain_loader(data: Path) -> Any:
    """Shuffled batches of float pictures, [3, height, width] in 0..1, and targets with xyxy boxes in pixels."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import CocoDetection

    return DataLoader(
        CocoDetection(str(data / "train"), str(data / "train" / ANNOTATIONS), transforms=_sample),
        BATCH,
        shuffle=True,
        num_workers=2,
        collate_fn=lambda batch: tuple(zip(*batch, strict=True)),
    )


def _sample(image: Any, annotations: list[dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
    import torch
    from torchvision.transforms.functional import pil_to_tensor

    boxes = torch.tensor([one["bbox"] for one in annotations], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = torch.tensor([one["category_id"] for one in annotations], dtype=torch.int64)
    return pil_to_tensor(image).float() / 255, {"boxes": boxes, "labels": labels}


def plain_model(canvas: tuple[int, int]) -> Any:
    """Torchvision's detector from scratch, for seven classes, on a canvas of height and width."""
    import torchvision

    return torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=8, min_size=min(canvas), max_size=max(canvas)
    )


def plain_steps(model: Any, loader: Any, optimizer: Any, schedule: Any = None) -> list[float]:
    """One epoch; the loss of each step."""
    model.train()
    losses = []
    for images, targets in loader:
        loss = sum(model(list(images), list(targets)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if schedule:
            schedule.step()
        losses.append(loss.item())
    return losses


def _report(results: dict[str, list[dict[str, float]]]) -> None:
    plain = [one["images_per_s"] for one in results["plain fp32"]]
    heads = ("variant", "images/s, median (min to max)", "against plain, pair by pair", "peak RSS of a process, MiB")
    print(f"| {' | '.join(heads)} |")
    print("| --- | --- | --- | --- |")
    for variant, rounds in results.items():
        speeds = [one["images_per_s"] for one in rounds]
        ratios = [own / other for own, other in zip(speeds, plain, strict=True)]
        print(
            f"| {variant} | {statistics.median(speeds):.3f} ({min(speeds):.3f} to {max(speeds):.3f}) "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {max(one['peak_mib'] for one in rounds):.0f} |"
        )


if __name__ == "__main__":
    main()

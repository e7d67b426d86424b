"""Training on one GPU: pictures per second, the GPU's busy share and its memory, against a plain loop.

    python benchmarks/gpu.py [--minutes 11] [--out FOLDER]

fasterrcnn_resnet50_fpn and dfine_s on 640 x 640, drawn pictures, batches of 8, in fp32 and bf16, with the backbone
compiled and not. Each measurement is a process of its own; the variants take turns until the time is over, so that each
has a spread. Without a GPU it says so, and `--device cpu --side 128 --pictures 4` tries the script itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

BATCH = 8
MODELS = ("fasterrcnn_resnet50_fpn", "dfine_s")
VARIANTS = tuple(
    (model, how) for model in MODELS for how in ("plain fp32", "fp32", "bf16", "fp32 compiled", "bf16 compiled")
)


def main() -> None:
    """Measure in turns until the time is over; print medians and spreads."""
    given = _options()
    if given.variant:
        model, how = VARIANTS[given.variant - 1]
        print(json.dumps(_measure(model, how, given)))
        return
    import torch

    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("There is no GPU here.")
    from boxwright.data import draw_demo_data

    out = given.out or Path(tempfile.mkdtemp())
    given.data = draw_demo_data(out / "data", sizes={"train": given.pictures, "valid": 1})
    results: dict[int, list[dict[str, float]]] = {}
    began, longest = time.monotonic(), 0.0
    while time.monotonic() - began + longest < 60 * given.minutes:
        for number in range(1, len(VARIANTS) + 1):
            started = time.monotonic()
            if started - began + longest > 60 * given.minutes:
                break
            results.setdefault(number, []).append(_in_a_process(number, given))
            longest = max(longest, time.monotonic() - started)
        if given.device == "cpu":
            break
    _report(results)
    (out / "gpu.json").write_text(json.dumps({str(VARIANTS[number - 1]): rows for number, rows in results.items()}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=11.0)
    parser.add_argument("--pictures", type=int, default=160)
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--variant", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_a_process(number: int, given: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--variant", str(number), "--data", str(given.data), "--device", given.device]
    command += ["--side", str(given.side), "--pictures", str(given.pictures)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    print(f"{VARIANTS[number - 1]}: {measured or f'exit code {done.returncode}'}", file=sys.stderr, flush=True)
    return measured


def _measure(model: str, how: str, given: argparse.Namespace) -> dict[str, float]:
    import torch

    busy = _Busy(given.device)
    with busy:
        speed = _plain(model, given, busy) if how.startswith("plain") else _boxwright(model, how, given, busy)
    peak = torch.cuda.max_memory_allocated() / 2**20 if given.device == "cuda" else 0.0
    return {"images_per_s": round(speed, 3), "busy": round(busy.share, 3), "peak_mib": round(peak)}


class _Busy:
    """The share of the time that the GPU computes, as its driver samples it, from ``begin`` on."""

    def __init__(self, device: str) -> None:
        self._samples: list[float] = []
        self._asked = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
        self._process = subprocess.Popen(self._asked, stdout=subprocess.PIPE, text=True) if device == "cuda" else None

    def __enter__(self) -> _Busy:
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()

    def begin(self) -> None:
        """Forget what was before: compiling, the first steps."""
        self._samples.clear()

    def _read(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            for line in self._process.stdout:
                self._samples.append(float(line) / 100)

    @property
    def share(self) -> float:
        return statistics.mean(self._samples) if self._samples else float("nan")


def _boxwright(model: str, how: str, given: argparse.Namespace, busy: _Busy) -> float:
    """The speed of the second epoch: the first one compiles and warms up."""
    import lightning as L
    import torch

    import boxwright
    from boxwright.tracking.metrics_file import read_metrics

    precision, *compiled = how.split()

    class Prepare(L.Callback):
        def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            if compiled:
                network: Any = pl_module.network
                network.backbone.compile()

        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            if trainer.current_epoch == 1:
                busy.begin()
                if given.device == "cuda":
                    torch.cuda.reset_peak_memory_stats()

    def make_trainer(**options: Any) -> L.Trainer:
        return L.Trainer(**{**options, "callbacks": [*options["callbacks"], Prepare()]})

    with tempfile.TemporaryDirectory() as out:
        run = boxwright.train(
            data=given.data,
            out=out,
            model=model,
            weights="none",
            image_size=given.side,
            batch_size=BATCH,
            epochs=2,
            precision=precision,
            gpus=0 if given.device == "cpu" else 1,
            workers=8 if given.device == "cuda" else 0,
            cache="ram",
            augmentation="none",
            wandb="off",
            make_trainer=make_trainer,
        )
        speeds = [line["train/images_per_s"] for line in read_metrics(run.folder) if "train/images_per_s" in line]
    return float(speeds[-1])


def _plain(model: str, given: argparse.Namespace, busy: _Busy) -> float:
    """What a tutorial writes: torchvision's or transformers' network, a DataLoader, AdamW, fp32."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import CocoDetection
    from torchvision.transforms.functional import pil_to_tensor, resize

    side = given.side

    def sample(image: Any, annotations: list[dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
        boxes = torch.tensor([one["bbox"] for one in annotations], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes = boxes * torch.tensor([side / image.width, side / image.height] * 2)
        labels = torch.tensor([one["category_id"] for one in annotations], dtype=torch.int64)
        return resize(pil_to_tensor(image), [side, side]).float() / 255, {"boxes": boxes, "labels": labels}

    split = given.data / "train"
    dataset = CocoDetection(str(split), str(split / "_annotations.coco.json"), transforms=sample)
    workers = 8 if given.device == "cuda" else 0
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, collate_fn=_together)
    network, loss_of = _network(model, side)
    network = network.to(given.device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    speed = 0.0
    for epoch in range(2):
        if epoch == 1:
            busy.begin()
        started = time.perf_counter()
        for images, targets in loader:
            on_device = [{key: value.to(given.device) for key, value in one.items()} for one in targets]
            loss = loss_of([image.to(given.device) for image in images], on_device)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if given.device == "cuda":
            torch.cuda.synchronize()
        speed = len(dataset) / (time.perf_counter() - started)
    return speed


def _together(batch: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*batch, strict=True))


def _network(model: str, side: int) -> tuple[Any, Any]:
    """The network, and the loss of pictures and targets."""
    import torch

    if model.startswith("fasterrcnn"):
        import torchvision

        network = torchvision.models.detection.fasterrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=4, min_size=side, max_size=side
        )
        return network, lambda images, targets: sum(network(images, targets).values())
    import transformers

    from boxwright.runtime.networks.transformers_detectors import row_options

    config = transformers.DFineConfig(**row_options(model), num_labels=4)
    found = transformers.DFineForObjectDetection(config)

    def loss(images: list[Any], targets: list[dict[str, Any]]) -> Any:
        labels = []
        for one in targets:
            low, high = one["boxes"][:, :2] / side, one["boxes"][:, 2:] / side
            labels.append({"class_labels": one["labels"], "boxes": torch.cat([(low + high) / 2, high - low], dim=1)})
        return found(pixel_values=torch.stack(images), labels=labels).loss

    return found, loss


def _report(results: dict[int, list[dict[str, float]]]) -> None:
    print("| model | variant | images/s, median (min to max) | against plain | GPU busy | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    plain: dict[str, float] = {}
    for number, every in results.items():
        model, how = VARIANTS[number - 1]
        rows = [one for one in every if one]
        if not rows:
            print(f"| `{model}` | {how} | failed | | | |")
            continue
        speeds = [one["images_per_s"] for one in rows]
        median = statistics.median(speeds)
        plain.setdefault(model, median)
        busy, peak = statistics.median(one["busy"] for one in rows), max(one["peak_mib"] for one in rows)
        spread = f"{median:.2f} ({min(speeds):.2f} to {max(speeds):.2f})"
        print(f"| `{model}` | {how} | {spread} | {median / plain[model]:.2f} | {busy:.0%} | {peak:.0f} |")


if __name__ == "__main__":
    main()

"""Pictures a second out of the loader: boxwright against the reference demo's and torchvision's.

Aquarium's training split on a canvas of 640 x 640, batches of 8, two loader processes that live for
all epochs. The consumer does what a training step does first, it touches the canvases (one byte a
page), and nothing else. Every measurement is a process of its own; the variants take turns, round
after round. With --memory the resident memory of all processes is printed epoch by epoch instead.

    python benchmarks/loader.py --data AQUARIUM --demo-packages FOLDER [--rounds 3] [--epochs 3]
    python benchmarks/loader.py --data AQUARIUM --memory

FOLDER is made by: pip install --target FOLDER albumentations==2.0.8 opencv-python-headless
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ANNOTATIONS = "_annotations.coco.json"
SIDE, BATCH, WORKERS = 640, 8, 2
VARIANTS = ("demo", "torchvision", "ours off", "ours disk", "ours ram")
PARTS = ("RssAnon", "RssFile", "RssShmem")


def main() -> None:
    """Measure every variant in turn and print the medians and the spread."""
    options = _options()
    if options.variant:
        print(json.dumps(_measure(options.variant, options.data, options.epochs, options.recipe)))
    elif options.memory:
        for variant in VARIANTS[2:]:
            _print_memory(variant, _in_a_process(variant, options, 10)["memory"])
    else:
        results: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
        for number in range(options.rounds):
            for variant in VARIANTS:
                results[variant].append(_in_a_process(variant, options, options.epochs))
                print(f"round {number + 1}, {variant}: {results[variant][-1]['speeds']}", file=sys.stderr)
        _report(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--demo-packages", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--recipe", default="light")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (options.demo_packages or options.memory or options.variant):
        parser.error("--demo-packages is needed for the demo's way")
    return options


def _in_a_process(variant: str, options: argparse.Namespace, epochs: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--data", str(options.data), "--variant", variant]
    command += ["--epochs", str(epochs), "--recipe", options.recipe]
    paths = [str(options.demo_packages)] if variant == "demo" else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NO_ALBUMENTATIONS_UPDATE": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _measure(variant: str, data: Path, epochs: int, recipe: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as cache:
        makers: dict[str, Callable[[], Callable[[int], Iterable[Any]]]] = {
            "demo": lambda: _demo(data),
            "torchvision": lambda: _torchvision(data),
        }
        epoch_of = makers[variant]() if variant in makers else _ours(data, variant.split()[1], Path(cache), recipe)
        speeds, memory, waits = [], [], []
        for epoch in range(epochs):
            started = time.perf_counter()
            batches = iter(epoch_of(epoch))
            pictures = _touched(next(batches))
            waits.append(time.perf_counter() - started)
            pictures += sum(map(_touched, batches))
            start_up = waits[0] if epoch == 0 else 0.0
            speeds.append(round(pictures / (time.perf_counter() - started - start_up), 1))
            memory.append(_memory())
    return {"speeds": speeds, "wait": waits[0], "memory": memory}


def _touched(batch: Any) -> int:
    """Read one byte of each page of the canvases; returns how many pictures there were."""
    canvases = batch.canvases if hasattr(batch, "canvases") else batch[0]
    for canvas in canvases:
        canvas.reshape(-1)[:: 4096 // canvas.element_size()].max()
    return len(canvases)


def _ours(data: Path, cache: str, folder: Path, recipe: str) -> Callable[[int], Iterable[Any]]:
    from boxwright.data import read_folder
    from boxwright.host.memory import keep_freed_memory
    from boxwright.runtime import InputSpec
    from boxwright.training.data_module import DetectionData, Loading, open_caches

    keep_freed_memory()
    records, spec = read_folder(data), InputSpec(SIDE, SIDE)
    caches = open_caches(cache, folder, records, spec, lambda sentence: None)
    loader = DetectionData(records, spec, Loading(recipe, BATCH, WORKERS, 0), caches).train_dataloader()

    def epoch_of(epoch: int) -> Iterator[Any]:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return iter(loader)

    return epoch_of


def _loader(dataset: Any) -> Callable[[int], Iterable[Any]]:
    """As tutorials write it; the processes are kept, which they do not do, so that only loading is compared."""
    from torch.utils.data import DataLoader

    loader = DataLoader(
        dataset,
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        collate_fn=_zipped,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    return lambda epoch: iter(loader)


def _zipped(batch: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*batch, strict=True))


def _torchvision(data: Path) -> Callable[[int], Iterable[Any]]:
    import torch
    from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
    from torchvision.transforms import v2

    transforms = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize((SIDE, SIDE)),
            v2.RandomHorizontalFlip(0.5),
            v2.ColorJitter(0.2, 0.2, 0.2),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    folder = data / "train"
    with _silent():
        dataset = CocoDetection(str(folder), str(folder / ANNOTATIONS), transforms=transforms)
    return _loader(wrap_dataset_for_transforms_v2(dataset, target_keys=("boxes", "labels", "image_id")))


def _demo(data: Path) -> Callable[[int], Iterable[Any]]:
    with _silent():
        return _loader(_DemoDataset(data / "train"))


class _DemoDataset:
    """cv2 and albumentations, five tensors a picture, floats made in the loader."""

    def __init__(self, folder: Path) -> None:
        import albumentations as augment
        from albumentations.pytorch import ToTensorV2
        from pycocotools.coco import COCO

        self._folder = folder
        self._coco = COCO(str(folder / ANNOTATIONS))
        self._ids = [key for key in sorted(self._coco.imgs) if self._coco.getAnnIds(key)]
        self._transform = augment.Compose(
            [
                augment.Resize(SIDE, SIDE),
                augment.HorizontalFlip(p=0.3),
                augment.VerticalFlip(p=0.3),
                augment.RandomBrightnessContrast(p=0.1),
                augment.ColorJitter(p=0.1),
                ToTensorV2(),
            ],
            bbox_params=augment.BboxParams(format="coco", label_fields=["labels"], clip=True),
        )

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        import cv2
        import torch

        number = self._ids[index]
        found = self._coco.loadAnns(self._coco.getAnnIds(number))
        picture = cv2.imread(str(self._folder / self._coco.imgs[number]["file_name"]))
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        boxes, labels = [one["bbox"] for one in found], [one["category_id"] for one in found]
        drawn = self._transform(image=picture, bboxes=boxes, labels=labels)
        corners = torch.tensor(drawn["bboxes"], dtype=torch.float32).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        target = {
            "boxes": corners,
            "labels": torch.tensor(drawn["labels"], dtype=torch.int64),
            "image_id": torch.tensor([number]),
            "area": (corners[:, 3] - corners[:, 1]) * (corners[:, 2] - corners[:, 0]),
            "iscrowd": torch.zeros(len(corners), dtype=torch.int64),
        }
        return drawn["image"].div(255), target


def _silent() -> Any:
    from contextlib import redirect_stdout

    return redirect_stdout(sys.stderr)  # pycocotools prints


def _memory() -> dict[str, dict[str, int]]:
    """MiB by part, of this process, of the fork server if there is one, and of the largest loader process."""
    here = _resident(os.getpid())
    below = {pid: _children(pid) for pid in _children(os.getpid())}
    servers = [pid for pid, forked in below.items() if forked]
    workers = [pid for forked in below.values() for pid in forked] or list(below)
    largest = max((_resident(pid) for pid in workers), key=lambda parts: sum(parts.values()))
    return {"main": here, "server": _resident(servers[0]) if servers else {}, "worker": largest}


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(one) for task in tasks.iterdir() for one in (task / "children").read_text().split()]


def _resident(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in lines if line.startswith(PARTS)}
    return {part: found[part] for part in PARTS}


def _print_memory(variant: str, epochs: list[dict[str, dict[str, int]]]) -> None:
    print(f"\n{variant}: MiB after each epoch, {' + '.join(PARTS)}\n")
    print("| epoch | main | server | largest worker |")
    print("| --- | --- | --- | --- |")
    for number, one in enumerate(epochs, start=1):
        cells = [" + ".join(str(one[who].get(part, 0)) for part in PARTS) for who in ("main", "server", "worker")]
        print(f"| {number} | {' | '.join(cells)} |")


def _report(results: dict[str, list[dict[str, Any]]]) -> None:
    first = {variant: [one["speeds"][0] for one in rounds] for variant, rounds in results.items()}
    later = {variant: [statistics.median(one["speeds"][1:]) for one in rounds] for variant, rounds in results.items()}
    wait = {variant: [one["wait"] for one in rounds] for variant, rounds in results.items()}
    heads = ("variant", "s to the first batch", "first epoch after it", "later epochs", "later, against the demo's")
    print(f"| {' | '.join(heads)} |")
    print("| --- | --- | --- | --- | --- |")
    for variant in results:
        ratios = [own / other for own, other in zip(later[variant], later["demo"], strict=True)]
        cells = [_spread(wait[variant], 1), _spread(first[variant], 0), _spread(later[variant], 0), _spread(ratios, 2)]
        print(f"| {variant} | {' | '.join(cells)} |")


def _spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()

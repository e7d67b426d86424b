"""Loss by epoch of fasterrcnn_resnet50_fpn: boxwright in fp32 and in bf16 against the plain loop of a tutorial.

Speed that comes with another training is worth nothing. Same pictures, batch, optimizer and schedule, from scratch,
without augmentation, several seeds: a curve of boxwright should lie among those of the plain loop.

    python benchmarks/loss_curves.py --data AQUARIUM [--pictures 24] [--epochs 12] [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import train_epoch

CANVAS = (256, 192)  # height, width: the pictures at two fifths, so that many epochs are affordable
RATE, WARMUP = 1e-4, 0.1
PLAIN = "plain fp32"


def main() -> None:
    """Train every variant with every seed in turn, then print the losses."""
    options = _options()
    if options.variant:
        print(json.dumps(_losses(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = train_epoch.subset(options.data, Path(folder) / "data", options.pictures)
        curves: dict[str, list[list[float]]] = {variant: [] for variant in train_epoch.VARIANTS}
        for seed in range(options.seeds):
            for variant, of_seeds in curves.items():
                of_seeds.append(_in_a_process(options, variant, seed, data))
                print(f"seed {seed}, {variant}: {of_seeds[-1]}", file=sys.stderr)
    _report(curves)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_a_process(options: argparse.Namespace, variant: str, seed: int, data: Path) -> list[float]:
    command = [sys.executable, __file__, "--data", str(data), "--epochs", str(options.epochs)]
    done = subprocess.run([*command, "--variant", variant, "--seed", str(seed)], stdout=subprocess.PIPE, check=True)
    losses: list[float] = json.loads(done.stdout.splitlines()[-1])
    return losses


def _losses(options: argparse.Namespace) -> list[float]:
    """Mean loss of each epoch."""
    if options.variant == PLAIN:
        return _plain(options.data, options.epochs, options.seed)
    return _boxwright(options, options.variant.split()[1])


def _boxwright(options: argparse.Namespace, precision: str) -> list[float]:
    import boxwright
    from boxwright.tracking.metrics_file import read_metrics

    with tempfile.TemporaryDirectory() as out:
        run = boxwright.train(
            data=options.data,
            name="curve",
            out=out,
            model="fasterrcnn_resnet50_fpn",
            weights="none",
            epochs=options.epochs,
            image_size=list(CANVAS),
            batch_size=train_epoch.BATCH,
            learning_rate=RATE,
            backbone_rate=1.0,
            warmup=WARMUP,
            augmentation="none",
            precision=precision,
            seed=options.seed,
            wandb="off",
        )
        return [line["train/loss"] for line in read_metrics(run.folder) if "train/loss" in line]


def _plain(data: Path, epochs: int, seed: int) -> list[float]:
    import torch

    from boxwright.training.optimization import OneCycle

    torch.manual_seed(seed)
    loader = train_epoch.plain_loader(data)
    model = train_epoch.plain_model(CANVAS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, OneCycle(epochs * len(loader), WARMUP))
    return [statistics.mean(train_epoch.plain_steps(model, loader, optimizer, schedule)) for _ in range(epochs)]


def _report(curves: dict[str, list[list[float]]]) -> None:
    """Each epoch's mean loss over the seeds, with its range."""
    print(f"| epoch | {' | '.join(curves)} |")
    print(f"| --- {'| --- ' * len(curves)}|")
    for epoch, each in enumerate(zip(*(zip(*of_seeds, strict=True) for of_seeds in curves.values()), strict=True)):
        cells = [f"{statistics.mean(seeds):.3f} ({min(seeds):.3f} to {max(seeds):.3f})" for seeds in each]
        print(f"| {epoch + 1} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

"""Does pretraining help on your pictures? Trains twice with the same settings, and compares the two runs.

The first run starts from scratch, the second from pretrained weights. OUT/comparison.html then shows mAP and F2 on
validation by epoch, both runs in each chart, and whether the difference is significant: a paired 95 % interval.

    python examples/scratch_vs_pretrained.py my-folder
    python examples/scratch_vs_pretrained.py my-folder --model fasterrcnn_mobilenet_v2_fpn --set image_size=320
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import boxwright
from boxwright.config import parse_assignment
from boxwright.reporting import report_comparison


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="folders with train/ and valid/, each an experiment")
    parser.add_argument("--model", default="fasterrcnn_resnet50_fpn", help="see 'boxwright models' (%(default)s)")
    parser.add_argument("--weights", default="imagenet", help="of the second run: imagenet, coco, a file (%(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="of each run (%(default)s)")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="any setting; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("scratch-vs-pretrained"), help="for everything (%(default)s)")
    return parser.parse_args()


def experiment(data: Path, weights: str, out: Path, settings: dict[str, Any]) -> Path:
    """Train twice and compare; returns the page.

    Args:
        data: folder with ``train/`` and ``valid/``.
        weights: of the second run.
        out: folder for the two runs and the page.
        settings: of both runs; see ``boxwright.train``.

    Raises:
        BoxwrightError: what ``boxwright.train`` and ``boxwright.compare`` raise.
    """
    runs = []
    for name, start in (("scratch", "none"), ("pretrained", weights)):
        print(f"{data}: {name}, --weights {start}")
        # at the same stages and with BatchNorm learning in both runs: only the starting weights differ
        run = boxwright.train(
            **{"trainable_stages": "all", "freeze_batchnorm": False, **settings},
            data=data,
            weights=start,
            name=name,
            out=out,
        )
        if run.interrupted:
            sys.exit(130)
        runs.append(run.folder)
    contenders, comparisons = boxwright.compare(runs)
    for difference in comparisons[0].figures:
        print(difference.sentence("scratch", "pretrained"))
    report_comparison(contenders, comparisons, out / "comparison.html")
    return out / "comparison.html"


def main() -> int:
    """Run the experiment on every folder; returns the exit status."""
    given = arguments()
    try:
        settings = {"wandb": "off", **dict(map(parse_assignment, given.set))}
        settings |= {"model": given.model, "epochs": given.epochs}
        for data in given.data:
            place = given.out / data.resolve().name if len(given.data) > 1 else given.out
            print(f"Charts: {experiment(data, given.weights, place, settings)}")
    except boxwright.BoxwrightError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

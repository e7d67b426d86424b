"""Folders as people have them, through check, repair, convert and a training step: no box is lost or moved.

``BOXWRIGHT_FOLDERS=2000 pytest tests/data/test_mutations.py`` tries more of them; each failure names its seed.
"""

import json
import os
import random
from collections import Counter

import numpy as np
import pytest
import torch

from boxwright.data import ANNOTATIONS, convert, folder_of, inspect_folder, repair
from boxwright.data.dataset import PictureDataset, collate
from boxwright.models.detector import Detector
from boxwright.runtime import BoxwrightError, DataError, InputSpec
from support.mutations import LAST, MUTATIONS, UNDECIDED, sound_folder
from support.networks import spec_of

FOLDERS = int(os.environ.get("BOXWRIGHT_FOLDERS", "120"))
BATCHES = 8


def mutated(root, seed):
    """A folder with one to three mutations, and their names."""
    generator = random.Random(seed)
    folder = sound_folder(root, generator)
    names = generator.sample(sorted(MUTATIONS), generator.randrange(1, 4))
    while len(UNDECIDED.intersection(names)) > 1:
        names = generator.sample(sorted(MUTATIONS), len(names))
    for name in sorted(names, key=lambda name: LAST.index(name) if name in LAST else -1):
        for split in generator.choice([("train",), ("valid",), ("train", "valid")]):
            MUTATIONS[name](folder, split, generator)
    folder.save()
    return folder, names


def marked(root):
    """By split and mark, the box of every annotation."""
    return {
        path.parent.name: {one["mark"]: one["bbox"] for one in json.loads(path.read_text())["annotations"]}
        for path in root.glob(f"*/{ANNOTATIONS}")
    }


def assert_sound(folder, boxes, upright=True):
    """Every sound box is there, where it lies; ``upright`` unless a picture that nobody could turn was left alone."""
    for split in ("train", "valid"):
        for mark, box in folder.sound(split).items():
            assert mark in boxes[split], (split, mark)
            if upright:
                assert np.allclose(boxes[split][mark], box, atol=1e-6), (split, mark, boxes[split][mark], box)


def errors(inspection):
    return Counter(finding.code for finding in inspection.of("error"))


@pytest.fixture(scope="module")
def step():
    """The loss of a training step of the tiny model on the first pictures of a split."""
    canvas = InputSpec(64, 64)
    detector = Detector(spec_of("fasterrcnn_tiny_fpn", 64))
    detector.network.train()

    def run(split):
        batch = collate(PictureDataset(split, canvas).__getitems__([0, 1]))
        return torch.stack([*detector.losses(batch.canvases, batch.boxes, batch.labels).values()]).sum()

    return run


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_sound_box_is_lost(tmp_path, batch, step):
    for seed in range(batch, FOLDERS, BATCHES):
        place = tmp_path / str(seed)
        folder, names = mutated(place / "data", seed)
        print(f"seed {seed}: {', '.join(names)}", flush=True)
        before = inspect_folder(folder.root)
        copies(folder, before, place)
        if not before.of("error"):
            splits = folder_of(before).splits
            assert sum(split.boxes for split in splits.values()) >= sum(map(len, map(folder.sound, folder.truth)))
            if seed % 10 < 2:
                assert torch.isfinite(step(splits["train"]))


def copies(folder, before, place):
    """Repair and convert."""
    try:
        repair(before, place / "fixed")
    except DataError as error:
        assert "missing" in str(error)
    else:
        after = inspect_folder(place / "fixed")
        assert not errors(after) - errors(before), (errors(before), errors(after))
        turned = {one.code for one in after.findings} & {"picture-rotated", "picture-size"}
        assert_sound(folder, marked(place / "fixed"), upright=not turned)
    try:
        convert(folder.root, place / "converted", "coco")
    except BoxwrightError:
        assert before.of("error"), "what the check accepts, convert takes"
    else:
        assert not errors(inspect_folder(place / "converted"))
        assert_sound(folder, marked(place / "converted"))

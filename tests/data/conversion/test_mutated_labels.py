"""YOLO and Pascal VOC folders as people have them: every box arrives, or one sentence says why not.

``BOXWRIGHT_FOLDERS=2000 pytest tests/data/conversion/test_mutated_labels.py`` tries more; each failure names its seed.
"""

import json
import os
import random
import unicodedata

import numpy as np
import pytest

from boxwright.data import ANNOTATIONS, convert, inspect_folder
from boxwright.runtime import BoxwrightError
from support.label_mutations import rows_of, spoil, write_voc, write_yolo
from support.mutations import sound_folder

FOLDERS = int(os.environ.get("BOXWRIGHT_FOLDERS", "80"))
BATCHES = 4
WRITERS = {"yolo": (write_yolo, {}), "voc": (write_voc, {"voc_origin": 0})}


def converted(root):
    """By split and stem, sorted rows of class index and box."""
    rows = {}
    for path in root.glob(f"*/{ANNOTATIONS}"):
        document = json.loads(path.read_text())
        names = {image["id"]: stem(image["file_name"]) for image in document["images"]}
        rows[path.parent.name] = {name: [] for name in names.values()}
        for one in document["annotations"]:
            rows[path.parent.name][names[one["image_id"]]].append((one["category_id"] - 1, *one["bbox"]))
    return {split: {name: sorted(boxes) for name, boxes in files.items()} for split, files in rows.items()}


def stem(name):
    return unicodedata.normalize("NFC", name.rsplit(".", 1)[0].removeprefix("train ").removeprefix("valid "))


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("form", WRITERS)
def test_every_box_arrives(tmp_path, form, batch):
    write, options = WRITERS[form]
    for seed in range(batch, FOLDERS, BATCHES):
        generator, place = random.Random(seed), tmp_path / str(seed)
        folder = sound_folder(place / "sound", generator)
        names = write(folder, place / "source", generator)
        print(f"seed {seed}: {', '.join(names)}", flush=True)
        convert(place / "source", place / "out", form, **options)
        assert not inspect_folder(place / "out").of("error")
        rows = converted(place / "out")
        for split, files in rows_of(folder).items():
            for file, boxes in files.items():
                expected = sorted((index, *box) for index, box in boxes)
                assert np.allclose(rows[split][stem(file)], expected, atol=1e-4), (split, file)


@pytest.mark.parametrize("form", WRITERS)
def test_spoilt_bytes_are_a_sentence_or_nothing(tmp_path, form):
    write, options = WRITERS[form]
    for seed in range(FOLDERS):
        generator, place = random.Random(seed), tmp_path / str(seed)
        write(sound_folder(place / "sound", generator), place / "source", generator)
        spoil(place / "source", generator)
        print(f"seed {seed}", flush=True)
        try:
            convert(place / "source", place / "out", form, **options)
            inspect_folder(place / "out")
        except BoxwrightError as error:
            assert str(error)

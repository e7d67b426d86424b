"""One JPEG, one tensor: training's evaluation mode, the predictor, the server and the bare archive agree by hash.

The expected hash is of the pixels, so it also fails when a new Pillow decodes or resizes differently;
then look at the difference, and accept it by running with BOXWRIGHT_ACCEPT=1.
"""

import hashlib
import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from boxwright.data import read_folder
from boxwright.data.dataset import PictureDataset
from boxwright.inputs import Predictor
from boxwright.runtime import ModelSpec, PicturePredictor

GOLDEN = Path(__file__).parent / "golden" / "preprocess.sha256"

IN_THE_ARCHIVE = """
import hashlib, sys
try:
    import boxwright
except ImportError:
    pass
else:
    raise SystemExit("boxwright can be imported: this proves nothing")
sys.path.insert(0, sys.argv[1])
from boxwright_runtime import ModelSpec, preprocess
canvas, _ = preprocess(sys.argv[2], ModelSpec.load(sys.argv[1] + "/boxwright.json").input)
print(hashlib.sha256(canvas.tobytes()).hexdigest())
"""


def sha256(canvas):
    assert canvas.dtype == np.uint8
    return hashlib.sha256(np.ascontiguousarray(canvas).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of one JPEG with detail, colour and an EXIF rotation."""
    root = tmp_path_factory.mktemp("golden")
    x, y = np.meshgrid(np.arange(301), np.arange(203))
    waves = [128 + 127 * np.sin(x / 3 + y / 7), (x * y) % 256, 255 * ((x // 5 + y // 9) % 2)]
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(np.stack(waves, axis=2).astype(np.uint8))
    document = {
        "images": [{"id": 0, "file_name": "golden.jpg", "width": 203, "height": 301}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 1, "bbox": [9, 9, 50, 50]}],
        "categories": [{"id": 1, "name": "circle"}, {"id": 2, "name": "square"}, {"id": 3, "name": "triangle"}],
    }
    for split in ("train", "valid"):
        (root / split).mkdir()
        picture.save(root / split / "golden.jpg", quality=90, exif=exif)
        (root / split / "_annotations.coco.json").write_text(json.dumps(document))
    return root


def in_the_archive(mar, picture, place):
    with zipfile.ZipFile(mar) as archive:
        archive.extractall(place)
    # -S leaves out site-packages, and with it an editable install; numpy and Pillow are put back alone
    site = place / "only"
    site.mkdir()
    for name in ("numpy", "numpy.libs", "PIL", "pillow.libs"):
        source = Path(np.__file__).parents[1] / name
        if source.exists():
            (site / name).symlink_to(source)
    command = [sys.executable, "-S", "-c", IN_THE_ARCHIVE, place, picture]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=place)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def in_the_server(mar, picture, monkeypatch):
    """What the network receives when the picture is posted over HTTP."""
    from boxwright.serving.engine import load_models
    from boxwright.serving.server import background_server

    received = []
    detect = PicturePredictor.detect

    def spy(self, prepared):
        received.extend(canvas for one in prepared for canvas in one.canvases)
        return detect(self, prepared)

    monkeypatch.setattr(PicturePredictor, "detect", spy)
    with background_server(load_models([mar])) as base:
        request = urllib.request.Request(f"{base}/predictions/tiny", data=picture.read_bytes(), method="PUT")
        urllib.request.urlopen(request, timeout=60).close()
    return sha256(received[0])


def test_all_four_ways_give_the_same_tensor(folder, mar, tmp_path, monkeypatch):
    picture = folder / "valid" / "golden.jpg"
    spec: ModelSpec = Predictor(mar).spec
    dataset = PictureDataset(read_folder(folder).splits["valid"], spec.input)
    hashes = {
        "dataset": sha256(dataset[0].canvas.numpy()),
        "predictor": sha256(Predictor(mar).prepare(picture).canvases[0]),
        "server": in_the_server(mar, picture, monkeypatch),
        "archive": in_the_archive(mar, picture, tmp_path),
    }
    if os.environ.get("BOXWRIGHT_ACCEPT"):
        GOLDEN.write_text(hashes["predictor"] + "\n")
    assert set(hashes.values()) == {GOLDEN.read_text().strip()}, hashes

import numpy as np
from PIL import Image

from boxwright.data import draw_demo_data, read_folder

SIZES = {"train": 30, "valid": 4, "test": 3}


def test_the_same_seed_gives_the_same_files(tmp_path):
    one, two = (draw_demo_data(tmp_path / name, seed=3, sizes=SIZES) for name in ("one", "two"))
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) == sum(SIZES.values()) + 3
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)


def test_the_drawn_folder_is_clean_and_varied(tmp_path):
    folder = read_folder(draw_demo_data(tmp_path, sizes=SIZES))
    pictures = folder.splits["train"].pictures
    assert not folder.inspection.of("warning")
    assert [one.name for one in folder.classes] == ["circle", "square", "triangle"]
    assert {0, 1, 2} == set(np.concatenate([picture.labels for picture in pictures]))
    assert len({(picture.width, picture.height) for picture in pictures}) > 10


def test_boxes_hug_their_shapes(tmp_path):
    """A square's box is one colour inside, and its border is not outside it."""
    folder = read_folder(draw_demo_data(tmp_path, sizes=SIZES))
    spreads = []
    for picture in folder.splits["train"].pictures:
        pixels = np.asarray(Image.open(picture.path)).astype(float)
        for box, label in zip(picture.boxes.astype(int), picture.labels, strict=True):
            if label == 1:
                inside = pixels[box[1] + 3 : box[3] - 3, box[0] + 3 : box[2] - 3]
                spreads.append(inside.std(axis=(0, 1)).max())
    assert len(spreads) > 5
    assert np.median(spreads) < 6

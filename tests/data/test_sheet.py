import numpy as np
import pytest
from PIL import Image

from boxwright.data import read_folder
from boxwright.data.augment import Augmentation
from boxwright.data.dataset import PictureDataset
from boxwright.data.sheet import CAPTION, EPOCHS, GAP, augmented_sheet
from boxwright.runtime import ConfigError, InputSpec
from support.broken import document, write_data

SPEC = InputSpec(96, 128)  # twice the pictures of ``document``
NAMES = ["fish", "ray"]
ORANGE = [0xE6, 0x9F, 0x00]  # of class 0


def train_split(root, content):
    """All its pictures are black."""
    split = read_folder(write_data(root, train=content, valid=document())).splits["train"]
    for picture in split.pictures:
        Image.new("RGB", (64, 48)).save(picture.path)
    return split


def cell(sheet, row, column, height=96, width=128):
    """The pixels of a picture, uint8 [height, width, 3]."""
    top, left = GAP + row * (height + CAPTION + GAP) + CAPTION, GAP + column * (width + GAP)
    return np.asarray(sheet)[top : top + height, left : left + width]


def test_a_box_is_drawn_where_it_is(tmp_path):
    split = train_split(tmp_path, document())
    sheet = augmented_sheet(split, NAMES, SPEC, "none", count=3)
    assert sheet.size == (GAP + (1 + EPOCHS) * (128 + GAP), GAP + 3 * (96 + CAPTION + GAP))
    for column in range(1 + EPOCHS):
        pixels = cell(sheet, 0, column)  # the box is 8, 8, 48, 48
        edges = [pixels[30, 8], pixels[30, 47], pixels[47, 30]]
        assert [edge.tolist() for edge in edges] == [ORANGE] * 3
        beside = [pixels[30, 7], pixels[30, 48], pixels[48, 30], pixels[28, 28]]
        assert not np.any(beside)


def test_it_shows_what_training_sees(tmp_path):
    split = train_split(tmp_path, document())
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(split.pictures[2].path)  # without objects: nothing is drawn on it
    sheet = augmented_sheet(split, NAMES, SPEC, "standard", count=3, seed=5)
    trained = PictureDataset(split, SPEC, Augmentation("standard", SPEC), seed=5)
    expected = [PictureDataset(split, SPEC)[2]]
    for epoch in range(EPOCHS):
        trained.set_epoch(epoch)
        expected.append(trained[2])
    for column, sample in enumerate(expected):
        assert np.array_equal(cell(sheet, 2, column), sample.canvas.permute(1, 2, 0).numpy()), column
    assert len({sample.canvas.numpy().tobytes() for sample in expected}) > 2


@pytest.mark.parametrize("seed", range(6))
def test_one_picture_has_objects_if_the_split_has(tmp_path, seed):
    content = document(pictures=9)
    content["annotations"] = content["annotations"][4:5]
    split = train_split(tmp_path, content)
    sheet = augmented_sheet(split, NAMES, SPEC, "none", count=2, seed=seed)
    assert any(cell(sheet, row, 0).any() for row in range(2))


def test_pictures_are_spread_over_the_split(tmp_path):
    split = train_split(tmp_path, document(pictures=9))
    for number, picture in enumerate(split.pictures):
        Image.new("RGB", (64, 48), (25 * number, 0, 0)).save(picture.path)
    sheet = augmented_sheet(split, NAMES, SPEC, "none", count=5, seed=3)
    shown = [round(int(cell(sheet, row, 0)[80, 120, 0]) / 25) for row in range(5)]
    assert [number // 2 for number in shown] == [0, 1, 2, 3, 4]


def test_a_wide_canvas_is_made_smaller(tmp_path):
    split = train_split(tmp_path, document())
    sheet = augmented_sheet(split, NAMES, InputSpec(960, 1280), "none", count=99)
    assert 2300 < sheet.width <= 2400
    assert sheet.height == GAP + 3 * (round(960 * 470 / 1280) + CAPTION + GAP)  # all there are
    pixels = cell(sheet, 0, 0, height=352, width=470)  # the box is 80, 80, 480, 480 on the canvas
    assert pixels[100, 30].tolist() == ORANGE
    assert pixels[175, 100].tolist() == ORANGE
    assert not pixels[100, 100].any()


def test_nothing_to_show_is_an_error(tmp_path):
    split = train_split(tmp_path, document())
    with pytest.raises(ConfigError, match="0 pictures"):
        augmented_sheet(split, NAMES, SPEC, "light", count=0)
    with pytest.raises(ConfigError, match="'stronk' is unknown"):
        augmented_sheet(split, NAMES, SPEC, "stronk", count=1)

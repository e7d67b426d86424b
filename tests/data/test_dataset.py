import numpy as np
import pytest
import torch
from broken import document, write_data
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from boxwright.data import read_folder
from boxwright.data.augment import RECIPES, Augmentation
from boxwright.data.dataset import PictureDataset, collate
from boxwright.runtime import InputSpec

SPEC = InputSpec(96, 128)


def boxes_in(height, width):
    sides = st.tuples(st.floats(0, width - 3), st.floats(0, height - 3), st.floats(3, width), st.floats(3, height))
    return st.lists(
        sides.map(lambda one: [one[0], one[1], min(one[0] + one[2], width), min(one[1] + one[3], height)]), max_size=6
    )


@given(boxes=boxes_in(96, 128), seed=st.integers(0, 2**63 - 1), recipe=st.sampled_from(sorted(RECIPES)))
def test_boxes_and_labels_stay_in_step_and_inside(boxes, seed, recipe):
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.arange(len(boxes))
    canvas = torch.zeros(3, 96, 128, dtype=torch.uint8)
    pixels, moved, kept = Augmentation(recipe, SPEC)(canvas, corners, labels, seed)
    assert pixels.shape == canvas.shape
    assert pixels.dtype == torch.uint8
    assert len(moved) == len(kept)
    assert moved.dtype == torch.float32
    assert (moved[:, 2:] > moved[:, :2]).all()
    assert moved[:, [0, 2]].min().item() >= 0 if len(moved) else True
    assert moved[:, [0, 2]].max().item() <= 128 if len(moved) else True
    assert moved[:, [1, 3]].max().item() <= 96 if len(moved) else True


@pytest.mark.parametrize("recipe", ["light", "standard"])
def test_each_label_follows_its_own_box(recipe):
    """Every box is painted in its label's grey; after augmentation the centre still shows it."""
    canvas = torch.zeros(3, 96, 128, dtype=torch.uint8)
    boxes = torch.tensor([[0.0, 0, 40, 40], [60, 10, 120, 50], [10, 50, 50, 90]])
    for label, (x1, y1, x2, y2) in enumerate(boxes.int().tolist()):
        canvas[:, y1:y2, x1:x2] = 80 * (label + 1)
    transform = Augmentation(recipe, SPEC)
    checked = 0
    for seed in range(40):
        pixels, moved, labels = transform(canvas, boxes, torch.arange(3), seed)
        centres = ((moved[:, :2] + moved[:, 2:]) / 2).long()
        order = [int(pixels[0, y, x]) for x, y in centres.tolist()]
        # colour jitter may shift greys but keeps them in order
        ranked = [label for _, label in sorted(zip(order, labels.tolist(), strict=True))]
        assert ranked == sorted(labels.tolist()), seed
        checked += len(labels)
    assert checked > 60


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    Augmentation("light", SPEC)(torch.zeros(3, 96, 128, dtype=torch.uint8), torch.zeros(0, 4), torch.zeros(0), 5)
    assert torch.equal(torch.rand(1), expected)


@settings(max_examples=5)
@given(workers=st.integers(0, 2), seed=st.integers(0, 9))
def test_same_seed_same_pictures_whatever_the_workers(demo_data, workers, seed):
    split = read_folder(demo_data).splits["valid"]

    def epoch(number, processes):
        dataset = PictureDataset(split, SPEC, Augmentation("standard", SPEC), seed)
        dataset.set_epoch(number)
        return [batch.canvases for batch in DataLoader(dataset, 4, num_workers=processes, collate_fn=collate)]

    alone, together, later = epoch(0, 0), epoch(0, workers), epoch(1, workers)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(alone, later, strict=True))


def test_evaluation_mode_changes_nothing_and_crowds_are_not_trained_on(tmp_path):
    content = document()
    content["annotations"].append({"id": 9, "image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 9], "iscrowd": 1})
    folder = read_folder(write_data(tmp_path, train=content, valid=content))
    dataset = PictureDataset(folder.splits["train"], InputSpec(96, 128))
    sample = dataset[0]
    assert sample.boxes.tolist() == [[8, 8, 48, 48]]
    assert sample.labels.tolist() == [0]
    assert torch.equal(sample.canvas, dataset[0].canvas)
    assert np.allclose(sample.placement.to_picture(sample.boxes.numpy()), [[4, 4, 24, 24]])


def test_a_batch_keeps_pictures_without_objects(tmp_path):
    folder = read_folder(write_data(tmp_path, train=document(), valid=document()))
    dataset = PictureDataset(folder.splits["train"], SPEC)
    batch = collate([dataset[index] for index in range(3)])
    assert batch.canvases.shape == (3, 3, 96, 128)
    assert [len(boxes) for boxes in batch.boxes] == [1, 1, 0]
    assert batch.boxes[2].shape == (0, 4)

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from boxwright.data import read_folder
from boxwright.data.augment import RECIPES, Augmentation
from boxwright.data.cache import content_digests, disk_cache, ram_cache
from boxwright.data.dataset import PictureDataset, collate
from boxwright.data.workers import BatchMemory
from boxwright.host.processes import WorkerContext, ready_worker
from boxwright.runtime import InputSpec
from support.broken import document, write_data

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


def epochs(dataset, workers):
    """Batches of epochs 0, 0, 1 out of one loader, its processes kept."""
    context = WorkerContext() if workers else None
    loader = DataLoader(
        dataset,
        3,
        num_workers=workers,
        collate_fn=collate,
        multiprocessing_context=context,
        persistent_workers=workers > 0,
        worker_init_fn=ready_worker,
    )
    for number in (0, 0, 1):
        dataset.set_epoch(number)
        yield list(loader)  # more batches at once than a process has slots


def same(one, other):
    tensors = [(one.canvases, other.canvases), *zip(one.boxes + one.labels, other.boxes + other.labels, strict=True)]
    assert (one.indices, one.placements) == (other.indices, other.placements)
    return all(torch.equal(mine, yours) and mine.dtype == yours.dtype for mine, yours in tensors)


def all_same(some, others):
    return all(same(one, other) for one, other in zip(some, others, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["off", "ram", "disk"])
def test_same_batches_whatever_the_workers_and_the_cache(demo_data, tmp_path, kind, workers):
    split = read_folder(demo_data).splits["valid"]
    digests = content_digests([record.path for record in split.pictures])
    disk = {"ram": lambda: ram_cache(digests, SPEC), "off": lambda: None}
    cache = disk.get(kind, lambda: disk_cache(tmp_path, demo_data, "valid", digests, SPEC))()
    memory = BatchMemory(workers, 1, (3, 3, 96, 128)) if workers else None
    augmentation = Augmentation("standard", SPEC)
    plain = PictureDataset(split, SPEC, augmentation, 5)
    expected = list(epochs(plain, 0))
    found = list(epochs(PictureDataset(split, SPEC, augmentation, 5, cache, memory), workers))
    assert all(all_same(one, other) for one, other in zip(expected, found, strict=True))
    assert all_same(found[0], found[1])
    assert not all_same(found[0], found[2])
    assert cache is None or cache.filled == len(split.pictures)


def test_a_cached_canvas_is_the_one_that_serving_sees(real_data):
    whole = read_folder(real_data / "aquarium").splits["test"]
    split = replace(whole, pictures=whole.pictures[:6])
    digests = content_digests([record.path for record in split.pictures])
    plain = PictureDataset(split, SPEC)
    cached = PictureDataset(split, SPEC, cache=ram_cache(digests, SPEC))
    everything = list(range(len(split.pictures)))
    first, later = cached.__getitems__(everything), cached.__getitems__(everything)
    assert same(plain.__getitems__(everything), first)
    assert same(first, later)


def test_pictures_that_recipes_mix_in_do_not_depend_on_the_cache(demo_data):
    split = read_folder(demo_data).splits["valid"]
    digests = content_digests([record.path for record in split.pictures])
    mixing = [name for name in sorted(RECIPES) if Augmentation(name, SPEC).mixes]
    for name in mixing:
        plain = PictureDataset(split, SPEC, Augmentation(name, SPEC), 5)
        cached = PictureDataset(split, SPEC, Augmentation(name, SPEC), 5, ram_cache(digests, SPEC))
        for _ in range(2):
            assert same(plain.__getitems__(range(8)), cached.__getitems__(range(8)))
    assert mixing


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
    batch = collate(dataset.__getitems__([0, 1, 2]))
    assert batch.canvases.shape == (3, 3, 96, 128)
    assert [len(boxes) for boxes in batch.boxes] == [1, 1, 0]
    assert batch.boxes[2].shape == (0, 4)

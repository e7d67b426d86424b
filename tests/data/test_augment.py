import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from boxwright.data.augment import RECIPES, Augmentation, another_index, sample_seed
from boxwright.data.augment_steps import (
    Flips,
    IoUCrop,
    Rectangle,
    ScaleJitter,
    View,
    ZoomOut,
    assemble,
    flip_boxes,
    part_of,
)
from boxwright.runtime import ConfigError, InputSpec

SPEC = InputSpec(96, 128, pad=(1, 2, 3))
PAGE = Path(__file__).parents[2] / "docs" / "augmentation.md"
SEEDS = st.integers(0, 2**63 - 1)
EVERY_RECIPE = pytest.mark.parametrize("recipe", sorted(RECIPES))

# Boxes and flips are exact where their corners are; these are.
halves = st.integers(0, 2 * 96).map(lambda number: number / 2)


def boxes_of(coordinates):
    return st.lists(st.tuples(*[coordinates] * 4), max_size=6).map(
        lambda rows: torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    )


@st.composite
def pictures(draw):
    """Noise; boxes with an area of at least 3 x 3."""
    corners = draw(st.lists(st.tuples(st.floats(0, 125), st.floats(0, 93)), max_size=5))
    rows = [[x, y, draw(st.floats(x + 3, 128)), draw(st.floats(y + 3, 96))] for x, y in corners]
    canvas = torch.randint(0, 256, (3, 96, 128), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return canvas, torch.tensor(rows, dtype=torch.float32).reshape(-1, 4), torch.arange(len(rows))


def painted():
    """Three boxes, each filled with the grey of its label, 40, 80 or 120."""
    canvas = torch.zeros(3, 96, 128, dtype=torch.uint8)
    boxes = torch.tensor([[0.0, 0, 40, 40], [60, 10, 120, 50], [10, 50, 50, 90]])
    for label, (x1, y1, x2, y2) in enumerate(boxes.int().tolist()):
        canvas[:, y1:y2, x1:x2] = 40 * (label + 1)
    return canvas, boxes, torch.arange(3)


@given(picture=pictures(), other=pictures(), seed=SEEDS, recipe=st.sampled_from(sorted(RECIPES)))
def test_boxes_and_labels_stay_in_step_and_inside(picture, other, seed, recipe):
    canvas, boxes, labels = Augmentation(recipe, SPEC)(*picture, seed, lambda seed: other)
    assert (canvas.shape, canvas.dtype) == ((3, 96, 128), torch.uint8)
    assert (boxes.shape, boxes.dtype) == ((len(labels), 4), torch.float32)
    assert labels.dtype == torch.int64
    assert (boxes >= 0).all()
    assert (boxes <= torch.tensor([128, 96, 128, 96])).all()
    assert (boxes[:, 2:] - boxes[:, :2] > 1.999).all()


@EVERY_RECIPE
def test_each_label_follows_its_own_box(recipe):
    """The centre of a box still shows its label's grey; colours shift greys but keep them in order."""
    transform, picture = Augmentation(recipe, SPEC), painted()
    checked = 0
    for seed in range(60):
        canvas, boxes, labels = transform(*picture, seed)
        clear = (boxes[:, 2:] - boxes[:, :2] >= 6).all(dim=1)  # smaller ones blend with what is around them
        x, y = ((boxes[clear, :2] + boxes[clear, 2:]) / 2).long().T
        shown = sorted(zip(canvas[0, y, x].tolist(), labels[clear].tolist(), strict=True))
        assert [label for _, label in shown] == sorted(labels[clear].tolist()), seed
        checked += len(shown)
    assert checked > 100


@EVERY_RECIPE
def test_the_seed_alone_decides_and_nothing_else_is_touched(recipe):
    transform, picture = Augmentation(recipe, SPEC), painted()
    before = [part.clone() for part in picture]
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = [transform(*picture, seed) for seed in range(20)]
    assert torch.equal(torch.rand(1), expected)
    again = [Augmentation(recipe, SPEC)(*picture, seed) for seed in range(20)]
    assert all(
        torch.equal(*parts) for one, two in zip(first, again, strict=True) for parts in zip(one, two, strict=True)
    )
    assert all(torch.equal(*parts) for parts in zip(picture, before, strict=True))
    assert (recipe == "none") == all(torch.equal(canvas, before[0]) for canvas, _, _ in first)


def test_the_random_state_survives_a_picture_that_cannot_be_had():
    def fails(seed):
        raise OSError("gone")

    state = torch.get_rng_state()
    with pytest.raises(OSError, match="gone"):
        [Augmentation("strong", SPEC)(*painted(), seed, fails) for seed in range(40)]
    assert torch.equal(torch.get_rng_state(), state)


def test_none_gives_back_what_it_was_given():
    picture = painted()
    assert all(one is other for one, other in zip(Augmentation("none", SPEC)(*picture, 0), picture, strict=True))


def test_an_unknown_recipe_is_named():
    with pytest.raises(ConfigError, match=r"'stronk' is unknown. Use one of none, light, standard, strong"):
        Augmentation("stronk", SPEC)


@pytest.mark.parametrize("recipe", ["standard", "strong"])
def test_padding_has_the_pad_colour(recipe):
    """On a grey canvas every pixel stays grey or is padding."""
    canvas = torch.full((3, 96, 128), 200, dtype=torch.uint8)
    padded = 0
    for seed in range(30):
        pixels = Augmentation(recipe, SPEC)(canvas, torch.zeros(0, 4), torch.zeros(0).long(), seed)[0]
        padding = (pixels == torch.tensor([1, 2, 3]).view(3, 1, 1)).all(dim=0)
        assert (padding | ((pixels[0] == pixels[1]) & (pixels[1] == pixels[2]))).all(), seed
        padded += int(padding.any())
    assert 3 <= padded < 30


@given(boxes=boxes_of(halves), across=st.booleans(), down=st.booleans())
def test_flipping_twice_is_the_identity(boxes, across, down):
    once = flip_boxes(boxes, 96, 128, across, down)
    assert torch.equal(flip_boxes(once, 96, 128, across, down), boxes)


@given(boxes=boxes_of(st.floats(0, 96, width=32)), across=st.booleans(), down=st.booleans())
def test_flipping_twice_rounds_as_float32_does(boxes, across, down):
    twice = flip_boxes(flip_boxes(boxes, 96, 128, across, down), 96, 128, across, down)
    assert torch.allclose(twice, boxes, rtol=0, atol=1e-5)


def test_a_flip_counts_from_the_other_edge():
    box = torch.tensor([[10.0, 20, 30, 50]])
    assert flip_boxes(box, 96, 128, True, False).tolist() == [[98, 20, 118, 50]]
    assert flip_boxes(box, 96, 128, False, True).tolist() == [[10, 46, 30, 76]]


@pytest.mark.parametrize("asked", [(0.5, 0.0), (0.3, 0.3)])
def test_flips_mirror_pixels_as_boxes_and_as_often_as_asked(asked, monkeypatch):
    monkeypatch.setitem(RECIPES, "flips", lambda spec: [Flips(*asked)])
    canvas, boxes, labels = painted()
    directions = [(across, down) for across in (False, True) for down in (False, True)]
    seen = dict.fromkeys(directions, 0)
    for seed in range(300):
        pixels, moved, _ = Augmentation("flips", SPEC)(canvas, boxes, labels, seed)
        taken = [one for one in directions if torch.equal(moved, flip_boxes(boxes, 96, 128, *one))]
        axes = [axis for axis, flipped in zip((2, 1), taken[0], strict=True) if flipped]
        assert torch.equal(pixels, canvas.flip(axes))
        seen[taken[0]] += 1
    across, down = seen[True, False] + seen[True, True], seen[False, True] + seen[True, True]
    assert [across / 300, down / 300] == pytest.approx(asked, abs=0.1)
    assert asked[1] or not down


def test_no_recipe_turns_a_picture_upside_down():
    """Most objects have a side that is up; a recipe cannot know which sets are the exception."""
    for recipe, steps in RECIPES.items():
        assert not any(isinstance(step, Flips) and step.vertical for step in steps(SPEC)), recipe


def test_a_view_scales_moves_and_cuts():
    view = View(Rectangle(20, 10, 40, 20), Rectangle(5, 6, 80, 60))
    boxes = torch.tensor(
        [
            [20.0, 10, 60, 30],  # the source itself
            [30, 15, 40, 20],  # inside
            [0, 10, 25, 30],  # a fifth of it visible
            [0, 10, 22, 30],  # less than .15
            [30, 15, 30.9, 30],  # too narrow
            [70, 10, 90, 30],  # outside
        ]
    )
    gone = [0, 0, 0, 0]
    assert view.move(boxes).tolist() == [[5, 6, 85, 66], [25, 21, 45, 36], [5, 6, 15, 66], gone, gone, gone]


def test_a_view_paints_what_it_moves():
    canvas, boxes, _ = painted()
    onto = torch.full((3, 96, 128), 255, dtype=torch.uint8)
    view = View(Rectangle(0, 0, 60, 48), Rectangle(4, 8, 120, 48))
    view.paint(canvas, onto)
    x1, y1, x2, y2 = view.move(boxes)[0].int().tolist()
    assert (x1, y1, x2, y2) == (4, 8, 84, 48)
    assert (onto[:, y1 : y2 - 2, x1 : x2 - 2] == 40).all()
    assert (onto[:, y1 : y2 - 2, x2 + 2 : 122] == 0).all()
    assert (onto[:, :8] == 255).all()
    assert (onto[:, :, :4] == 255).all()


@given(width=st.integers(1, 300), height=st.integers(1, 300), share=st.floats(0.01, 1), seed=SEEDS)
def test_a_part_lies_inside(width, height, share, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        part = part_of(width, height, share, 1.0)
    assert part.corners[2] <= width
    assert min(part) >= 0
    assert part.width >= 1
    assert part.height == height


def test_a_mosaic_has_each_picture_in_its_quarter():
    parts = [
        (torch.full((3, 96, 128), 50 * (number + 1), dtype=torch.uint8), torch.tensor([[0.0, 0, 128, 96]]), number)
        for number in range(4)
    ]
    canvas, boxes, labels = assemble([(pixels, box, torch.tensor([n])) for pixels, box, n in parts], 0.25, 0.75)
    assert boxes.tolist() == [[0, 0, 32, 72], [32, 0, 128, 72], [0, 72, 32, 96], [32, 72, 128, 96]]
    assert labels.tolist() == [0, 1, 2, 3]
    for (x1, y1, x2, y2), label in zip(boxes.int().tolist(), labels.tolist(), strict=True):
        assert (canvas[:, y1:y2, x1:x2] == 50 * (label + 1)).all()


def test_only_a_recipe_that_mixes_asks_for_other_pictures():
    asked = {recipe: [] for recipe in RECIPES}
    for recipe, seeds in asked.items():
        for seed in range(100):
            Augmentation(recipe, SPEC)(*painted(), seed, lambda one, seeds=seeds: seeds.append(one) or painted())
    assert [recipe for recipe, seeds in asked.items() if seeds] == ["strong"]
    assert [recipe for recipe in RECIPES if Augmentation(recipe, SPEC).mixes] == ["strong"]
    assert len(set(asked["strong"])) == len(asked["strong"])
    mosaics, left_over = divmod(len(asked["strong"]), 3)
    assert 35 < mosaics < 65
    assert left_over == 0


@given(boxes=boxes_of(halves), seed=st.integers(0, 999))
def test_a_crop_shares_enough_with_an_object(boxes, seed):
    boxes = torch.cat([boxes[:, :2], boxes[:, :2] + 30], dim=1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        view = IoUCrop(0.5, (0.3,), SPEC.pad).make_params([torch.empty(3, 96, 128), boxes])["view"]
    if view is None:
        return
    assert box_iou(torch.tensor([view.source.corners]).float(), boxes).max() >= 0.3
    assert view.source.width >= 64
    assert view.source.height >= 48


def test_crops_happen_where_they_can_and_nowhere_else():
    crop, canvas = IoUCrop(0.5, (0.3, 1.0), SPEC.pad), torch.empty(3, 96, 128)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        large = [crop.make_params([canvas, torch.tensor([[20.0, 10, 100, 90]])])["view"] for _ in range(40)]
        empty = [crop.make_params([canvas, torch.zeros(0, 4)])["view"] for _ in range(40)]
    assert 10 < sum(view is not None for view in large) < 30  # 1.0 changes nothing
    assert set(empty) == {None}


@pytest.mark.parametrize(("height", "width"), [(256, 1280), (1280, 256), (640, 640)])
def test_crops_do_not_depend_on_the_shape_of_the_canvas(height, width):
    crop = IoUCrop(0.25, (0.3,), SPEC.pad)
    canvas = torch.empty(3, height, width)
    box = torch.tensor([[0.1, 0.1, 0.9, 0.9]]) * torch.tensor([width, height] * 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sources = [crop.make_params([canvas, box])["view"].source for _ in range(100)]
    shares = [(one.width / width) / (one.height / height) for one in sources]
    assert 0.5 <= min(shares) < 0.6
    assert 1.7 < max(shares) <= 2.0


def test_scales_keep_to_their_range():
    canvas, boxes = torch.empty(3, 96, 128), torch.zeros(0, 4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        views = [ScaleJitter(0.5, 2.0, SPEC.pad).make_params([canvas, boxes])["view"] for _ in range(200)]
        zoomed = [ZoomOut(0.3, 1.6, SPEC.pad).make_params([canvas, boxes])["view"] for _ in range(200)]
    scales = [view.target.width / view.source.width for view in views]
    assert min(scales) < 0.55
    assert max(scales) > 1.8
    assert 80 < sum(scale < 1 for scale in scales) < 120
    assert all(0.5 <= scale <= 2 for scale in scales)
    shares = [view.target.width / 128 for view in zoomed if view is not None]
    assert 40 < len(shares) < 80
    assert min(shares) >= 0.62


def test_seeds_are_the_same_in_every_version():
    """A resumed run sees what the unbroken one would have seen."""
    assert sample_seed(0, 0, 0) == 7896617691693857887
    assert sample_seed(7, 3, 11) == 8602975696911919822
    assert len({sample_seed(0, epoch, index) for epoch in range(20) for index in range(20)}) == 400
    assert [another_index(seed, 10) for seed in range(8)] == [7, 5, 7, 3, 7, 1, 5, 6]


@given(seed=SEEDS, count=st.integers(1, 5))
def test_another_index_is_in_the_split(seed, count):
    assert 0 <= another_index(seed, count) < count


def test_the_page_repeats_the_code():
    page = PAGE.read_text()
    steps = [
        f"| `{name}` | {number} | `{step!r}` |"
        for name, build in RECIPES.items()
        for number, step in enumerate(build(SPEC), start=1)
    ]
    assert re.findall(r"^\| `\w+` \| \d.*$", page, re.MULTILINE) == steps

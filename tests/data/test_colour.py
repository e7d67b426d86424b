import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from boxwright.data.colour import Colour, adjust

FACTORS = st.floats(0.8, 1.2)


def chain(canvas, brightness, contrast, saturation):
    return tv.adjust_saturation(tv.adjust_contrast(tv.adjust_brightness(canvas, brightness), contrast), saturation)


def mild(height, width):
    """Random colours that no factor of .8 .. 1.2 drives to black or white."""
    return torch.randint(70, 150, (3, height, width), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


@given(brightness=FACTORS, contrast=FACTORS, saturation=FACTORS)
def test_colour_is_torchvisions_chain_without_its_rounding(brightness, contrast, saturation):
    canvas = mild(233, 367)  # more than two blocks, the last one odd
    exact = chain(canvas.double() / 255, brightness, contrast, saturation) * 255
    assert 0 < exact.min() < exact.max() < 255
    assert (adjust(canvas, brightness, contrast, saturation) - exact).abs().max() <= 0.51


@given(factor=FACTORS, which=st.integers(0, 2))
def test_one_factor_is_torchvisions_within_a_grey_level(factor, which):
    canvas = mild(32, 48)
    factors = [factor if place == which else 1.0 for place in range(3)]
    difference = adjust(canvas, *factors).int() - chain(canvas, *factors).int()
    assert difference.abs().max() <= 1


def test_colours_are_clamped_and_neutral_factors_change_nothing():
    canvas = torch.randint(0, 256, (3, 40, 60), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    assert torch.equal(adjust(canvas, 1.0, 1.0, 1.0), canvas)
    bright = adjust(canvas, 3.0, 1.0, 1.0)
    assert (bright[canvas > 85] == 255).all()
    assert not adjust(canvas, 0.0, 1.0, 1.0).any()


def test_colours_change_as_often_and_as_far_as_asked():
    step = Colour(p=0.3, brightness=0.1, contrast=0.2, saturation=0.4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [step.make_params([])["factors"] for _ in range(300)]
    factors = torch.tensor([one for one in drawn if one is not None])
    assert 60 < len(factors) < 120
    assert torch.allclose(factors.min(dim=0).values, torch.tensor([0.9, 0.8, 0.6]), atol=0.03)
    assert torch.allclose(factors.max(dim=0).values, torch.tensor([1.1, 1.2, 1.4]), atol=0.03)

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.networks import spec_of
from torchvision.ops import MultiScaleRoIAlign

from boxwright.models.box_samplers import sampling
from boxwright.models.detector import Detector
from boxwright.models.roi_align import SparseRoIAlign

LEVELS = {"fine": 8, "middle": 16, "coarse": 32}  # strides


def pooled(pool, features, boxes, height, width):
    """What is pooled, and the gradients of a sum that weighs every value otherwise."""
    leaves = {name: value.clone().requires_grad_() for name, value in features.items()}
    answer = pool(leaves, boxes, [(height, width)] * len(boxes))
    weights = torch.linspace(-1, 1, answer.numel()).reshape(answer.shape)
    (answer * weights).sum().backward()
    return answer.detach(), [leaf.grad for leaf in leaves.values()]


def features_of(pictures, height, width, channels=5):
    return {name: torch.randn(pictures, channels, height // by, width // by) for name, by in LEVELS.items()}


def assert_as_torchvision(pool, features, boxes, height, width):
    wanted, wanted_gradients = pooled(pool, features, boxes, height, width)
    given, gradients = pooled(SparseRoIAlign(pool), features, boxes, height, width)
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5)
    for one, other in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(one, other if other is not None else torch.zeros_like(one), rtol=1e-4, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(64, 96), (128, 128), (160, 64)]), st.sampled_from([2, 5, 7]))
def test_pools_as_torchvision_does(seed, canvas, size):
    torch.manual_seed(seed)
    height, width = canvas
    pool = MultiScaleRoIAlign(list(LEVELS), output_size=size, sampling_ratio=2)
    corners = [torch.rand(n, 2) * torch.tensor([width, height]) * 1.3 - 20 for n in (4, 0, 7)]  # some are outside
    boxes = [torch.cat([one, one + torch.rand(len(one), 2) ** 3 * 150 + 0.5], 1) for one in corners]
    assert_as_torchvision(pool, features_of(3, height, width), boxes, height, width)


def test_one_level_and_more_samples():
    torch.manual_seed(0)
    pool = MultiScaleRoIAlign(["coarse"], output_size=3, sampling_ratio=3)
    features = {"coarse": torch.randn(1, 4, 4, 6)}
    boxes = [torch.tensor([[0.0, 0.0, 192.0, 128.0], [5.0, 7.0, 6.0, 8.0], [150.0, 90.0, 260.0, 300.0]])]
    assert_as_torchvision(pool, features, boxes, 128, 192)


def test_features_that_it_does_not_pool_from_are_left_out():
    torch.manual_seed(0)
    pool = MultiScaleRoIAlign(["fine", "middle"], output_size=2, sampling_ratio=2)
    features = features_of(1, 64, 64)
    answer = SparseRoIAlign(pool)(features, [torch.tensor([[0.0, 0.0, 60.0, 60.0]])], [(64, 64)])
    torch.testing.assert_close(answer, pool(features, [torch.tensor([[0.0, 0.0, 60.0, 60.0]])], [(64, 64)]))


def test_no_box_at_all():
    pool = MultiScaleRoIAlign(list(LEVELS), output_size=2, sampling_ratio=2)
    answer, gradients = pooled(SparseRoIAlign(pool), features_of(1, 64, 64), [torch.zeros(0, 4)], 64, 64)
    assert answer.shape == (0, 5, 2, 2)
    assert not any(one.any() for one in gradients)


@pytest.mark.parametrize("architecture", ["fasterrcnn_tiny_fpn", "fasterrcnn_mobilenet_v2_fpn_v2"])
def test_a_network_trains_with_it_and_has_its_own_pooling_back_afterwards(architecture):
    detector = Detector(spec_of(architecture, 64))
    detector.network.train()
    usual = detector.network.roi_heads.box_roi_pool
    canvases = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    boxes, labels = (
        [torch.tensor([[4.0, 4.0, 40.0, 40.0]]), torch.zeros(0, 4)],
        [torch.tensor([1]), torch.zeros(0).long()],
    )
    torch.manual_seed(0)
    own = detector.losses(canvases, boxes, labels)
    assert detector.network.roi_heads.box_roi_pool is usual
    torch.manual_seed(0)
    targets = [{"boxes": box, "labels": label + 1} for box, label in zip(boxes, labels, strict=True)]
    with sampling(detector.network, None):  # the same boxes
        plain = detector.network(canvases, targets)
    for name, value in plain.items():
        torch.testing.assert_close(own[name], value, rtol=1e-4, atol=1e-5)

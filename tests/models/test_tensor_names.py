import pytest

from boxwright.models import find_family
from boxwright.models.tensor_names import find_network

OURS = ("backbone.body.conv1.weight", "backbone.body.bn1.num_batches_tracked", "head.conv.weight")
TORCHVISION = find_family("retinanet_resnet50_fpn")


@pytest.mark.parametrize(
    "place", ["", "module.", "model._orig_mod.", "module.model.", "detector.", "a.b.c.network.", "0."]
)
def test_whatever_stands_before_the_names_is_found(place):
    found = find_network([place + name for name in OURS] + ["other.weight"], OURS)
    assert found.place == place
    assert found.names == {name: place + name for name in OURS}


def test_most_tensors_win_then_an_average_then_the_first():
    part, whole = OURS[:1], OURS
    names = [*("ema.module." + name for name in part), *("model." + name for name in whole)]
    assert find_network(names, OURS).place == "model."
    names = [*("model." + name for name in whole), *("model_ema.module." + name for name in whole)]
    assert find_network(names, OURS).place == "model_ema.module."
    names = [*("student." + name for name in whole), *("teacher." + name for name in whole)]
    assert find_network(names, OURS).place == "student."
    without_counters = [name for name in whole if "num_batches" not in name]
    names = [*("model." + name for name in whole), *("ema." + name for name in without_counters)]
    assert find_network(names, OURS).place == "ema."


def test_nothing_is_found_in_names_that_only_look_alike():
    found = find_network(["xbackbone.body.conv1.weight", "backbone.body.conv1.weight.exp_avg", ""], OURS)
    assert (found.place, found.names) == ("", {})


def test_backbones_of_their_own_and_older_names_are_known():
    assert find_network(["encoder.conv1.weight"], OURS, TORCHVISION).names == {OURS[0]: "encoder.conv1.weight"}
    for was, today in [
        ("backbone.fpn.inner_blocks.2.bias", "backbone.fpn.inner_blocks.2.0.bias"),
        ("rpn.head.conv.weight", "rpn.head.conv.0.0.weight"),
        ("head.regression_head.conv.6.weight", "head.regression_head.conv.3.0.weight"),
        ("head.classification_head.conv.0.bias", "head.classification_head.conv.0.0.bias"),
    ]:
        assert TORCHVISION.name_today(was) == today
        assert TORCHVISION.name_today(today) == today
        assert find_network([f"model.{was}"], {today}, TORCHVISION).names == {today: f"model.{was}"}

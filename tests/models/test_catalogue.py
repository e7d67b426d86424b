import pytest
from torchvision.models import get_weight

from boxwright.models import CATALOGUE, find_architecture
from boxwright.runtime import InputSpec, ModelError


def test_the_nearest_name_is_given():
    with pytest.raises(ModelError, match="Did you mean 'fasterrcnn_resnet50_fpn'"):
        find_architecture("fasterrcnn_resnet50")


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_row_is_true(name):
    row = CATALOGUE[name]
    assert InputSpec(*row.image_size)
    for member in filter(None, [row.coco_weights, row.backbone_weights]):
        assert get_weight(member).url.startswith("https://")

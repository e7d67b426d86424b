import inspect
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from boxwright.models import CATALOGUE, find_architecture, find_family
from boxwright.models.catalogue import FAMILIES
from boxwright.runtime import ConfigError, ModelError
from boxwright.runtime.networks import network_family


def test_the_nearest_name_is_given():
    with pytest.raises(ModelError, match="Did you mean 'fasterrcnn_resnet50_fpn'"):
        find_architecture("fasterrcnn_resnet50")


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_row_is_true(name):
    row = CATALOGUE[name]
    assert row.canvas(*row.image_size, row.resize)
    family = find_family(name)
    assert row in family.rows
    for kind, member in (("coco", row.coco_weights), ("imagenet", row.backbone_weights)):
        if member is not None:
            assert family.weights_url(member).startswith("https://")
            assert family.licences[kind]


@pytest.mark.parametrize(("height", "width"), [(33, 32), (32, 100)])
def test_a_canvas_must_fit_the_strides(height, width):
    with pytest.raises(ConfigError, match=r"fasterrcnn_tiny_fpn.*multiple of 32"):
        find_architecture("fasterrcnn_tiny_fpn").canvas(height, width, "letterbox")
    with pytest.raises(ConfigError, match="from 1 to 8192"):
        find_architecture("fasterrcnn_tiny_fpn").canvas(0, width - width % 32, "letterbox")
    finer = replace(find_architecture("fasterrcnn_tiny_fpn"), stride=14)
    assert finer.canvas(504, 560, "stretch").width == 560


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
def test_an_archive_needs_the_packages_that_its_family_names(family):
    """What the family's networks import, but for what TorchServe has anyway; of what it cannot have, the graph."""
    needed = network_family(family.rows[0].name).packages
    assert set(needed) <= set(family.packages)
    networks = inspect.getmodule(network_family(family.rows[0].name).builders[family.rows[0].name])
    source = inspect.getsource(networks)
    imported = {match.split(".")[0] for match in re.findall(r"^ *(?:from|import) ([a-z]\S*)", source, re.MULTILINE)}
    imported -= {*sys.stdlib_module_names, "torch", "numpy", "PIL"}
    assert imported == (set(needed) or set(family.torchserve_packages))
    if needed:
        assert family.torchserve_packages == ("onnxruntime",)


def test_the_catalogue_needs_no_torch():
    code = "import sys, boxwright.models; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_sides_that_must_be_the_same_are_said():
    with pytest.raises(ConfigError, match=r"320 x 384.*rfdetr_nano: both sides must be the same"):
        find_architecture("rfdetr_nano").canvas(320, 384, "stretch")

import json
import re
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file

from boxwright.models import find_family, require_family
from boxwright.models.detector import Detector
from boxwright.models.freezing import freeze_batchnorm, freeze_stages
from boxwright.models.weights import fetch_hub_weights, load_weights, network_options, weights_licence
from boxwright.runtime import ClassEntry, ConfigError, InputSpec, MissingDependency, ModelError, ModelSpec
from boxwright.runtime.backends.graph import OUTPUTS
from boxwright.runtime.networks import build_network
from boxwright.runtime.networks.torchvision import DETECTIONS_PER_PICTURE, SCORE_FLOOR
from boxwright.runtime.networks.transformers_detectors import (
    TRANSFORMERS,
    kind_of,
    load_class,
    row_options,
    transformers_config,
)
from support.networks import SMALL, canvases, opinionated, small_options, spec_of

PUBLISHED = {
    "rtdetr_v2_r18": 20.0,
    "rtdetr_v2_r34": 31.0,
    "rtdetr_v2_r50": 42.0,
    "dfine_n": 3.8,
    "dfine_s": 10.2,
    "dfine_m": 19.2,
    "dfine_l": 31.0,
    "deimv2_atto": 0.49,
    "deimv2_femto": 0.96,
    "deimv2_pico": 1.5,
    "deimv2_n": 3.6,
    "rfdetr_nano": 30.5,
    "rfdetr_small": 32.1,
    "rfdetr_medium": 33.7,
}
"""Millions of parameters that the authors count, for COCO's classes."""


def spec(architecture, classes=2, side=64, **options):
    entries = tuple(ClassEntry(number, str(number)) for number in range(classes))
    network = {"config": {**SMALL[architecture], **options}}
    return ModelSpec("m", architecture, entries, InputSpec(side, side), network)


def folder_of(place, architecture, classes=5, **options):
    """What ``save_pretrained`` writes of a small random network; its tensors."""
    torch.manual_seed(1)
    network = load_class(kind_of(architecture).network)(transformers_config(spec(architecture, classes, **options)))
    network.save_pretrained(place)
    return network.state_dict()


@pytest.mark.parametrize("architecture", sorted(PUBLISHED))
def test_rows_have_the_published_number_of_parameters(architecture):
    entries = tuple(ClassEntry(number, str(number)) for number in range(80))
    with torch.device("meta"):
        network = build_network(ModelSpec("m", architecture, entries, InputSpec(640, 640)))
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert millions == pytest.approx(PUBLISHED[architecture], rel=0.05)


def test_every_row_can_be_built_and_has_blocks_to_freeze():
    for name in TRANSFORMERS.builders:
        family = find_family(name)
        row = next(row for row in family.rows if row.name == name)
        with torch.device("meta"):
            network = build_network(
                ModelSpec("m", name, (ClassEntry(1, "a"),), row.canvas(*row.image_size, row.resize))
            )
        blocks = family.blocks(network)
        own = {id(parameter) for block in blocks for parameter in block.parameters()}
        backbone = dict(network.backbone.named_parameters())
        left = [key for key, value in backbone.items() if id(value) not in own]
        assert all(re.match(r"encoder_input_proj|projector|backbone\.layernorm", key) for key in left), (name, left)


@pytest.mark.parametrize("architecture", sorted(SMALL))
def test_the_losses_add_up_to_that_of_transformers(architecture):
    detector = Detector(spec(architecture))
    detector.network.train()
    canvas = torch.from_numpy(canvases(2, 64))
    boxes = [torch.tensor([[4.0, 4, 40, 40], [10, 20, 60, 60]]), torch.zeros(0, 4)]
    labels = [torch.tensor([0, 1]), torch.zeros(0, dtype=torch.int64)]
    torch.manual_seed(3)
    ours = sum(detector.losses(canvas, boxes, labels).values())
    torch.manual_seed(3)
    centred = [torch.tensor([[22.0, 22, 36, 36], [35, 40, 50, 40]]) / 64, boxes[1]]
    targets = [{"class_labels": label, "boxes": own} for own, label in zip(centred, labels, strict=True)]
    pixels = detector.network.transform.normalized(canvas)
    theirs = detector.network.network(pixel_values=pixels, labels=targets).loss
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_training_takes_other_sizes_than_the_canvas():
    """A box that covers the picture is that box at every size."""
    detector = Detector(spec("dfine_n"))
    detector.network.train()
    seen = []
    detector.network.network.register_forward_pre_hook(
        lambda module, inputs, options: seen.append(options["labels"][0]["boxes"]), with_kwargs=True
    )
    for side in (64, 128):
        whole = torch.tensor([[0.0, 0, side, side]])
        detector.losses(torch.from_numpy(canvases(1, side)), [whole], [torch.tensor([0])])
    assert torch.equal(seen[0], torch.tensor([[0.5, 0.5, 1.0, 1.0]]))
    assert torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("architecture", sorted(SMALL))
def test_a_batch_without_objects_gives_every_parameter_a_gradient(architecture):
    detector = Detector(spec(architecture))
    detector.network.train()
    nothing = ([torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2)
    total = sum(detector.losses(torch.from_numpy(canvases(2, 64)), *nothing).values())
    total.backward()
    assert torch.isfinite(total)
    learning = {name: one.grad for name, one in detector.network.named_parameters() if one.requires_grad}
    assert [name for name, gradient in learning.items() if gradient is None] == []
    grouped = [one for group in detector.parameter_groups() for one in group.parameters]
    assert len(grouped) == len({id(one) for one in grouped}) == len(learning)


@pytest.mark.parametrize("architecture", sorted(SMALL))
def test_detections_are_the_best_pairs_of_query_and_class(architecture):
    made = spec_of(architecture, 96)
    network = opinionated(made)
    pictures = torch.from_numpy(canvases(2, 96))
    with torch.inference_mode():
        answer = network.network(pixel_values=network.transform.normalized(pictures))
        given = network(pictures)
        found = find_family(architecture).detect(network, pictures)
    scores = answer.logits.sigmoid()
    assert given["scores"].shape == (2, min(DETECTIONS_PER_PICTURE, scores[0].numel()))
    for index, one in enumerate(found):
        expected = scores[index].flatten().sort(descending=True).values
        expected = expected[expected >= SCORE_FLOOR]
        assert one.scores.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
        query, label = divmod(int(scores[index].flatten().argmax()), 3)
        across, down, width, height = (96 * answer.pred_boxes[index, query]).tolist()
        corners = [across - width / 2, down - height / 2, across + width / 2, down + height / 2]
        assert one.labels[0] == label
        assert one.boxes[0].tolist() == pytest.approx([min(max(edge, 0), 96) for edge in corners], abs=1e-3)
    assert set(given) == set(OUTPUTS)


def test_unlikely_pairs_are_no_detections():
    network = opinionated(spec_of("dfine_n", 96))
    with torch.no_grad():
        for head in network.network.model.decoder.class_embed:
            head.weight.zero_()
            head.bias.fill_(-20.0)
        found = find_family("dfine_n").detect(network, torch.from_numpy(canvases(2, 96)))
    assert [len(one) for one in found] == [0, 0]


def test_a_canvas_with_fewer_places_than_queries_is_refused():
    with pytest.raises(ConfigError, match=r"64 x 64.*too small for dfine_n: 20 places for 300 queries"):
        build_network(ModelSpec("m", "dfine_n", (ClassEntry(1, "a"),), InputSpec(64, 64)))


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"no_such_option": 1}, "'no_such_option'"),
        ({"freeze_backbone_batch_norms": True}, "'freeze_backbone_batch_norms'"),
        ({"backbone_config": {"model_type": "resnet"}}, "'model_type'"),
        ({"backbone_config": 3}, "backbone_config = 3"),
        ({"d_model": "wide"}, "d_model"),
    ],
)
def test_options_that_do_not_fit_are_named(options, culprit):
    with pytest.raises(ModelError, match=culprit):
        build_network(
            ModelSpec("m", "dfine_n", (ClassEntry(1, "a"),), InputSpec(320, 320), network={"config": options})
        )
    with pytest.raises(ConfigError, match="config = 3"):
        ModelSpec("m", "dfine_n", (ClassEntry(1, "a"),), InputSpec(320, 320), network={"config": 3})


@pytest.mark.parametrize("architecture", sorted(SMALL))
def test_a_folder_fills_all_but_the_classes_and_says_how_to_build(tmp_path, architecture):
    theirs = folder_of(tmp_path, architecture)
    network = network_options(str(tmp_path), architecture)
    row = row_options(architecture)
    for options, small, usual in (
        (network["config"], SMALL[architecture], row),
        (network["config"]["backbone_config"], SMALL[architecture]["backbone_config"], row["backbone_config"]),
    ):
        assert (
            options.items()
            >= {
                name: one for name, one in small.items() if usual.get(name) != one and name != "backbone_config"
            }.items()
        )
    target = build_network(ModelSpec("m", architecture, spec(architecture).classes, InputSpec(64, 64), network))
    loaded = load_weights(target, str(tmp_path), spec(architecture))
    assert loaded.left == loaded.unused == ()
    assert loaded.reshaped
    assert all("class_embed" in name or "enc_score_head" in name for name in loaded.reshaped)
    ours = target.state_dict()
    matched = {name.removeprefix("network.") for name in loaded.matched}
    assert all(torch.equal(ours[f"network.{name}"], theirs[name]) for name in matched)
    assert len(matched) + len(loaded.reshaped) == len([name for name in theirs if "num_batches" not in name])


def test_the_same_classes_are_taken_whole(tmp_path):
    folder_of(tmp_path, "dfine_n", classes=2)
    target = build_network(spec("dfine_n"))
    loaded = load_weights(target, str(tmp_path), spec("dfine_n"))
    assert loaded.left == loaded.unused == loaded.reshaped == ()


def test_names_of_former_releases_are_understood(tmp_path):
    """transformers 4 had ``out_proj`` and ``fc1``: so have the files of the hub, and those of ``save_pretrained``."""
    theirs = folder_of(tmp_path, "dfine_n", classes=2)
    named_so = set(load_file(tmp_path / "model.safetensors"))
    assert any(".fc1." in name for name in named_so - set(theirs))
    loaded = load_weights(build_network(spec("dfine_n")), str(tmp_path), spec("dfine_n"))
    assert loaded.left == loaded.unused == ()


def test_what_only_training_looks_at_stays_the_rows(tmp_path):
    folder_of(tmp_path, "deimv2_n", num_denoising=7, focal_loss_gamma=3.0, weight_loss_bbox=1.0)
    found = network_options(str(tmp_path), "deimv2_n")["config"]
    assert not {"num_denoising", "focal_loss_gamma", "weight_loss_bbox"} & set(found)


def test_a_folder_of_another_row_or_class_is_refused(tmp_path):
    entries = (ClassEntry(0, "any"),)
    other = transformers_config(ModelSpec("m", "dfine_s", entries, InputSpec(640, 640)))
    other.save_pretrained(tmp_path)
    assert network_options(str(tmp_path), "dfine_s") == {}
    with pytest.raises(ModelError, match=r"describes dfine_s, not dfine_n.*--model dfine_s"):
        network_options(str(tmp_path), "dfine_n")
    with pytest.raises(ModelError, match=r"describes 'd_fine'; deimv2_n is 'deimv2'"):
        network_options(str(tmp_path), "deimv2_n")


def test_folders_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        network_options(str(tmp_path), "dfine_n")
    with pytest.raises(ModelError, match="a folder"):
        network_options(str(tmp_path), "fasterrcnn_tiny_fpn")
    folder_of(tmp_path, "dfine_n")
    network = build_network(spec("dfine_n"))
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="cannot be read"):
        load_weights(network, str(tmp_path), spec("dfine_n"))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        load_weights(network, str(tmp_path), spec("dfine_n"))
    for broken in ("{", "[]", json.dumps({"model_type": "d_fine", "d_model": "wide"})):
        (tmp_path / "config.json").write_text(broken)
        with pytest.raises(ModelError, match=r"config\.json"):
            network_options(str(tmp_path), "dfine_n")


def test_coco_weights_come_from_the_hubs_folder(tmp_path, monkeypatch):
    """The real path with a folder the test makes, where huggingface_hub would put it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    place = tmp_path / "models--ustc-community--dfine-nano-coco"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("a" * 40)
    folder_of(place / "snapshots" / ("a" * 40), "dfine_n", classes=2)
    assert fetch_hub_weights("coco", "dfine_n")[0] == "ustc-community/dfine-nano-coco"
    assert network_options("coco", "dfine_n")["config"]["d_model"] == 32
    loaded = load_weights(build_network(spec("dfine_n")), "coco", spec("dfine_n"))
    assert loaded.source == "ustc-community/dfine-nano-coco"
    assert loaded.left == loaded.reshaped == ()
    shutil.rmtree(place)
    with pytest.raises(ModelError) as caught:
        network_options("coco", "dfine_n")
    for part in ("ustc-community/dfine-nano-coco", "config.json", "model.safetensors", "--weights FOLDER"):
        assert part in str(caught.value)


def test_licences_are_the_weights_own():
    assert "Apache-2.0" in weights_licence("coco", "dfine_n")
    assert "name none" in weights_licence("coco", "deimv2_n")
    with pytest.raises(ModelError, match=r"no 'imagenet' weights for 'dfine_n'.*--weights coco"):
        fetch_hub_weights("imagenet", "dfine_n")


def test_pretrained_backbones_freeze_by_our_own_rule():
    network = build_network(spec("dfine_n"))
    blocks = find_family("dfine_n").blocks(network)
    assert freeze_stages(blocks, 1) > 0
    freeze_batchnorm(blocks)
    frozen = {name for name, one in network.named_parameters() if not one.requires_grad}
    assert "network.model.backbone.model.embedder.stem1.convolution.weight" in frozen
    assert not any(name.startswith("network.model.encoder") for name in frozen)


def test_bf16_runs_the_networks_and_not_the_decoder():
    for architecture in SMALL:
        detector = Detector(spec(architecture), "bf16")
        network, seen = detector.network.train(), {}
        layer = next(one for one in network.backbone.modules() if isinstance(one, torch.nn.Conv2d))
        layer.register_forward_hook(lambda module, inputs, output, seen=seen: seen.update(layer=output.dtype))
        network.network.model.decoder.layers[0].register_forward_hook(
            lambda module, inputs, output, seen=seen: seen.update(decoder=output.dtype)
        )
        boxes, labels = [torch.tensor([[4.0, 4, 40, 40]])], [torch.tensor([0])]
        losses = detector.losses(torch.from_numpy(canvases(1, 64)), boxes, labels)
        assert seen == {"layer": torch.bfloat16, "decoder": torch.float32}, architecture
        assert all(torch.isfinite(value) for value in losses.values())


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependency, match=r"boxwright\[hf\]"):
        build_network(ModelSpec("m", "dfine_n", (ClassEntry(1, "a"),), InputSpec(320, 320), small_options("dfine_n")))
    monkeypatch.setattr("boxwright.host.dependencies.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"transformers, scipy.*boxwright\[hf\]"):
        require_family("dfine_n")
    require_family("fasterrcnn_tiny_fpn")

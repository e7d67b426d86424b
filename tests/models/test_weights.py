import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from boxwright.models import CATALOGUE, find_architecture
from boxwright.models.weights import fetch_hub_weights, load_weights, load_whole, network_options
from boxwright.runtime import ClassEntry, InputSpec, ModelError, ModelSpec
from boxwright.runtime.networks import build_network

TINY = "fasterrcnn_tiny_fpn"
MOBILE = "fasterrcnn_mobilenet_v2_fpn"


def network_of(architecture=TINY, classes=1, seed=0):
    torch.manual_seed(seed)
    entries = tuple(ClassEntry(number, str(number)) for number in range(classes))
    return build_network(ModelSpec("m", architecture, entries, InputSpec(64, 64)))


def tensors(network):
    return {name: value.contiguous() for name, value in network.state_dict().items()}


def test_none_loads_nothing():
    assert load_weights(network_of(), "none", TINY) is None


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_whole_detector_matches_whole(tmp_path, suffix):
    source, target = network_of(seed=1), network_of(seed=2)
    path = tmp_path / f"w{suffix}"
    save_file(tensors(source), path) if suffix == ".safetensors" else torch.save(tensors(source), path)
    loaded = load_weights(target, str(path), TINY)
    assert loaded.left == loaded.unused == loaded.reshaped == ()
    assert all(torch.equal(value, target.state_dict()[name]) for name, value in source.state_dict().items())


def test_other_classes_keep_their_new_heads_and_it_is_said(tmp_path):
    torch.save(tensors(network_of(classes=5)), tmp_path / "w.pth")
    loaded = load_weights(network_of(classes=2), str(tmp_path / "w.pth"), TINY)
    assert {name.rsplit(".", 2)[-2] for name in loaded.reshaped} == {"cls_score", "bbox_pred"}
    assert "of another shape" in loaded.summary()


@pytest.mark.parametrize("wrap", ["state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "model.", "network."])
def test_checkpoints_of_others_are_unwrapped(tmp_path, wrap, prefix):
    source = network_of(seed=1)
    state = {prefix + name: value for name, value in tensors(source).items()}
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "w.ckpt")
    target = network_of(seed=2)
    assert load_weights(target, str(tmp_path / "w.ckpt"), TINY).left == ()
    assert torch.equal(target.backbone.body["0"][0].weight, source.backbone.body["0"][0].weight)


def test_a_real_backbone_file_matches_the_body(real_data):
    network = network_of(MOBILE)
    path = real_data / "weights" / "mobilenet_v2_imagenet.fp16.safetensors"
    loaded = load_weights(network, str(path), MOBILE)
    body = [name for name in network.state_dict() if name.startswith("backbone.body.") and "num_batches" not in name]
    assert sorted(loaded.matched) == sorted(body)
    assert loaded.unused == ("classifier.1.bias", "classifier.1.weight")
    assert all(not name.startswith("backbone.body.") for name in loaded.left)
    assert "26 new" in loaded.summary()


def test_a_file_that_matches_nothing_is_an_error(tmp_path):
    torch.save({"something.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"match nothing.*something\.weight"):
        load_weights(network_of(), str(tmp_path / "w.pth"), TINY)


def test_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    torch.save({"a": Evil()}, tmp_path / "w.pth", pickle_module=pickle)
    with pytest.raises(ModelError, match="needs its code"):
        load_weights(network_of(), str(tmp_path / "w.pth"), TINY)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("name", "content", "culprit"),
    [
        ("w.pth", b"nonsense", "w.pth"),
        ("w.safetensors", b"nonsense", "not a safetensors"),
        ("w.pth", None, "does not exist"),
    ],
)
def test_unusable_files_are_named(tmp_path, name, content, culprit):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=culprit):
        load_weights(network_of(), str(tmp_path / name), TINY)


def test_imagenet_weights_come_from_the_hub_folder(tmp_path, monkeypatch):
    """The real path with a file the test makes: torch.hub's folder, torchvision's file name."""
    from torchvision.models import mobilenet_v2

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(5)
    source = mobilenet_v2(weights=None)
    torch.save(source.state_dict(), folder / "mobilenet_v2-b0353104.pth")
    network = network_of(MOBILE)
    loaded = load_weights(network, "imagenet", MOBILE)
    assert loaded.source == "MobileNet_V2_Weights.IMAGENET1K_V1"
    assert torch.equal(network.backbone.body["0"][0].weight, source.features[0][0].weight)


def test_coco_weights_fill_all_but_the_classes(tmp_path, monkeypatch):
    """As torchvision's file is: 91 classes, frozen BatchNorms without counters."""
    from torchvision.models import detection

    architecture = "fasterrcnn_mobilenet_v3_large_320_fpn"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    source = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    state = {name: value for name, value in source.state_dict().items() if "num_batches_tracked" not in name}
    torch.save(state, folder / "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth")
    loaded = load_weights(network_of(architecture, classes=2), "coco", architecture)
    assert loaded.left == loaded.unused == ()
    assert {name.split(".")[-2] for name in loaded.reshaped} == {"cls_score", "bbox_pred"}


def test_without_network_the_error_names_file_and_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    with pytest.raises(ModelError) as caught:
        fetch_hub_weights("coco", "fasterrcnn_resnet50_fpn")
    assert "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth" in str(caught.value)
    assert str(tmp_path / "hub" / "checkpoints") in str(caught.value)


def test_the_norms_epsilon_is_that_of_the_weights(run, tmp_path):
    resnet, mobile = "fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_fpn"
    assert network_options("coco", resnet) == {"norm_eps": 0.0}
    assert network_options("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", resnet) == {"norm_eps": 0.0}
    assert network_options("imagenet", mobile) == {"norm_eps": 1e-3}
    assert network_options("none", mobile) == network_options("other.pth", mobile) == {}
    spec = replace(ModelSpec.load(run / "spec.json"), network={"norm_eps": 0.5})
    (tmp_path / "spec.json").write_text(spec.to_json())
    for name in ("model_state_dict.pth", "checkpoints/best.ckpt"):
        assert network_options(str(tmp_path / name), TINY) == {"norm_eps": 0.5}
    entries = (ClassEntry(1, "a"),)
    network = build_network(ModelSpec("m", TINY, entries, InputSpec(64, 64), {"norm_eps": 0.5}))
    assert network.backbone.body["0"][1].eps == 0.5


@pytest.mark.parametrize("architecture", sorted(CATALOGUE))
def test_a_state_dict_tells_its_labels_and_is_taken_whole(architecture):
    """Names are torchvision's: a network of its own is adopted, and its labels are counted with the background."""
    source, target = network_of(architecture, classes=4, seed=1), network_of(architecture, classes=4, seed=2)
    state = {f"module.{name}": value for name, value in tensors(source).items()}
    assert find_architecture(architecture).labels_of(state, "file") == 5
    load_whole(target, state, "file")
    assert all(torch.equal(value, target.state_dict()[name]) for name, value in source.state_dict().items())


def test_networks_of_torchvision_have_the_same_names():
    from torchvision.models import detection

    for architecture in ("retinanet_resnet50_fpn", "fcos_resnet50_fpn"):
        build = getattr(detection, architecture)
        theirs = build(weights=None, weights_backbone=None, num_classes=5).state_dict()
        shapes = {name: value.shape for name, value in network_of(architecture, classes=4).state_dict().items()}
        assert shapes == {name: value.shape for name, value in theirs.items()}


def test_weights_that_do_not_exist_are_said_so():
    with pytest.raises(ModelError, match="no 'coco' weights"):
        load_weights(network_of(MOBILE), "coco", MOBILE)

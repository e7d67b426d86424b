import pickle
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from boxwright.models import find_architecture
from boxwright.models.weights import fetch_hub_weights, load_weights, load_whole, network_options
from boxwright.runtime import ClassEntry, InputSpec, ModelError, ModelSpec
from boxwright.runtime.networks import build_network
from support.networks import SMALL, TRIED, small_options

TINY = "fasterrcnn_tiny_fpn"
MOBILE = "fasterrcnn_mobilenet_v2_fpn"


def spec_of(architecture=TINY, classes=1):
    names = [str(number) for number in range(classes)] if isinstance(classes, int) else classes
    entries = tuple(ClassEntry(number, name) for number, name in enumerate(names, start=1))
    return ModelSpec("m", architecture, entries, InputSpec(64, 64), small_options(architecture))


def network_of(architecture=TINY, classes=1, seed=0):
    torch.manual_seed(seed)
    return build_network(spec_of(architecture, classes))


def tensors(network):
    return {name: value.contiguous() for name, value in network.state_dict().items()}


def test_none_loads_nothing():
    assert load_weights(network_of(), "none", spec_of()) is None


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_whole_detector_matches_whole(tmp_path, suffix):
    source, target = network_of(seed=1), network_of(seed=2)
    path = tmp_path / f"w{suffix}"
    save_file(tensors(source), path) if suffix == ".safetensors" else torch.save(tensors(source), path)
    loaded = load_weights(target, str(path), spec_of())
    assert loaded.left == loaded.unused == loaded.reshaped == ()
    assert all(torch.equal(value, target.state_dict()[name]) for name, value in source.state_dict().items())


def test_other_classes_keep_their_new_heads_and_it_is_said(tmp_path):
    torch.save(tensors(network_of(classes=5)), tmp_path / "w.pth")
    loaded = load_weights(network_of(classes=2), str(tmp_path / "w.pth"), spec_of(classes=2))
    assert {name.rsplit(".", 2)[-2] for name in loaded.reshaped} == {"cls_score", "bbox_pred"}
    assert (loaded.head.kept, loaded.head.new, loaded.head.warning) == ((), ("0", "1"), "")
    assert "class head of 5 classes that have no names: kept none; new 0, 1" in loaded.summary()


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


OTHERS = {
    "plain": lambda state: state,
    "lightning": lambda state: {"state_dict": prefixed(state, "model."), "epoch": 3, "optimizer_states": [{}]},
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "compiled in a module": lambda state: {"model": prefixed(state, "model._orig_mod.")},
    "distributed": lambda state: {"net": prefixed(state, "module.model.")},
    "named": lambda state: {"params": prefixed(state, "detector.")},
    "distributed in an average": lambda state: {"ema": {"module": prefixed(state, "module.")}, "updates": 7},
    "with an optimizer": lambda state: {
        "model_state_dict": state,
        "optimizer": {"state": {0: {"step": torch.ones(1)}}, "by_name": prefixed(state, "momentum.")},
    },
    "the backbone compiled": lambda state: {
        name.replace("backbone.", "backbone._orig_mod."): value for name, value in state.items()
    },
}


@pytest.mark.parametrize("kind", sorted(OTHERS))
def test_checkpoints_of_others_are_taken_whole(tmp_path, kind):
    source, target = network_of(seed=1), network_of(seed=2)
    torch.save(OTHERS[kind](tensors(source)), tmp_path / "w.ckpt")
    loaded = load_weights(target, str(tmp_path / "w.ckpt"), spec_of())
    assert loaded.left == loaded.reshaped == ()
    assert all(torch.equal(value, target.state_dict()[name]) for name, value in source.state_dict().items())


def test_of_two_networks_in_a_file_the_average_is_taken_and_both_are_named(tmp_path):
    learner, average, target = network_of(seed=1), network_of(seed=2), network_of(seed=3)
    torch.save({"model": tensors(learner), "model_ema": prefixed(tensors(average), "module.")}, tmp_path / "w.pth")
    loaded = load_weights(target, str(tmp_path / "w.pth"), spec_of())
    assert torch.equal(target.backbone.body["0"][0].weight, average.backbone.body["0"][0].weight)
    assert "there under 'model_ema.module'" in loaded.summary()
    assert "in the file but unused (model.backbone" in loaded.summary()


def test_a_prefix_in_safetensors_and_half_precision_do_no_harm(tmp_path):
    source, target = network_of(classes=["cat"], seed=1), network_of(classes=["cat"], seed=2)
    state = {f"model.{name}": value.half() for name, value in tensors(source).items() if value.is_floating_point()}
    save_file(state, tmp_path / "w.safetensors")
    loaded = load_weights(target, str(tmp_path / "w.safetensors"), spec_of(classes=["cat"]), class_names=["Cat"])
    assert (loaded.left, loaded.reshaped, loaded.head.kept, loaded.head.warning) == ((), (), ("cat",), "")
    bias = target.roi_heads.box_predictor.bbox_pred.bias
    assert bias.dtype == torch.float32
    assert torch.equal(bias, source.roi_heads.box_predictor.bbox_pred.bias.half().float())


def backbone_but_one(state):
    return {name: value for name, value in state.items() if name != "backbone.body.5.1.running_var"}


def only_the_head(state):
    return {name: value for name, value in state.items() if name.startswith("roi_heads.")}


def of_other_sizes(state):
    return {name: value.flatten() if "body" in name else value for name, value in state.items()}


@pytest.mark.parametrize(
    ("change", "share"),
    [(backbone_but_one, "29 of the 30"), (only_the_head, "0 of the 30"), (of_other_sizes, "24 of the 30")],
)
def test_without_the_whole_backbone_nothing_is_taken(tmp_path, change, share):
    torch.save(change(tensors(network_of(seed=1))), tmp_path / "w.pth")
    network = network_of(seed=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ModelError, match=rf"bring {share} tensors of the backbone of 'fasterrcnn_tiny_fpn'"):
        load_weights(network, str(tmp_path / "w.pth"), spec_of())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_another_architecture_is_named_by_its_run_or_by_its_maker(run, tmp_path):
    for path in (run / "model_state_dict.pth", run / "checkpoints" / "best.ckpt", run):
        with pytest.raises(ModelError, match=rf"'{MOBILE}': they are of '{TINY}'.*--model"):
            load_weights(network_of(MOBILE), str(path), spec_of(MOBILE))
    (tmp_path / "w.pth").write_bytes((run / "model_state_dict.pth").read_bytes())
    with pytest.raises(ModelError, match=rf"'{MOBILE}': they are of '{TINY}'"):
        load_weights(network_of(MOBILE), str(tmp_path / "w.pth"), spec_of(MOBILE))
    torch.save({"model": {"backbone.bottom_up.res2.0.conv1.weight": torch.ones(2)}}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="their names are those of detectron2"):
        load_weights(network_of(), str(tmp_path / "w.pth"), spec_of())


def test_a_real_backbone_file_matches_the_body(real_data):
    network = network_of(MOBILE)
    path = real_data / "weights" / "mobilenet_v2_imagenet.fp16.safetensors"
    loaded = load_weights(network, str(path), spec_of(MOBILE))
    body = [name for name in network.state_dict() if name.startswith("backbone.body.") and "num_batches" not in name]
    assert sorted(loaded.matched) == sorted(body)
    assert loaded.unused == ("classifier.1.bias", "classifier.1.weight")
    assert all(not name.startswith("backbone.body.") for name in loaded.left)
    assert "the backbone alone; 26 new" in loaded.summary()


def test_a_file_that_matches_nothing_is_an_error(tmp_path):
    torch.save({"something.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"bring 0 of the 30 tensors .*'fasterrcnn_tiny_fpn'.*something\.weight"):
        load_weights(network_of(), str(tmp_path / "w.pth"), spec_of())


def test_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    torch.save({"a": Evil()}, tmp_path / "w.pth", pickle_module=pickle)
    with pytest.raises(ModelError, match="needs its code"):
        load_weights(network_of(), str(tmp_path / "w.pth"), spec_of())
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
        load_weights(network_of(), str(tmp_path / name), spec_of())


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
    loaded = load_weights(network, "imagenet", spec_of(MOBILE))
    assert loaded.source == "MobileNet_V2_Weights.IMAGENET1K_V1"
    assert torch.equal(network.backbone.body["0"][0].weight, source.features[0][0].weight)


def test_coco_weights_fill_all_but_the_classes_that_coco_does_not_know(tmp_path, monkeypatch):
    """As torchvision's file is: 91 labels, names of 2019, frozen BatchNorms without counters."""
    from torchvision.models import detection

    architecture = "fasterrcnn_mobilenet_v3_large_320_fpn"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    source = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    theirs = source.state_dict()
    old = {re.sub(r"((?:inner|layer)_blocks\.\d|rpn\.head\.conv\.0)\.0\.", r"\1.", name): name for name in theirs}
    state = {was.replace("conv.0.", "conv."): theirs[name] for was, name in old.items() if "num_batches" not in name}
    assert {"rpn.head.conv.weight", "backbone.fpn.layer_blocks.1.bias"} <= set(state)
    torch.save(state, folder / "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth")
    classes = ["Teddy_Bear", "N/A", "ray", "person"]
    network = network_of(architecture, classes)
    ours = network.roi_heads.box_predictor.cls_score.weight.clone()
    loaded = load_weights(network, "coco", spec_of(architecture, classes))
    assert loaded.left == loaded.unused == loaded.reshaped == ()
    assert (loaded.head.kept, loaded.head.new) == (("Teddy_Bear", "person"), ("N/A", "ray"))
    rows, coco = network.roi_heads.box_predictor.cls_score.weight, theirs["roi_heads.box_predictor.cls_score.weight"]
    assert torch.equal(rows[[0, 1, 4]], coco[[0, 88, 1]])  # COCO's ids
    assert torch.equal(rows[2:4], ours[2:4])


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


@pytest.mark.parametrize("architecture", TRIED)
def test_a_state_dict_tells_its_labels_and_is_taken_whole(architecture):
    """Names are the library's: torchvision's networks are adopted, their labels counted with the background."""
    source, target = network_of(architecture, classes=4, seed=1), network_of(architecture, classes=4, seed=2)
    state = {f"module.{name}": value for name, value in tensors(source).items()}
    assert find_architecture(architecture).labels_of(state, "file") == (4 if architecture in SMALL else 5)
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
        load_weights(network_of(MOBILE), "coco", spec_of(MOBILE))

import pickle
import sys
import types
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from boxwright.models.weights_files import maker_of, read_state, read_weights, spec_of
from boxwright.runtime import ArchiveError, ModelError, ModelSpec

STATE = OrderedDict(a=torch.ones(2), b=torch.zeros(3))


def saved(path, document):
    torch.save(document, path)
    return path


def test_nested_mappings_and_wrapped_parts_become_names(tmp_path):
    nested = {"ema": {"module": {"x": STATE}}, "model": {"_orig_mod.c": torch.ones(1)}, "epoch": 3, 5: STATE["b"]}
    nested["parts"] = {"body._orig_mod.d": torch.ones(1), "neck": {"e": torch.ones(1)}, "none": {}}
    assert set(read_weights(saved(tmp_path / "w.pth", nested)).tensors) == {
        "ema.module.x.a", "ema.module.x.b", "model.c", "parts.body.d", "parts.neck.e",
    }  # fmt: skip


def test_what_stands_beside_the_tensors_does_no_harm(tmp_path):
    """Arguments, figures and paths of other people's scripts; torch refuses each of them by itself."""
    document = {
        "model": STATE,
        "args": Namespace(lr=0.1, out=Path("x")),
        "best": np.float64(0.5),
        "history": np.arange(3),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
    }
    file = read_weights(saved(tmp_path / "w.pth", document))
    assert set(file.tensors) == {"model.a", "model.b"}
    assert "argparse.Namespace" in file.code
    torch.save({"model": STATE}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert set(read_weights(tmp_path / "old.pth").tensors) == {"model.a", "model.b"}
    torch.save(document, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match=r"needs its code.*state dict alone"):
        read_weights(tmp_path / "old.pth")


def test_a_file_that_holds_itself_is_read(tmp_path):
    document = {"model": STATE}
    document["again"] = document
    assert set(read_weights(saved(tmp_path / "w.pth", document)).tensors) == {"model.a", "model.b"}


class Harmful:
    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (open, (str(self.place), "w"))


def test_no_code_is_run_whatever_it_is_called(tmp_path):
    document = {"model": STATE, "x": Harmful(tmp_path / "touched")}
    assert set(read_weights(saved(tmp_path / "w.pth", document)).tensors) == {"model.a", "model.b"}
    assert not (tmp_path / "touched").exists()
    with pytest.raises(ModelError, match="needs its code"):  # what becomes an archive may not even ask
        read_state((tmp_path / "w.pth").read_bytes(), "w.pth")


@pytest.mark.parametrize(("module", "whose"), [("ultralytics.nn.tasks", " of Ultralytics"), ("mine.nets", "")])
def test_a_pickled_network_is_named(tmp_path, monkeypatch, module, whose):
    made = types.ModuleType(module)
    made.Net = type("Net", (torch.nn.Linear,), {"__module__": module})
    with monkeypatch.context() as patched:
        for dot in (*(place for place, letter in enumerate(module) if letter == "."), len(module)):
            patched.setitem(sys.modules, module[:dot], made)
        saved(tmp_path / "w.pt", {"model": made.Net(2, 2), "ema": None, "train_args": {"epochs": 3}})
    with pytest.raises(ModelError, match=rf"a pickled network{whose} that needs its code .*torch\.save"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        (b"", "not a torch file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (pickle.dumps({"model": {"backbone.bottom_up.x": np.ones(2)}}), "detectron2's model zoo"),
        (pickle.dumps({"model": {"x": 1}}), "not a torch file"),
    ],
)
def test_what_is_no_file_of_weights_is_said(tmp_path, content, culprit):
    (tmp_path / "w.pkl").write_bytes(content)
    with pytest.raises(ModelError, match=culprit):
        read_weights(tmp_path / "w.pkl")


@pytest.mark.parametrize("document", [{}, {"state_dict": {}}, [STATE], 3, {"a": torch.empty(2, device="meta")}])
def test_a_file_without_tensors_is_refused(tmp_path, document):
    with pytest.raises(ModelError, match="no tensors by name"):
        read_weights(saved(tmp_path / "w.pth", document))


def test_arrays_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"numpy arrays, no tensors by name.*torch\.from_numpy"):
        read_weights(saved(tmp_path / "w.pth", {"model": {"a": np.ones(2)}}))


def test_folders_archives_and_checkpoints_of_ours_bring_their_classes(run, mar, tmp_path):
    spec = ModelSpec.load(run / "spec.json")
    names = set(torch.load(run / "model_state_dict.pth"))
    for path in (run, mar, run / "model_state_dict.pth"):
        assert set(read_weights(path).tensors) == names
        assert spec_of(path).class_names == spec.class_names
    (tmp_path / "deep" / "er").mkdir(parents=True)
    alone = tmp_path / "deep" / "er" / "copied.ckpt"
    alone.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    file = read_weights(alone)
    assert file.spec.class_names == spec.class_names
    assert set(file.tensors) == {f"network.{name}" for name in names}
    assert spec_of(tmp_path / "missing.pth") is None
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    assert spec_of(tmp_path / "w.safetensors") is None
    with pytest.raises(ArchiveError, match=r"spec\.json"):
        read_weights(tmp_path)


def test_the_largest_mapping_is_the_state_and_of_two_the_average(tmp_path):
    content = saved(tmp_path / "w.pth", {"model": STATE, "model_ema": dict(STATE), "x": {"c": STATE["a"]}}).read_bytes()
    assert set(read_state(content, "w.pth")) == {"a", "b"}
    average = {"a": torch.full((2,), 7.0), "b": STATE["b"]}
    content = saved(tmp_path / "w.pth", {"model": STATE, "model_ema": average}).read_bytes()
    assert read_state(content, "w.pth")["a"][0] == 7


@pytest.mark.parametrize(
    ("name", "maker"),
    [
        ("model.backbone.bottom_up.res2.0.conv1.weight", "detectron2"),
        ("state_dict.roi_head.bbox_head.fc_cls.weight", "MMDetection"),
        ("bbox_head.gfl_cls.weight", "MMDetection"),
        ("model.model.22.cv2.0.0.conv.weight", "Ultralytics"),
        ("backbone.backbone.dark3.0.conv.weight", "YOLOX"),
        ("model.backbone.0.encoder.encoder.embeddings.cls_token", "RF-DETR"),
        ("ema.module.decoder.dec_score_head.0.weight", "RT-DETR or D-FINE, as their authors publish them"),
        ("model.transformer.encoder.layers.0.linear1.weight", "DETR"),
        ("backbone.body.layer1.0.conv1.weight", None),
        ("roi_heads.box_predictor.cls_score.weight", None),
        ("head.classification_head.module_list.0.1.bias", None),
    ],
)
def test_whose_names_these_are(name, maker):
    assert maker_of(["x", name]) == maker

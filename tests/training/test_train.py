import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.plugins.io import TorchCheckpointIO
from rich.console import Console

import boxwright
from boxwright.data import ANNOTATIONS, draw_demo_data, read_folder
from boxwright.evaluation.results import detections_to_columns
from boxwright.runtime import (
    ArchiveError,
    ConfigError,
    ContractError,
    DataError,
    Detections,
    ModelError,
    ModelSpec,
    open_bundle,
)
from boxwright.tracking.metrics_file import read_metrics
from boxwright.training import resume
from boxwright.training.best import write_best
from boxwright.training.checkpoints import BEST, LAST, read_checkpoint
from support.command_line import boxwright as command

TINY = {
    "model": "fasterrcnn_tiny_fpn",
    "weights": "none",
    "image_size": 96,
    "batch_size": 4,
    "wandb": "off",
    "workers": 0,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return draw_demo_data(tmp_path_factory.mktemp("small") / "data", sizes={"train": 12, "valid": 4})


def test_the_run_folder_holds_what_it_should(run):
    names = ["config.yaml", "metrics.jsonl", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "spec.json"]
    names += ["model_state_dict.pth", "detections.npz", "report.html"]
    assert all((run / name).is_file() for name in names)
    state = torch.load(run / "model_state_dict.pth", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert not any(name.startswith("network.") for name in state)


def test_the_best_checkpoint_holds_what_was_measured_and_no_optimizer(run):
    """A run goes on from the last one alone."""
    best, last = (read_checkpoint(run / path) for path in (BEST, LAST))
    assert set(last) - set(best) == {"optimizer_states", "lr_schedulers"}
    assert (run / BEST).stat().st_size < 0.5 * (run / LAST).stat().st_size
    kept = torch.load(run / "model_state_dict.pth", weights_only=True)
    assert all(torch.equal(best["state_dict"][f"network.{name}"], value) for name, value in kept.items())


def test_every_figure_is_logged_every_epoch(run):
    lines = read_metrics(run)
    by_epoch = {}
    for line in lines:
        by_epoch.setdefault(line["epoch"], {}).update(line)
    assert sorted(by_epoch) == [0, 1, 2, 3]
    wanted = ["train/loss", "train/loss_classifier", "train/loss_rpn_box_reg", "train/learning_rate"]
    wanted += ["train/images_per_s", "val/map", "val/map_50", "val/f2", "val/threshold"]
    for figures in by_epoch.values():
        assert all(isinstance(figures[name], float) for name in wanted)


def test_training_learns(run):
    f2 = [line["val/f2"] for line in read_metrics(run) if "val/f2" in line]
    loss = [line["train/loss"] for line in read_metrics(run) if "train/loss" in line]
    assert f2[-1] > f2[0]
    assert loss[-1] < loss[0]


def test_evaluate_gives_the_logged_best_figures_exactly(run, mar, demo_data, tmp_path):
    """The first promise: training's figure is the served model's, to the last bit."""
    logged = max((line for line in read_metrics(run) if "val/f2" in line), key=lambda line: line["val/f2"])
    for source in (run, boxwright.archive(run, store=tmp_path, precisions=())):
        document = boxwright.evaluate(source, demo_data).to_document()
        assert document["f2"] == logged["val/f2"]
        assert document["map"] == logged["val/map"]
        assert document["map_50"] == logged["val/map_50"]
        assert document["threshold"] < logged["val/threshold"]  # halfway to the next score
    exported = boxwright.evaluate(mar, demo_data).to_document()  # through whatever is fastest here
    assert exported["map"] == pytest.approx(logged["val/map"], abs=5e-4)
    assert exported["f2"] == pytest.approx(logged["val/f2"], abs=5e-4)


def test_the_operating_point_travels(run):
    point = boxwright.Predictor(run).spec.operating_point
    assert (point.objective, point.split) == ("f2", "valid")
    assert 0.01 <= point.threshold <= 1


def test_provenance_tells_how_it_was_made(run):
    provenance = open_bundle(run).spec.provenance
    assert provenance["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert len(provenance["data_fingerprint"]) == 64
    assert provenance["settings"]["epochs"] == 4


@pytest.fixture(scope="module")
def interrupted(small, tmp_path_factory):
    """A run of six epochs, stopped by Ctrl-C in its third."""
    out = tmp_path_factory.mktemp("interrupted")
    settings = " ".join(f"--set {key}={value}" for key, value in {**TINY, "epochs": 6}.items())
    command = f"{sys.executable} -m boxwright train --data {small} --name stopped --out {out} {settings}"
    process = subprocess.Popen(command.split(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    metrics = out / "stopped" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.is_file() and '"epoch": 1' in metrics.read_text()):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    return out / "stopped", process.returncode, output


def test_ctrl_c_leaves_a_run_that_can_be_used(interrupted):
    run, code, output = interrupted
    assert code == 130, output
    assert f"boxwright train --resume {run}" in output
    assert "Traceback" not in output
    assert boxwright.Predictor(run).spec.operating_point.value is not None


def test_a_resumed_run_goes_on_where_it_was(interrupted, small, tmp_path):
    folder = tmp_path / "stopped"
    shutil.copytree(interrupted[0], folder)
    done = sorted({line["epoch"] for line in read_metrics(folder) if "val/f2" in line})
    assert 1 <= len(done) < 6
    result = resume(folder, console=Console(quiet=True))
    assert result.spec is not None
    lines = [line for line in read_metrics(folder) if "val/f2" in line]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3, 4, 5]  # none twice, none left out
    whole = boxwright.train(data=small, name="whole", out=tmp_path, epochs=6, **TINY)
    unbroken = [line for line in read_metrics(whole.folder) if "val/f2" in line]
    for name in ("val/map", "val/map_50", "val/f2", "val/threshold"):
        assert [line[name] for line in lines] == pytest.approx([line[name] for line in unbroken], abs=1e-6)
    best = max(unbroken, key=lambda line: line["val/f2"])
    assert result.spec.operating_point.value == pytest.approx(best["val/f2"], abs=1e-6)  # though it was moved
    with pytest.raises(ConfigError, match="its training is done"):
        resume(folder, console=Console(quiet=True))


def test_a_run_whose_data_has_moved_goes_on_where_it_is_now(interrupted, small, tmp_path):
    run, moved = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(interrupted[0], run)
    shutil.copytree(small, moved)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    gone = tmp_path / "gone"
    (run / "config.yaml").write_text(yaml.safe_dump({**settings, "data": str(gone)}))
    with pytest.raises(DataError, match=rf"gone: no such folder.* --resume {run} --data FOLDER"):
        resume(run, console=Console(quiet=True))
    done = command("train", "--resume", run, "--data", moved)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((run / "config.yaml").read_text())["data"] == str(moved)
    assert ModelSpec.load(run / "spec.json").provenance["finished"]


def test_a_run_that_finds_nothing_says_so(interrupted, small, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(interrupted[0], run)
    data = read_folder(small)
    for found in (True, False):
        if not found:
            checkpoint = torch.load(run / BEST, weights_only=True)
            empty = detections_to_columns([Detections.empty()] * len(data.splits["valid"].pictures))
            checkpoint["boxwright"]["found"] = {name: torch.from_numpy(column) for name, column in empty.items()}
            torch.save(checkpoint, run / BEST)
        spec, _ = write_best(run, data, "f2", False, True, Console(soft_wrap=True))
        assert (spec.operating_point.value > 0) is found
        epoch, boxes = spec.provenance["best_epoch"] + 1, data.splits["valid"].boxes
        said = f"Warning: the best epoch, {epoch}, finds none of the {boxes} boxes in valid"
        assert (said in capsys.readouterr().out) is not found


def test_resuming_on_other_classes_is_refused(interrupted, small, tmp_path):
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(interrupted[0], run)
    shutil.copytree(small, data)
    for split in ("train", "valid"):
        document = json.loads((data / split / ANNOTATIONS).read_text())
        document["categories"][1]["name"] = "disc"
        (data / split / ANNOTATIONS).write_text(json.dumps(document))
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**settings, "data": str(data)}))
    with pytest.raises(ContractError, match="disc"):
        resume(run, console=Console(quiet=True))


def test_resuming_on_another_validation_split_is_refused(interrupted, small, tmp_path):
    """Its best epoch so far was measured on other pictures."""
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(interrupted[0], run)
    shutil.copytree(small, data)
    document = json.loads((data / "valid" / ANNOTATIONS).read_text())
    document["images"].reverse()
    (data / "valid" / ANNOTATIONS).write_text(json.dumps(document))
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**settings, "data": str(data)}))
    with pytest.raises(ContractError, match="valid has changed"):
        resume(run, console=Console(quiet=True))


def test_a_checkpoint_of_an_older_version_is_refused(interrupted, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(interrupted[0], run)
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["boxwright"]["found"]
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    with pytest.raises(ArchiveError, match="older boxwright"):
        resume(run, console=Console(quiet=True))


def test_a_resumed_network_is_built_as_it_was(interrupted, small, tmp_path):
    """Its options came with the starting weights, which may have gone since."""
    folder = tmp_path / "options"
    shutil.copytree(interrupted[0], folder)
    for name in ("best", "last"):
        path = folder / "checkpoints" / f"{name}.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        spec = ModelSpec.from_json(checkpoint["boxwright"]["spec"])
        checkpoint["boxwright"]["spec"] = replace(spec, network={"norm_eps": 0.01}).to_json()
        torch.save(checkpoint, path)
    assert resume(folder, console=Console(quiet=True)).spec.network == {"norm_eps": 0.01}
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert ModelSpec.from_json(last["boxwright"]["spec"]).network == {"norm_eps": 0.01}


def test_a_run_stopped_before_its_first_epoch_starts_over(small, tmp_path):
    whole = boxwright.train(data=small, name="early", out=tmp_path, epochs=1, **TINY)
    shutil.rmtree(whole.folder / "checkpoints")
    assert resume(whole.folder, console=Console(quiet=True)).spec is not None


def test_what_cannot_be_resumed_is_reported(tmp_path):
    with pytest.raises(ArchiveError, match=r"config\.yaml"):
        resume(tmp_path, console=Console(quiet=True))


def test_the_reference_demos_config_runs_unchanged(small, tmp_path, monkeypatch):
    """Its ten keys; the model is chosen, and its ImageNet weights lie where torch.hub keeps them."""
    from torchvision.models import mobilenet_v2

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    hub = tmp_path / "torch" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    torch.save(mobilenet_v2(weights=None).state_dict(), hub / "mobilenet_v2-b0353104.pth")
    tiny_data = draw_demo_data(tmp_path / "data", sizes={"train": 2, "valid": 3})
    (tmp_path / "config.yaml").write_text(
        f'dataset_path: "{tiny_data}"\nbatch_size: 4\nepoch_num: 1\n\ncheckpoint_pl: ""\n\n'
        'wandb_project_name: "ai_cloud_demo"\nwandb_run_name: "frcnn_1_ep"\n\nfast_dev_run: False\n\n'
        'checkpoint_pl_output: "./checkpoints_pl/"\nmodel_state_dict_output: "./state_dicts/"\n\ngpus_num: 0\n'
    )
    monkeypatch.setenv("WANDB_MODE", "offline")
    done = command("train", "config.yaml")
    assert done.returncode == 0, done.stderr
    assert "MobileNet_V2_Weights.IMAGENET1K_V1" in done.stdout
    assert (tmp_path / "checkpoints_pl" / "frcnn_1_ep.ckpt").is_file()
    assert torch.load(tmp_path / "state_dicts" / "frcnn_1_ep_model.pth", weights_only=True)
    assert list((tmp_path / "runs" / "frcnn_1_ep" / "wandb").glob("offline-run-*"))
    assert "wandb sync" in done.stdout


def test_a_fast_dev_run_tries_everything_and_keeps_nothing(small, tmp_path):
    result = boxwright.train(data=small, name="dev", out=tmp_path, fast_dev_run=True, **TINY)
    assert result.spec is None
    assert list(tmp_path.iterdir()) == []
    assert boxwright.train(data=small, name="dev", out=tmp_path, epochs=1, **TINY).spec is not None


def test_a_taken_name_is_refused_and_a_free_one_found(small, tmp_path):
    first = boxwright.train(data=small, out=tmp_path, epochs=1, **TINY)
    assert first.folder.name == "data-1"
    with pytest.raises(ConfigError, match="--resume"):
        boxwright.train(data=small, out=tmp_path, epochs=1, name="data-1", **TINY)


@pytest.mark.parametrize(
    ("settings", "error", "culprit"),
    [
        ({"data": "nowhere"}, DataError, "nowhere"),
        ({"model": "fasterrcnn_tiny"}, ModelError, "fasterrcnn_tiny_fpn"),
        ({"weights": "missing.pth"}, ModelError, "missing.pth"),
        ({"image_size": 100}, ConfigError, "multiple of 32"),
        ({"epoch": 3}, ConfigError, "'epochs'"),
        ({"out": "data-file"}, ConfigError, "cannot be made"),
        ({"state_dict_out": "data-file/x"}, ConfigError, "cannot be made"),
    ],
)
def test_nothing_is_left_behind_by_wrong_settings(small, tmp_path, monkeypatch, settings, error, culprit):
    elsewhere = small.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "data-file").write_text("a file where a folder should be")
    monkeypatch.chdir(elsewhere)
    with pytest.raises(error, match=culprit):
        boxwright.train(**{"data": small, "out": tmp_path, **TINY, **settings})
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_loss_that_is_not_finite_ends_training_with_advice(small, tmp_path):
    with pytest.raises(ModelError, match="Lower learning_rate"):
        boxwright.train(data=small, out=tmp_path, epochs=3, learning_rate=1e12, gradient_clip=0, **TINY)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_picture_ends_training_with_its_name(small, tmp_path, workers):
    shutil.copytree(small, tmp_path / "data")
    picture = next((tmp_path / "data" / "train").glob("*.jpg"))
    picture.write_bytes(picture.read_bytes()[:-2000])
    with pytest.raises(DataError) as caught:
        boxwright.train(data=tmp_path / "data", out=tmp_path, epochs=1, **{**TINY, "workers": workers})
    assert picture.name in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_names_are_printed_as_they_are(small, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(small, data)
    for split in ("train", "valid"):
        document = json.loads((data / split / ANNOTATIONS).read_text())
        document["categories"][1]["name"] = "disc [small] [/x]"
        (data / split / ANNOTATIONS).write_text(json.dumps(document))
    boxwright.train(data=data, out=tmp_path, epochs=1, **TINY)
    assert "disc [small] [/x]" in capsys.readouterr().out


def test_a_run_killed_at_its_end_is_finished_by_resuming(small, tmp_path):
    run = boxwright.train(data=small, name="killed", out=tmp_path, epochs=1, **TINY)
    for name in ("spec.json", "model_state_dict.pth"):
        (run.folder / name).unlink()
    assert resume(run.folder, console=Console(quiet=True)).spec.operating_point == run.spec.operating_point


def test_what_an_interruption_left_does_not_pass_for_the_end(small, tmp_path):
    """Killed at its end, after Ctrl-C had left a specification of an earlier epoch."""
    run = boxwright.train(data=small, name="left", out=tmp_path, epochs=1, **TINY)
    earlier = replace(run.spec, provenance={**run.spec.provenance, "finished": False, "best_epoch": 99})
    (run.folder / "spec.json").write_text(earlier.to_json())
    assert resume(run.folder, console=Console(quiet=True)).spec.provenance["best_epoch"] == 0
    with pytest.raises(ConfigError, match="its training is done"):
        resume(run.folder, console=Console(quiet=True))


def test_a_report_that_cannot_be_written_does_not_spoil_the_run(small, tmp_path, capsys):
    (tmp_path / "way" / "report.html").mkdir(parents=True)  # a folder is in the way
    result = boxwright.train(data=small, name="way", out=tmp_path, epochs=1, **TINY)
    assert (result.folder / "spec.json").is_file()
    assert "there is no report" in capsys.readouterr().out


class Counter(L.Callback):
    """Counts epochs."""

    epochs = 0

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs += 1


class Storage(TorchCheckpointIO):
    """Notes what it stores and reads."""

    def __init__(self):
        super().__init__()
        self.saved, self.loaded = [], []

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        self.saved.append(Path(path).name)
        super().save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(self, path, *arguments, **options):
        self.loaded.append(Path(path).name)
        return super().load_checkpoint(path, *arguments, **options)


def test_a_given_factory_makes_the_trainer(small, tmp_path):
    """It adds a callback, stores checkpoints in its own way, and stops the training early."""
    counter, storage, given = Counter(), Storage(), {}

    def make_trainer(**options):
        given.update(options)
        callbacks = [*options.pop("callbacks"), counter]
        return L.Trainer(**{**options, "callbacks": callbacks, "plugins": [storage], "limit_train_batches": 1})

    run = boxwright.train(data=small, name="own", out=tmp_path, epochs=2, make_trainer=make_trainer, **TINY)
    assert {"accelerator", "devices", "strategy", "callbacks", "plugins", "logger"} <= set(given)
    assert counter.epochs == 2
    assert {"best.ckpt", "last.ckpt"} == set(storage.saved)
    assert run.spec.operating_point.value is not None
    assert max(line["step"] for line in read_metrics(run.folder)) == 2  # one batch per epoch
    (run.folder / "config.yaml").write_text((run.folder / "config.yaml").read_text().replace("epochs: 2", "epochs: 3"))
    assert resume(run.folder, make_trainer=make_trainer, console=Console(quiet=True)).spec is not None
    assert counter.epochs == 3
    assert storage.loaded == ["last.ckpt"]


def test_importing_the_verbs_does_not_load_pytorch():
    code = "import sys, boxwright.training; print([name for name in ('torch', 'lightning') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_an_objective_that_cannot_be_attained_gives_way_to_f2(small, tmp_path, capsys):
    run = boxwright.train(data=small, name="high", out=tmp_path, epochs=1, objective="recall>=1", **TINY)
    assert run.spec.operating_point.objective == "f2"
    assert "The operating point is that of the best F2" in capsys.readouterr().out


def test_sgd_coco_style_settings_run(small, tmp_path):
    settings = {**TINY, "optimizer": "sgd", "augmentation": "standard", "resize": "stretch", "monitor": "val/map"}
    result = boxwright.train(data=small, out=tmp_path, epochs=1, **{**settings, "image_size": [128, 160]})
    assert (result.spec.input.height, result.spec.input.width) == (128, 160)
    assert result.spec.input.resize == "stretch"

"""A run that is killed and resumed ends as one that was not, bit for bit; changed settings are followed or refused."""

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys

import lightning as L
import psutil
import pytest
import torch
import yaml
from rich.console import Console

import boxwright
from boxwright.config import load_config
from boxwright.data import draw_demo_data
from boxwright.runtime import ArchiveError, ConfigError, ModelError, ModelSpec, open_bundle
from boxwright.tracking.metrics_file import read_metrics
from boxwright.training import resume, settings
from boxwright.training import run as run_module
from boxwright.training.checkpoints import SO_FAR, read_checkpoint
from boxwright.training.folders import claimed
from boxwright.training.pace import Budget, Pace
from support.command_line import boxwright as command

SETTINGS = {
    "model": "fasterrcnn_tiny_fpn",
    "weights": "none",
    "image_size": 96,
    "wandb": "off",
    "workers": 1,
    "epochs": 3,
    "batch_size": 2,
    "total_batch": 4,
    "ema": 0.9,
    "multi_scale": 0.25,
    "augmentation": "strong",
    "repeat_threshold": 0.5,
    "patience": 5,
    "checkpoint_minutes": 1e-9,
}

# Kills itself where a checkpoint has just been saved, or where the next one would be.
KILLED = """
import os, signal, sys
import lightning as L
import boxwright

class Kill(L.Callback):
    def on_{when}(self, trainer, pl_module, *args):
        if trainer.fit_loop.epoch_loop.total_batch_idx + 1 == {batches}:
            os.kill(os.getpid(), signal.SIGKILL)

def trainer(**options):
    return L.Trainer(**{{**options, "callbacks": [*options["callbacks"], Kill()]}})

if __name__ == "__main__":
    boxwright.train(data=sys.argv[1], out=sys.argv[2], name="killed", make_trainer=trainer, **{settings})
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return draw_demo_data(tmp_path_factory.mktemp("small") / "data", sizes={"train": 10, "valid": 4})


@pytest.fixture(scope="module")
def unbroken(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    return boxwright.train(data=small, out=out, name="killed", **SETTINGS).folder


def same(left, right):
    """Whether two nested documents with tensors are the same to the bit."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def learned(run, name):
    checkpoint = read_checkpoint(run / "checkpoints" / f"{name}.ckpt")
    keys = ["state_dict", "averaging_state", "global_step"]
    keys += ["current_model_state", "optimizer_states", "lr_schedulers"] if name == "last" else []  # what goes on needs
    return {key: checkpoint[key] for key in keys} | {"figures": checkpoint["boxwright"]["figures"]}


# Steps of the optimizer are taken after batches 2, 4, 5 of 5: the last one of an epoch stands alone.
@pytest.mark.parametrize(
    ("when", "batches", "epoch", "within"),
    [
        ("train_batch_end", 2, 0, True),
        ("train_batch_end", 3, 0, True),
        ("train_batch_start", 9, 1, True),
        ("validation_epoch_start", 10, 1, True),
        ("train_batch_start", 11, 1, False),
    ],
)
def test_a_killed_run_ends_as_if_it_had_not_been(when, batches, epoch, within, unbroken, small, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(when=when, batches=batches, settings=SETTINGS))
    done = subprocess.run([sys.executable, script, small, tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = tmp_path / "killed"
    last = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert (last["epoch"], SO_FAR in last["boxwright"]) == (epoch, within)
    (run / "checkpoints" / "best.ckpt.1.part").write_bytes(b"half")

    resume(run, console=Console(quiet=True))
    for name in ("last", "best"):
        assert same(learned(run, name), learned(unbroken, name)), name
    assert not list(run.glob("checkpoints/*.part"))
    left, right = (
        [{name: value for name, value in line.items() if "per_s" not in name} for line in read_metrics(one)]
        for one in (run, unbroken)
    )
    assert left == right


@pytest.fixture(scope="module")
def stopped(small, tmp_path_factory):
    """A run of three epochs that an error ended within its second."""

    class Stop(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 1 and batch_idx == 2:
                raise RuntimeError("stopped here")

    def trainer(**options):
        return L.Trainer(**{**options, "callbacks": [*options["callbacks"], Stop()]})

    out = tmp_path_factory.mktemp("stopped")
    with pytest.raises(RuntimeError, match="stopped here"):
        boxwright.train(data=small, out=out, name="stopped", make_trainer=trainer, **SETTINGS)
    return out / "stopped"


@pytest.fixture
def edited(stopped, tmp_path):
    """Makes a copy of the stopped run with other settings."""

    def edit(**changes):
        run = tmp_path / "run"
        shutil.copytree(stopped, run)
        before = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump({**before, **changes}))
        return run

    return edit


def test_a_changed_rate_holds_from_then_on_and_is_told(edited, capsys):
    rates = []

    class Note(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def trainer(**options):
        return L.Trainer(**{**options, "callbacks": [*options["callbacks"], Note()]})

    run = edited(learning_rate=0.00003, weight_decay=0.5)
    resume(run, make_trainer=trainer)
    assert max(rates) <= 0.00003
    output = " ".join(capsys.readouterr().out.split())
    assert (
        "Changed since the run was started: learning_rate from 0.003 to 3e-05, weight_decay from 0.01 to 0.5" in output
    )
    last = read_checkpoint(run / "checkpoints" / "last.ckpt")
    groups = last["optimizer_states"][0]["param_groups"]
    assert sorted({group["weight_decay"] for group in groups}) == [0.0, 0.5]


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("seed", 3, "which a resumed run cannot change"),
        ("ema", 0.5, "which a resumed run cannot change"),
        ("image_size", [128, 128], "which a resumed run cannot change"),
        ("total_batch", 2, "which cannot change within an epoch"),
    ],
)
def test_what_a_resumed_run_cannot_follow_is_refused_by_name(edited, key, value, why):
    run = edited(**{key: value})
    before = (run / "checkpoints" / "last.ckpt").read_bytes()
    with pytest.raises(ConfigError, match=rf"config\.yaml: {key} is .*, the run was started with .*, {why}"):
        resume(run, console=Console(quiet=True))
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == before


def test_a_changed_setting_is_refused_before_the_data_is_read(edited, tmp_path):
    (tmp_path / "moved").mkdir()
    run = edited(seed=3)
    with pytest.raises(ConfigError, match=r"config\.yaml: seed is 3"):
        resume(run, data=tmp_path / "moved", console=Console(quiet=True))


def test_what_is_left_open_is_as_the_run_was_started(edited, capsys):
    run = edited(learning_rate=None, batch_size="auto", image_size=None, resize=None, precision="auto", epochs=2)
    resume(run)
    after = yaml.safe_load((run / "config.yaml").read_text())
    assert (after["learning_rate"], after["batch_size"]) == (3e-3, SETTINGS["batch_size"])
    assert (after["image_size"], after["resize"]) == ([96, 96], "letterbox")
    assert "Changed since the run was started: epochs from 3 to 2." in capsys.readouterr().out


def test_an_objective_that_is_none_is_refused_before_the_training(edited):
    run = edited(objective="beauty")
    with pytest.raises(ConfigError, match="Objective 'beauty' is unknown"):
        resume(run, console=Console(quiet=True))


def test_two_trainings_do_not_share_a_folder(small, edited, tmp_path, monkeypatch):
    once = {**SETTINGS, "epochs": 1}
    with claimed(tmp_path / "same"):
        with pytest.raises(ConfigError, match=r"same: another training writes to this folder just now. Choose another"):
            boxwright.train(data=small, out=tmp_path, name="same", **once)
        assert list((tmp_path / "same").iterdir()) == [tmp_path / "same" / ".claim"]
    assert not (tmp_path / "same").exists()  # it was empty
    run = edited()
    with claimed(run), pytest.raises(ConfigError, match="another training writes to this folder"):
        resume(run, console=Console(quiet=True))
    with claimed(tmp_path / "data-1"):
        monkeypatch.setattr(settings, "free_name", lambda config: "data-1")  # it was, when it was looked for
        assert boxwright.train(data=small, out=tmp_path, **once).folder == tmp_path / "data-2"


def test_a_full_disk_is_one_sentence_and_what_is_there_can_be_used(small, tmp_path):
    """A file may not be larger than 4 MiB here: the first checkpoint is."""
    options = [f"--set={key}={value}" for key, value in SETTINGS.items()]
    call = [sys.executable, "-m", "boxwright", "train", "--data", small, "--out", tmp_path, "--name", "full", *options]
    limit = 4 << 20
    done = subprocess.run(
        list(map(str, call)),
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    error = " ".join(done.stderr.split())
    assert "last.ckpt: cannot be written: File too large. It takes " in error
    assert f"boxwright train --resume {tmp_path / 'full'}" in error
    assert not list((tmp_path / "full" / "checkpoints").iterdir())
    done = command("train", "--resume", tmp_path / "full")
    assert done.returncode == 0, done.stderr
    assert "Nothing was saved yet; starting from the beginning" in done.stdout
    assert open_bundle(tmp_path / "full").spec.provenance["finished"]


def test_a_reader_that_leaves_early_ends_no_training(small, tmp_path):
    """As ``| head -1`` does."""
    options = [f"--set={key}={value}" for key, value in {**SETTINGS, "epochs": 1}.items()]
    call = [
        sys.executable,
        "-m",
        "boxwright",
        "train",
        "--data",
        small,
        "--out",
        tmp_path,
        "--name",
        "unread",
        *options,
    ]
    with subprocess.Popen(list(map(str, call)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert open_bundle(tmp_path / "unread").spec.provenance["finished"]


def test_a_run_that_could_not_write_its_end_says_how_to(stopped, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    (run / "spec.json").unlink()
    with pytest.raises(ArchiveError, match=rf"could not write its end. To write it: boxwright train --resume {run}"):
        open_bundle(run)


def test_paths_of_a_run_hold_from_anywhere(small, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "data").symlink_to(small)
    run = boxwright.train(
        data="data", out="runs", name="one", checkpoint_out="kept", state_dict_out="kept", **{**SETTINGS, "epochs": 1}
    ).folder.resolve()
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("epochs: 1", "epochs: 2"))
    before = (tmp_path / "here" / "kept" / "one.ckpt").stat().st_mtime_ns
    monkeypatch.chdir(tmp_path / "there")
    resume(run, console=Console(quiet=True))
    assert (tmp_path / "here" / "kept" / "one.ckpt").stat().st_mtime_ns > before
    assert not list((tmp_path / "there").iterdir())


def change(run, **settings):
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}))


def interrupted_after(epochs):
    """A maker of Trainers whose trainings somebody interrupts after so many epochs."""

    class Interrupt(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == epochs:
                raise KeyboardInterrupt

    return lambda **options: L.Trainer(**{**options, "callbacks": [*options["callbacks"], Interrupt()]})


def trained_epochs(run):
    return sum("val/f2" in line for line in read_metrics(run))


@pytest.fixture
def timed(small, tmp_path, monkeypatch):
    """A run of half a minute that planned three epochs, as steps seemed slow, and was interrupted after five."""
    monkeypatch.setattr(run_module, "measure_pace", lambda *_: Pace(step=1.5, picture=0.5))
    settings = {key: value for key, value in SETTINGS.items() if key != "epochs"}
    settings |= {"workers": 0, "checkpoint_minutes": 0, "minutes": 0.5, "patience": 0}
    result = boxwright.train(data=small, out=tmp_path, name="timed", make_trainer=interrupted_after(5), **settings)
    assert result.interrupted
    assert load_config(result.folder / "config.yaml").epochs < trained_epochs(result.folder) == 5
    return result.folder


def test_a_run_that_ends_in_time_goes_on_until_then(timed, capsys):
    result = resume(timed, make_trainer=interrupted_after(8))
    assert result.interrupted
    assert trained_epochs(timed) == 8
    told = re.search(r"Going on with epoch 6 of (\d+)\.", capsys.readouterr().out)
    assert int(told[1]) > 8


def test_more_minutes_are_more_epochs(timed):
    before = Budget.of(read_checkpoint(timed / "checkpoints" / "last.ckpt"))
    change(timed, minutes=50.0)
    resume(timed, console=Console(quiet=True), make_trainer=interrupted_after(6))
    after = Budget.of(read_checkpoint(timed / "checkpoints" / "last.ckpt"))
    assert after.epochs > 2 * before.epochs


def test_a_run_whose_time_was_over_is_done_until_it_gets_more(timed, capsys):
    change(timed, minutes=0.001)
    resume(timed, console=Console(quiet=True))
    assert trained_epochs(timed) == 5
    with pytest.raises(ConfigError, match=r"its training is done\. Raise epochs or minutes in .*config\.yaml"):
        resume(timed, console=Console(quiet=True))
    change(timed, minutes=5.0)
    assert resume(timed, make_trainer=interrupted_after(6)).interrupted


def test_a_raised_patience_is_had(small, tmp_path, capsys):
    settings = {**SETTINGS, "epochs": 6, "patience": 1, "learning_rate": 1e-9, "workers": 0, "checkpoint_minutes": 0}
    run = boxwright.train(data=small, out=tmp_path, name="patient", **settings).folder
    done = trained_epochs(run)
    assert done < 6
    assert "1 epoch without a better val/f2: training ends." in capsys.readouterr().out
    with pytest.raises(ConfigError, match="Raise epochs or patience in"):
        resume(run, console=Console(quiet=True))
    change(run, patience=50)
    resume(run)
    assert trained_epochs(run) == 6
    assert "training ends" not in capsys.readouterr().out


def test_a_resumed_run_keeps_what_is_recorded_of_its_beginning(small, tmp_path):
    settings = {**SETTINGS, "workers": 0, "checkpoint_minutes": 0}
    first = boxwright.train(data=small, out=tmp_path, name="first", **{**settings, "epochs": 1}).folder
    shutil.copytree(first, tmp_path / "weights")
    settings["weights"] = str(tmp_path / "weights")
    run = boxwright.train(data=small, out=tmp_path, name="a", make_trainer=interrupted_after(1), **settings).folder
    shutil.rmtree(tmp_path / "weights")
    began = open_bundle(run).spec.provenance
    resume(run, console=Console(quiet=True))
    last = ModelSpec.from_json(read_checkpoint(run / "checkpoints" / "last.ckpt")["boxwright"]["spec"], "last.ckpt")
    for key in ("created", "weights_licence"):
        assert last.provenance[key] == began[key]


def test_what_a_killed_process_was_writing_is_removed(edited):
    run = edited()
    part = run / "model_state_dict.pth.123.part"
    part.write_bytes(b"half")
    resume(run, console=Console(quiet=True), make_trainer=interrupted_after(1))
    assert not part.exists()


def test_the_callers_random_numbers_and_environment_are_as_they_were(small, tmp_path):
    settings = {**SETTINGS, "workers": 0, "epochs": 1}
    before = dict(os.environ), random.getstate(), torch.get_rng_state()
    boxwright.train(data=small, out=tmp_path, **settings)
    assert dict(os.environ) == before[0]
    assert random.getstate() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_trial_leaves_none_of_the_folders_it_made(small, tmp_path):
    settings = {**SETTINGS, "workers": 0, "fast_dev_run": True}
    boxwright.train(data=small, out=tmp_path / "deep" / "er" / "runs", **settings)
    assert not (tmp_path / "deep").exists()


def test_a_loader_that_was_killed_is_a_sentence(small, tmp_path):
    class KillLoader(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 1:
                for one in psutil.Process().children(recursive=True):
                    if "spawn_main" in " ".join(one.cmdline()) or "forkserver" in " ".join(one.cmdline()):
                        one.kill()

    def trainer(**options):
        return L.Trainer(**{**options, "callbacks": [*options["callbacks"], KillLoader()]})

    with pytest.raises(ModelError, match=r"ended from outside.* boxwright train --resume .*killed"):
        boxwright.train(data=small, out=tmp_path, name="killed", make_trainer=trainer, **SETTINGS)
    assert (tmp_path / "killed" / "spec.json").is_file()  # what was reached is kept

"""What people type who know other tools."""

import pytest
import typer

from boxwright.cli import app
from boxwright.cli.options import settings_of
from boxwright.cli.verbs import VERBS
from boxwright.config import HABITS, TrainConfig, load_config
from boxwright.runtime import ConfigError


def parsed(verb, *arguments):
    """Parameters of a verb, as the command line reads them."""
    group = typer.main.get_command(app)
    return group.get_command(None, verb).make_context(verb, list(arguments)).params


def refused(*arguments):
    with pytest.raises(ConfigError) as error:
        asked(*arguments)
    return str(error.value)


def asked(*arguments):
    name, command, rest = typer.main.get_command(app).resolve_command(None, list(arguments))
    command.make_context(name, rest)


def test_settings_are_options_too():
    given = parsed(
        "train", "--imgsz", "320", "--batch=8", "--gradient-clip", "5", "lr0=.01", "data=folder", "--seed", "3"
    )
    assert given["assignments"] == ["imgsz=320", "batch=8", "gradient_clip=5", "lr0=.01", "seed=3"]
    assert str(given["data"]) == "folder"  # train has an option of its own for it


def test_a_setting_that_is_an_option_of_the_verb_stays_one():
    given = parsed("train", "--project", "mine", "--epochs", "3", "--set", "seed=2", "folder")
    assert (str(given["out"]), given["epochs"], given["assignments"]) == ("mine", 3, ["seed=2"])
    assert str(given["config"]) == "folder"


def test_a_value_that_looks_like_an_assignment_stays_a_value():
    assert parsed("train", "--name", "lr=3")["name"] == "lr=3"
    assert parsed("predict", "m.mar", "--out=a", "seed=1")["pictures"] == ["seed=1"]


def test_nothing_after_two_dashes_is_a_setting():
    assert str(parsed("train", "--seed", "3", "--", "lr=3")["config"]) == "lr=3"


def test_a_setting_without_a_value_is_refused():
    assert "--seed needs a value" in refused("train", "--seed")
    assert "--seed needs a value" in refused("train", "--seed", "--epochs", "3")


def test_an_option_is_no_value_of_another():
    """It would be the name of a file that is written."""
    assert "--json needs a value, and --backend follows it." in refused("predict", "m", "p", "--json", "--backend", "x")
    assert str(parsed("predict", "m", "p", "--json=--backend")["json_file"]) == "--backend"


def test_an_option_with_two_values_is_refused():
    assert "--epochs is given twice, as 3 and 5. Keep one." in refused("train", "--epochs", "3", "epochs=5")
    assert "--threshold is given twice" in refused("evaluate", "run", "--threshold=.5", "--threshold", ".6")
    assert parsed("train", "--epochs=3", "--epochs", "3", "--set", "seed=1", "--set", "ema=0")["epochs"] == 3
    with pytest.raises(ConfigError, match="'epochs' is given twice, as 3 and 5"):
        settings_of({"epochs": 3, "model": None}, ["epochs=5"])
    assert settings_of({"devices": "2"}, ["devices=2", "seed=1"]) == {"devices": 2, "seed": 1}


@pytest.mark.parametrize(("theirs", "ours"), HABITS.items())
def test_keys_of_other_trainers_are_understood(theirs, ours):
    value = {"image_size": 320, "batch_size": 2, "patience": 3, "learning_rate": 0.01}.get(ours, "folder")
    config = load_config(None, {"data": "folder", theirs: value} if ours != "data" else {theirs: value})
    assert getattr(config, ours) == type(getattr(config, ours))(value)


def test_a_device_is_a_number_of_gpus():
    assert load_config(None, {"data": "a", "device": "cpu"}).gpus == 0
    assert load_config(None, {"data": "a", "device": "cuda"}).gpus == 1
    with pytest.raises(ConfigError, match="number with devices"):
        load_config(None, {"data": "a", "device": "0,1"})


@pytest.mark.parametrize(
    ("key", "answer"), [("grad_accum_steps", "total_batch"), ("amp", "precision"), ("num_classes", "those of the data")]
)
def test_keys_that_mean_something_else_are_answered(key, answer):
    assert key not in TrainConfig.model_fields
    with pytest.raises(ConfigError, match=answer):
        load_config(None, {"data": "a", key: 1})
    assert parsed("train", f"--{key.replace('_', '-')}", "1")["assignments"] == [f"{key}=1"]


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (["val", "runs/a", "--split", "test"], "Type: boxwright evaluate runs/a --split test"),
        (["test", "runs/a"], "Type: boxwright evaluate runs/a --split test"),
        (["test"], "Type: boxwright evaluate RUN --split test"),
        (["detect", "a.mar", "my picture.jpg"], "Type: boxwright predict a.mar 'my picture.jpg'"),
        (["detect", "train", "data=a", "epochs=3"], "Type: boxwright train data=a epochs=3"),
        (["detect", "val", "runs/a"], "Type: boxwright evaluate runs/a"),
        (["detect", "a.jpg"], "Type: boxwright predict RUN_OR_MAR a.jpg"),
        (["yolo", "train", "data=a"], "Type: boxwright train data=a"),
        (["yolo", "detect", "val", "runs/a"], "Type: boxwright evaluate runs/a"),
        (["train", "--batchsize", "3"], "boxwright train has no option --batchsize. Did you mean --batch-size?"),
        (["export", "runs/a", "--format", "onnx"], "It is --to here."),
        (["predict", "model=runs/a", "source=a.jpg"], "Give the run or archive without an option."),
        (["predict", "runs/a", "source=a.jpg"], "does not take source=…. Give pictures"),
        (["predict", "runs/a", "a.jpg", "conf=.3"], "It is --threshold here."),
        (["evaluate", "runs/a", "data=b"], "Did you mean --data?"),
        (["info", "a.mar"], "Type: boxwright archive a.mar --inspect"),
        (["info"], "Type: boxwright archive MAR --inspect"),
        (["detect", "--source", "b.jpg"], "Type: boxwright predict RUN_OR_MAR b.jpg"),
        (["detect", "--weights", "a.mar", "--source=b.jpg", "--conf", ".3"], "predict a.mar b.jpg --threshold .3"),
        (["yolo", "detect", "train", "data=a", "model=y.pt"], "Type: boxwright train data=a model=y.pt"),
        (["yolo", "detect", "predict", "model=a.mar", "source=b.jpg"], "Type: boxwright predict a.mar b.jpg"),
        (["yolo", "predict", "model=a.mar", "source=b.jpg"], "Type: boxwright predict a.mar b.jpg"),
        (["serve", "--start", "--models", "a.mar"], "A server starts without it: boxwright serve MODEL.mar"),
        (["serve", "--ncs", "--model-store", "a"], "leave it out"),
        (["serve", "--models", "a=a.mar"], "Give archives without an option: boxwright serve MODEL.mar"),
        (["trian"], "Did you mean 'train'?"),
        (["help"], "Type: boxwright --help"),
        (["eval", "runs/a"], "Type: boxwright evaluate runs/a"),
        (["archive", "runs/a", "--out", "b.mar"], "--store is the folder of what is written, --name its name."),
        (["train", "a", "--exist_ok"], "A run is never overwritten; choose another name."),
        (["detect", "predict", "model=a.mar", "source=b.jpg"], "Type: boxwright predict a.mar b.jpg"),
        (["val", "data=c", "model=a.mar"], "Type: boxwright evaluate a.mar --data c"),
        (["xyzzy"], "boxwright --help"),
    ],
)
def test_verbs_of_other_tools_are_answered_with_ours(typed, answer):
    assert answer in refused(*typed)


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (["predict", "--conf", ".3", "a.mar", "b.jpg"], "--threshold"),
        (["predict", "--source=b.jpg", "a.mar"], "without an option"),
        (["evaluate", "runs/a", "--spilt", "test"], "Did you mean --split?"),
        (["evaluate", "runs/a", "--json_file", "a"], "boxwright evaluate --help"),
        (["archive", "runs/a", "--no_export"], "Did you mean --no-export?"),
    ],
)
def test_options_of_other_tools_are_answered(typed, answer):
    assert answer in refused(*typed)


def test_what_follows_two_dashes_is_no_option():
    assert parsed("predict", "a.mar", "--", "--conf")["pictures"] == ["--conf"]


def test_every_verb_is_loaded_by_its_name():
    group = typer.main.get_command(app)
    assert group.list_commands(None) == list(VERBS)
    for verb in VERBS:
        command = group.get_command(None, verb)
        assert command.name == verb
        assert command.help

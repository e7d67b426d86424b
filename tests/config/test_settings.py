import re
from pathlib import Path

import pytest
import yaml

from boxwright.config import ALIASES, HABITS, TrainConfig, load_config, parse_assignment, save_config
from boxwright.runtime import ConfigError

DEMO_KEYS = """
dataset_path: "./path_to/dataset"
batch_size: 4
epoch_num: 3

checkpoint_pl: ""

wandb_project_name: "ai_cloud_demo"
wandb_run_name: "model_name_n_ep_params"

fast_dev_run: False

checkpoint_pl_output: "./path_to/checkpoints_pl/"
model_state_dict_output: "./path_to/state_dicts/"

gpus_num: 0
"""


def written(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_the_reference_demos_ten_keys_are_understood(tmp_path):
    config = load_config(written(tmp_path, DEMO_KEYS))
    assert config.data == Path("path_to/dataset")
    assert (config.batch_size, config.epochs, config.gpus) == (4, 3, 0)
    assert (config.wandb_project, config.name) == ("ai_cloud_demo", "model_name_n_ep_params")
    assert config.weights == "auto"  # an empty checkpoint_pl means none was given
    assert config.checkpoint_out == Path("path_to/checkpoints_pl")
    assert config.state_dict_out == Path("path_to/state_dicts")


def test_a_saved_config_runs_the_same_again(tmp_path):
    config = load_config(None, {"data": "d", "image_size": [320, 416], "gpus": 2, "name": "a.b-c_1"})
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_overrides_win_and_none_is_no_override(tmp_path):
    path = written(tmp_path, "data: a\nepochs: 3\n")
    assert load_config(path, {"epochs": 5, "data": None}).epochs == 5


@pytest.mark.parametrize(
    ("text", "culprit", "remedy"),
    [
        ("data: a\nepoch: 3", "'epoch'", "'epochs'"),
        ("data: a\nbatchsize: 3", "'batchsize'", "'batch_size'"),
        ("data: a\nzzzzzzzz: 3", "'zzzzzzzz'", "Known keys"),
        ("epochs: 3", "'data' is missing", "--data"),
        ("data: a\nepochs: 0", "'epochs' = 0", "give 1 or more."),
        ("data: a\nepochs: true", "'epochs' = True", "number"),
        ("data: a\nmulti_scale: true", "'multi_scale' = True", "number"),
        ("data: a\nepochs: many", "'epochs' = 'many'", "give a whole number."),
        ("data: a\nepochs: 1.5", "'epochs' = 1.5", "give a whole number."),
        ("data: a\nlearning_rate: fast", "'learning_rate' = 'fast'", "give a number."),
        ("data: a\nminutes: 0", "'minutes' = 0", "give more than 0"),
        ("data: a\naugmentation: lite", "'augmentation' = 'lite'", "'strong'; did you mean 'light'?"),
        ("data: a\nfast_dev_run: perhaps", "'fast_dev_run' = 'perhaps'", "true or false"),
        ("data: a\ntrainable_stages: some", "'trainable_stages' = 'some'", "or all"),
        ("data: a\ngpus: some", "'gpus' = 'some'", "or auto"),
        ("data: a\nname: a b", "'name' = 'a b'", "letters"),
        ("data: a\nname: 123", "'name' = 123", "quotes"),
        ("data: [1]", "'data' = [1]", "path of a folder"),
        ("data: a\nimage_size: [1, 2, 3]", "'image_size' = [1, 2, 3]", "[height, width]"),
        ("data: a\nimage_size: 1x2", "'image_size' = '1x2'", "[height, width]"),
        ("data: a\ngpus: -1", "'gpus' = -1", "0 or more"),
        ("data: a\nwandb_pictures: 17", "'wandb_pictures' = 17", "give 16 or less"),
        ("data: a\ncache: ram\ncache_dir: b", "'cache_dir' = 'b'", "cache: disk"),
        ("data: a\nmlflow: 5000", "'mlflow' = 5000", "http://"),
        ("data: a\nepochs: 3\nepoch_num: 4", "'epochs' is given twice", "Keep one"),
        ("data: a\nepochs: 3\nepochs: 4", "'epochs' is given twice", "Keep one"),
        ("data: a\nlearning_rate: .inf", "'learning_rate' = inf", "finite"),
        ("data: a\nweight_decay: .nan", "'weight_decay' = nan", "finite"),
        ("data: a\nminutes: .inf", "'minutes' = inf", "finite"),
        ("data: a\nseed: 4294967296", "'seed' = 4294967296", "give less than 4294967296"),
        ("data: a\nepoch_pictures: 1000000000000", "'epoch_pictures' = 1000000000000", "give 10000000 or less"),
        ("data: a\ntotal_batch: 1000000000000", "'total_batch' = 1000000000000", "give 10000000 or less"),
        ("images: []\nannotations: []", "annotations, not settings", "the folder that train/ and valid/ are in"),
        ("- a\n- b", "not a list of settings", "key: value"),
        ("data: [", "not YAML", "key: value"),
        ("data: &a x\nname: *a", "an alias or a merge", "key: value"),
    ],
)
def test_errors_name_culprit_and_remedy(tmp_path, text, culprit, remedy):
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text))
    assert culprit in str(caught.value)
    assert remedy in str(caught.value)


def test_the_home_folder_is_found_where_no_shell_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    places = ("data", "out", "cache_dir", "checkpoint_out", "state_dict_out")
    config = load_config(None, {**dict.fromkeys(places, "~/here"), "weights": "~/here.pth", "cache": "disk"})
    assert {getattr(config, name) for name in places} == {tmp_path / "here"}
    assert config.weights == str(tmp_path / "here.pth")
    assert load_config(None, {"data": "s3://bucket/~/here"}).data == "s3://bucket/~/here"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml"):
        load_config(tmp_path / "nothing.yaml")


def test_assignments_are_yaml():
    assert parse_assignment("image_size=[320, 416]") == ("image_size", [320, 416])
    assert parse_assignment("fast_dev_run=true") == ("fast_dev_run", True)
    assert load_config(None, {"data": "d", **dict([parse_assignment("wandb=off")])}).wandb == "off"
    assert load_config(None, {"data": "d", **dict([parse_assignment("cache=off")])}).cache == "off"
    assert load_config(None, {"data": "d", **dict([parse_assignment("tensorboard=on")])}).tensorboard
    assert load_config(None, {"data": "d", **dict([parse_assignment("mlflow=off")])}).mlflow is None
    with pytest.raises(ConfigError, match="no '='"):
        parse_assignment("epochs")


def test_settings_are_frozen_and_documented():
    config = TrainConfig(data="d")
    with pytest.raises(ValueError, match="frozen"):
        config.epochs = 3
    assert all(f"        {name}: " in TrainConfig.__doc__ for name in TrainConfig.model_fields)


def test_the_saved_file_is_plain_yaml(tmp_path):
    save_config(TrainConfig(data="d"), tmp_path / "c.yaml")
    assert set(yaml.safe_load((tmp_path / "c.yaml").read_text())) == set(TrainConfig.model_fields)


def test_the_page_of_settings_is_the_codes():
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    described = TrainConfig.__doc__.split("Attributes:")[1]
    meanings = re.findall(r"^        (\w+): (.*?)(?=^        \w+: |\Z)", described, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in meanings] == list(TrainConfig.model_fields)
    for name, meaning in meanings:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert " ".join(meaning.split()).replace("``", "`") in row
        default = TrainConfig.model_fields[name].default
        assert default is None or TrainConfig.model_fields[name].is_required() or f"`{default}`" in row
    assert all(f"| `{theirs}` | `{ours}` |" in page for theirs, ours in (ALIASES | HABITS).items())

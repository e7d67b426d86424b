"""What a run folder holds, and where its pictures are."""

import pytest

from boxwright.config import CONFIG_FILE, TrainConfig, save_config
from boxwright.evaluation.run import data_for, find_data, read_run, seen_in_training
from boxwright.runtime import DataError
from support.made import made_results, made_run


@pytest.fixture
def run(tmp_path):
    return made_run(tmp_path / "run", made_results(0.5, pictures=3), "made")


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "valid").mkdir(parents=True)
    for number in range(3):
        (folder / "valid" / f"{number}.jpg").touch()
    return folder


def test_a_run_gives_its_detections_and_its_specification(run):
    results, spec = read_run(run)
    assert (results.split, len(results.detections), spec.name) == ("valid", 3, "made")
    assert spec.measured["valid"]["images"] == 3


def test_the_data_is_where_the_settings_or_the_caller_say(run, data, tmp_path):
    results, _ = read_run(run)
    assert find_data(run, results, data) == data
    with pytest.raises(DataError, match=r"does not say where its pictures are.*--data"):
        find_data(run, results)
    (run / "config.yaml").write_text(f"data: {data}\n")
    assert find_data(run, results) == data


def test_settings_that_cannot_be_read_say_why(run, data):
    (run / "config.yaml").write_text("data: [")
    with pytest.raises(DataError) as caught:
        data_for(run, None)
    assert f"{run / 'config.yaml'}: not YAML: while parsing a flow node" in str(caught.value)
    assert "\n" not in str(caught.value)
    (run / "config.yaml").write_text(f"data: {data}\n")
    assert data_for(run, None) == data


def test_missing_pictures_are_counted_and_named(run, data):
    (data / "valid" / "1.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of the 3 pictures.*are missing, '1\.jpg' among them"):
        find_data(run, read_run(run)[0], data)


def test_pictures_that_training_has_seen_are_noticed_in_folders_below(tmp_path):
    run, trained, other = (tmp_path / name for name in ("run", "trained", "other"))
    for place in (trained / "train" / "images" / "a.jpg", other / "valid" / "a.jpg", other / "valid" / "b" / "c.jpg"):
        place.parent.mkdir(parents=True)
        place.write_bytes(b"a picture")
    run.mkdir()
    save_config(TrainConfig(data=trained), run / CONFIG_FILE)
    assert seen_in_training(run, other, "valid") == 1
    (trained / "train" / "images" / "c.jpg").write_bytes(b"a picture")
    assert seen_in_training(run, other, "valid") == 2

"""A search, with trials that are quick to compute, and once with real trainings."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import optuna
import pytest
from rich.console import Console

import boxwright
from boxwright.config import load_config
from boxwright.data import draw_demo_data
from boxwright.runtime import ConfigError, ModelError
from boxwright.search import study as module
from boxwright.training.folders import claimed
from boxwright.training.pace import TooShort

TINY = {"model": "fasterrcnn_tiny_fpn", "weights": "none", "image_size": 96, "wandb": "off", "workers": 0}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return draw_demo_data(tmp_path_factory.mktemp("small") / "data", sizes={"train": 8, "valid": 4, "test": 4})


def never(settings, folder, report):
    raise AssertionError("a trial was begun")


def test_two_searches_do_not_share_a_folder(small, tmp_path):
    with claimed(tmp_path / "tune"), pytest.raises(ConfigError, match="another training writes to this folder"):
        boxwright.tune(small, 40, out=tmp_path, run_trial=never, console=Console(quiet=True), **TINY)


def test_an_objective_that_is_none_is_refused_before_the_search(small, tmp_path):
    with pytest.raises(ConfigError, match="beauty"):
        boxwright.tune(small, 40, out=tmp_path, run_trial=never, objective="beauty", **TINY)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_study_is_named(small, tmp_path):
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune" / "study.db").write_text("no database, but long enough to be looked at" * 100)
    with pytest.raises(ConfigError, match=r"study\.db: not a search that can go on: .*Choose another --name"):
        boxwright.tune(small, 40, out=tmp_path, run_trial=never, console=Console(quiet=True), **TINY)
    assert not (tmp_path / "tune" / ".claim").exists()


@pytest.fixture
def quick(monkeypatch):
    """The time is not counted in minutes but in trials; runs are trained for an epoch."""
    trained = []

    def train_for_an_epoch(settings, folder, console, make_trainer=None):
        trained.append((folder.name, settings))
        own = {**settings, "epochs": 1, "minutes": None}
        boxwright.train(out=folder.parent, name=folder.name, console=console, **own)

    clock = iter(range(0, 10**6, 60))
    monkeypatch.setattr(module, "_result_of", train_for_an_epoch)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    return trained


def by_rate(wanted, epochs=10):
    """Trials whose figure is the better the nearer their learning rate is to one."""
    seen = []

    def run(settings, folder, report):
        seen.append(settings)
        distance = abs(settings["learning_rate"] / wanted - 1)
        value = 0.0
        for epoch in range(epochs):
            value = (epoch + 1) / epochs / (1 + distance)
            if report(epoch, epochs, value):
                break
        return value

    run.seen = seen
    return run


def test_the_best_settings_are_found_trained_and_compared(small, tmp_path, quick):
    run = by_rate(6e-3)
    given = {key: value for key, value in TINY.items() if key != "image_size"}
    result = boxwright.tune(small, 40, out=tmp_path, run_trial=run, console=Console(quiet=True), **given)
    assert len(result.trials) == 20  # a minute each, in half of the time
    assert run.seen[0]["learning_rate"] == 3e-3  # the first is the default
    assert {one.state for one in result.trials} == {"complete", "pruned"}
    best = max((one for one in result.trials if one.state == "complete"), key=lambda one: one.value)
    assert [name for name, _ in quick] == ["default", "best"]
    default, tuned = (settings for _, settings in quick)
    assert (default["learning_rate"], default["minutes"]) == (3e-3, 10)
    assert (tuned["learning_rate"], tuned["minutes"]) == (best.settings["learning_rate"], 10)
    assert abs(tuned["learning_rate"] / 6e-3 - 1) < 0.5
    assert result.contenders[0].results.split == "test"
    assert [one.figure for one in result.comparison.figures]
    assert (tmp_path / "tune" / "comparison.html").is_file()
    config = load_config(tmp_path / "tune" / "settings.yaml")
    assert config.learning_rate == best.settings["learning_rate"]
    assert not {"epochs", "minutes", "name"} & config.model_fields_set


def test_if_nothing_is_better_than_the_default_it_says_so(small, tmp_path, quick):
    result = boxwright.tune(small, 12, out=tmp_path, run_trial=by_rate(3e-3), console=Console(quiet=True), **TINY)
    assert (result.best, result.comparison) == (None, None)
    assert [name for name, _ in quick] == ["default"]
    assert result.default == tmp_path / "tune" / "default"


def test_a_trial_that_cannot_be_trained_is_told_and_the_others_go_on(small, tmp_path, quick):
    good = by_rate(6e-3)

    def run(settings, folder, report):
        if settings["augmentation"] == "strong":
            raise ModelError("Out of memory: 4 pictures.", "Take fewer.")
        return good(settings, folder, report)

    with (tmp_path / "told.txt").open("w") as file:
        result = boxwright.tune(small, 40, out=tmp_path, run_trial=run, console=Console(file=file), **TINY)
    failed = [one for one in result.trials if one.state == "fail"]
    assert failed
    assert all(one.settings["augmentation"] == "strong" for one in failed)
    assert f"Trial {failed[0].number}: Out of memory: 4 pictures. Take fewer." in (tmp_path / "told.txt").read_text()


def test_an_interrupted_search_goes_on_with_the_trial_it_was_at(small, tmp_path, quick):
    good, started = by_rate(6e-3), []

    def run(settings, folder, report):
        started.append((folder.name, settings["learning_rate"]))
        if len(started) == 5:
            raise KeyboardInterrupt
        return good(settings, folder, report)

    arguments = {"out": tmp_path, "run_trial": run, "console": Console(quiet=True), **TINY}
    with pytest.raises(KeyboardInterrupt):
        boxwright.tune(small, 40, **arguments)
    result = boxwright.tune(small, 40, **arguments)
    assert started[4] == started[5]
    assert (len(started), len(result.trials)) == (20, 19)  # its first minute was spent, too
    assert len({rate for _, rate in started}) == 19  # the random points of the start do not come again
    with pytest.raises(ConfigError, match=r"a search with other settings was begun there \("):
        boxwright.tune(small, 40, **{**arguments, "weights": "imagenet"})


def test_figures_from_before_an_interruption_count(small, tmp_path, quick):
    """And a trial that ends early by itself is a whole one."""
    started = []

    def run(settings, folder, report):
        started.append(folder.name)
        if len(started) == 1:
            report(8, 10, 0.9)
            raise KeyboardInterrupt
        return 0.1

    arguments = {"out": tmp_path, "run_trial": run, "console": Console(quiet=True), **TINY}
    with pytest.raises(KeyboardInterrupt):
        boxwright.tune(small, 8, **arguments)
    result = boxwright.tune(small, 8, **arguments)
    assert result.trials[0].value == 0.9
    assert {one.state for one in result.trials} == {"complete"}
    assert result.best is None


def test_what_no_trial_can_be_trained_with_ends_the_search(small, tmp_path, quick):
    with pytest.raises(ModelError, match=r"no-such\.pth"):
        boxwright.tune(small, 40, out=tmp_path, console=Console(quiet=True), **{**TINY, "weights": "no-such.pth"})
    started = []

    def run(settings, folder, report):
        started.append(folder.name)
        if len(started) > 1:
            raise ModelError("Out of memory.", "Take fewer.")
        return 0.5

    with pytest.raises(ModelError, match="Out of memory"):
        boxwright.tune(small, 40, name="full", out=tmp_path, run_trial=run, console=Console(quiet=True), **TINY)
    assert len(started) == 6  # the default, and five in a row


def test_a_trial_that_ends_the_process_is_left_out_at_last(small, tmp_path, quick):
    started = []

    def run(settings, folder, report):
        started.append(folder.name)
        if folder.name == "trial-001":
            raise SystemExit(137)
        return 0.5

    arguments = {"out": tmp_path, "run_trial": run, "console": Console(quiet=True), **TINY}
    for _ in range(3):
        with pytest.raises(SystemExit):
            boxwright.tune(small, 40, **arguments)
    result = boxwright.tune(small, 40, **arguments)
    assert started.count("trial-001") == 3
    assert [one.state for one in result.trials[:3]] == ["complete", "fail", "complete"]


def test_a_search_may_be_stopped_at_one_trial_as_often_as_one_likes(small, tmp_path, quick):
    started = []

    def run(settings, folder, report):
        started.append(folder.name)
        if len(started) < 6:
            raise KeyboardInterrupt
        return 0.5

    arguments = {"out": tmp_path, "run_trial": run, "console": Console(quiet=True), **TINY}
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            boxwright.tune(small, 40, **arguments)
    result = boxwright.tune(small, 40, **arguments)
    assert started[:6] == ["trial-000"] * 6
    assert result.trials[0].state == "complete"


def test_too_little_time_names_how_much_would_do(small, tmp_path, quick):
    """The search begins anew with it, in the same folder."""

    def short(settings, folder, report):
        error = TooShort(f"minutes = {settings['minutes']:g} is too short.", "Give 1 or more.")
        error.least = 0.9
        raise error

    with pytest.raises(ConfigError, match=r"each training has 0\.2, .* take 0\.9 on this machine") as refused:
        boxwright.tune(small, 2.4, out=tmp_path, run_trial=short, console=Console(quiet=True), **TINY)
    assert refused.value.remedy.startswith("Give 11 or more")
    run = by_rate(6e-3)
    result = boxwright.tune(small, 40, out=tmp_path, run_trial=run, console=Console(quiet=True), **TINY)
    assert (len(result.trials), run.seen[0]["learning_rate"]) == (19, 3e-3)  # a minute went into the first attempt


@pytest.mark.parametrize(
    ("settings", "minutes", "message"),
    [
        ({"epochs": 3}, 60, "epochs is decided by the search"),
        ({"devices": 2}, 60, "devices is decided by the search"),
        ({"gpus": 2}, 60, "gpus = 2: a search trains on one device"),
        ({"learning_rat": 1}, 60, "Did you mean 'learning_rate'"),
        ({}, math.nan, "minutes = nan does not fit"),
        ({}, math.inf, "minutes = inf does not fit"),
        ({}, 1, "minutes = 1 is too short for a search"),
    ],
)
def test_what_cannot_be_searched_is_refused(small, tmp_path, settings, minutes, message):
    with pytest.raises(ConfigError, match=message):
        boxwright.tune(small, minutes, out=tmp_path, **settings)
    assert not list(tmp_path.iterdir())


# Real trainings of two epochs each, however long they take.
SEARCH = """
import sys
import boxwright
from boxwright.search import study

result_of = study._result_of
study._result_of = lambda settings, *others: result_of({{**settings, "minutes": None, "epochs": 2}}, *others)

if __name__ == "__main__":
    result = boxwright.tune(sys.argv[1], 2.4, out=sys.argv[2], **{settings})
    print("Default:", result.default)
"""


def test_a_killed_search_goes_on(small, tmp_path):
    """Killed in the second trial."""
    script = tmp_path / "search.py"
    script.write_text(SEARCH.format(settings=TINY))
    command = [sys.executable, str(script), str(small), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 300
    while not (tmp_path / "tune" / "trial-001" / "checkpoints").is_dir():
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    database = {"study_name": "boxwright", "storage": f"sqlite:///{tmp_path}/tune/study.db"}
    study = optuna.load_study(**database)
    assert [one.state.name for one in study.trials] == ["COMPLETE", "RUNNING"]
    study.set_user_attr("spent", 60.0)  # of 72 seconds

    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    trials = optuna.load_study(**database).trials
    assert {one.state.name for one in trials} <= {"COMPLETE", "PRUNED"}
    assert len(trials) >= 2
    default = tmp_path / "tune" / "default"
    assert json.loads((default / "spec.json").read_text())["provenance"]["finished"] is True
    assert f"Default: {default}" in done.stdout

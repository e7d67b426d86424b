import time
from types import SimpleNamespace

import pytest
import torch

import boxwright
from boxwright.config import load_config
from boxwright.data import draw_demo_data, read_folder
from boxwright.models.detector import Detector
from boxwright.runtime import ConfigError, InputSpec, ModelSpec
from boxwright.tracking.metrics_file import read_metrics
from boxwright.training import pace as pace_module
from boxwright.training.data_module import DetectionData, EpochSampler, Loading
from boxwright.training.optimization import OneCycle
from boxwright.training.pace import Budget, Deadline, Pace, Plan, measure_pace, plan_for, spoken

TINY = {
    "model": "fasterrcnn_tiny_fpn",
    "weights": "none",
    "image_size": 96,
    "batch_size": 4,
    "wandb": "off",
    "workers": 0,
    "augmentation": "none",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return draw_demo_data(tmp_path_factory.mktemp("small") / "data", sizes={"train": 12, "valid": 4})


@pytest.mark.parametrize(
    ("minutes", "plan"),
    [
        (10, Plan(9, None)),  # 570 s; an epoch is 50 steps of 1 s and 20 pictures of .5 s
        (3.5, Plan(3, None)),
        (2, Plan(2, 188)),  # 114 s: three validations of 10 s are over a quarter, so two; 47 steps beside each
        (0.5, Plan(1, 72)),
        (1e6, Plan(300, None)),
    ],
)
def test_as_many_epochs_as_fit(minutes, plan):
    assert plan_for(minutes, Pace(step=1.0, picture=0.5), train=200, valid=20, batch_size=4) == plan


def test_too_short_a_time_is_refused_with_the_least():
    with pytest.raises(ConfigError, match=r"minutes = 0.1 is too short: .* take 12 s.*\. Give 1 or more"):
        plan_for(0.1, Pace(step=1.0, picture=0.5), train=200, valid=20, batch_size=4)
    with pytest.raises(ConfigError, match=r"to begin took 2 min, and .* Give 3 or more"):
        plan_for(2, Pace(step=1.0, picture=0.5), train=200, valid=20, batch_size=4, begun=119)


def test_the_least_that_is_named_is_enough():
    slow = Pace(step=30.0, picture=0.1)
    with pytest.raises(ConfigError, match=r"Give 1 or more"):
        plan_for(0.5, slow, train=40, valid=1, batch_size=4)
    assert plan_for(1, slow, train=40, valid=1, batch_size=4) == Plan(1, 4)


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (89, "89 s"), (600, "10 min"), (12000, "3 h 20 min")])
def test_durations_are_written_as_people_say_them(seconds, text):
    assert spoken(seconds) == text


def test_measuring_changes_nothing(small):
    folder = read_folder(small)
    spec = ModelSpec("timed", "fasterrcnn_tiny_fpn", folder.classes, InputSpec(96, 96))
    torch.manual_seed(0)
    detector = Detector(spec)
    before = {name: value.clone() for name, value in detector.network.state_dict().items()}
    random = torch.get_rng_state()
    data = DetectionData(folder, spec.input, Loading("light", 4, 0, 0))
    pace = measure_pace(detector, data.trial_batches("train", 4), next(data.trial_batches("valid", 1)), "cpu")
    assert pace.step > 0
    assert pace.picture > 0
    assert all(torch.equal(before[name], value) for name, value in detector.network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(one.grad is None for one in detector.network.parameters())
    assert detector.network.training


def test_trial_batches_never_end_and_are_whole(small):
    data = DetectionData(read_folder(small), InputSpec(96, 96), Loading("light", 5, 0, 0))
    batches = data.trial_batches("train", 5)
    assert [len(next(batches).indices) for _ in range(6)] == [5] * 6


class Trainer:
    """What ``Deadline`` asks of a trainer of 10 steps per epoch."""

    def __init__(self, small, epochs):
        dataset = DetectionData(read_folder(small), InputSpec(96, 96), Loading("strong", 4, 0, 0))._dataset(
            "train", None, 4
        )
        batches = SimpleNamespace(sampler=EpochSampler(dataset, 0, calm_from=epochs - 2))
        self.train_dataloader = SimpleNamespace(batch_sampler=batches)
        self.fit_loop = SimpleNamespace(max_epochs=epochs)
        self.strategy = SimpleNamespace(broadcast=lambda value: value)
        self.current_epoch = 0

    @property
    def max_epochs(self):
        return self.fit_loop.max_epochs

    @property
    def global_step(self):
        return 10 * (self.current_epoch + 1)

    @property
    def estimated_stepping_batches(self):
        return 10 * self.max_epochs


@pytest.mark.parametrize(("seconds", "epochs"), [(60, 9), (30, 18), (120, 4), (1000, 1)])
def test_the_number_of_epochs_follows_how_long_they_take(small, monkeypatch, seconds, epochs):
    """In 10 minutes, 570 s of which are used; ten epochs were planned."""
    now = [1000.0]
    monkeypatch.setattr(pace_module.time, "monotonic", lambda: now[0])
    trainer, module = Trainer(small, 10), SimpleNamespace(cycle=OneCycle(100, 0.1))
    deadline = Deadline(10, began=990.0, calm=lambda epochs: 2)
    deadline.on_fit_start(trainer, module)
    while trainer.current_epoch < trainer.max_epochs:
        deadline.on_train_epoch_start(trainer, module)
        now[0] += seconds
        deadline.on_train_epoch_end(trainer, module)
        trainer.current_epoch += 1
    assert trainer.current_epoch == epochs
    assert trainer.train_dataloader.batch_sampler.sampler.calm_from == epochs - 2
    if epochs > 1:
        assert module.cycle(10 * epochs - 1) < 1e-5  # the cycle ends with the training


def test_the_time_of_an_interrupted_run_counts(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pace_module.time, "monotonic", lambda: now[0])
    first = Deadline(10, began=100.0, calm=lambda epochs: 0, most=40)
    now[0] = 400.0
    later = Deadline(10, began=350.0, calm=lambda epochs: 0, most=40)
    later.load_state_dict(first.state_dict())
    assert later.state_dict() == {"spent": 350.0, "epochs": 40, "most": 40}


def test_another_time_is_planned_with_what_the_epochs_took():
    budget = Budget(spent=60.0, epochs=5, most=300)
    assert budget.within(2.0, done=3) == 3 + 2  # 54 s are left, for epochs of 20 s
    assert budget.within(1.0, done=3) == 3
    assert budget.within(1e6, done=3) == 300
    assert budget.within(2.0, done=0) == 5
    assert Budget.of({}) is None
    assert Budget.of({"callbacks": {"Deadline": {"spent": 3.0}}}) is None  # of an older version


def test_minutes_plan_the_epochs_and_the_run_keeps_to_them(small, tmp_path, capsys):
    started = time.monotonic()
    run = boxwright.train(data=small, out=tmp_path, minutes=0.25, **TINY)
    assert time.monotonic() - started < 60  # bounded; how near it comes is measured in benchmarks
    config = load_config(run.folder / "config.yaml")
    trained = len([line for line in read_metrics(run.folder) if "val/f2" in line])
    assert config.epochs >= 3
    assert trained >= 2
    assert run.spec.provenance["settings"]["epochs"] == config.epochs
    assert f"Time: {config.epochs} epochs of 3 steps, about" in capsys.readouterr().out


def test_an_epoch_may_be_a_part_of_the_pictures(small, tmp_path):
    data = DetectionData(read_folder(small), InputSpec(96, 96), Loading("none", 4, 0, 0, pictures=7))
    loader = data.train_dataloader()
    seen = [index for batch in loader for index in batch.indices]
    assert len(seen) == len(set(seen)) == 7
    loader.batch_sampler.sampler.set_epoch(1)
    assert {index for batch in loader for index in batch.indices} != set(seen)
    assert data.epoch_pictures == 7
